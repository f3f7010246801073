"""What a kernel shows of errors, and of events that cause themselves."""

from __future__ import annotations

import re

FAILING = """%%worker w
import json
@worker.on_event('chained')
async def chained(event, client):
    token, items = 's3cret', [1, 2]
    try:
        items[len(items)]
    except IndexError as exc:
        exc.add_note('a note')
        raise ValueError('no item') from exc

@worker.on_event('group')
async def group(event, client):
    raise ExceptionGroup('both', [ValueError('v'), KeyError('k')])

def walk(n):
    return walk(n + 1)

@worker.on_event('deep')
async def deep(event, client):
    walk(0)

@worker.on_event('library')
async def library(event, client):
    json.loads('{')
"""


def test_errors_are_shown_whole_in_trace_and_log(kernel):
    assert kernel.run(FAILING).status == "ok"
    shown = kernel.run("%fire chained").text
    for text in (
        "cell [2], line 7, in chained\n          items[len(items)]",
        "IndexError: list index out of range",
        "a note",
        "The above exception was the direct cause of the following exception:",
        "ValueError: no item",
    ):
        assert text in shown, shown
    assert "s3cret" not in shown
    shown = kernel.run("%fire group").text
    assert re.search(r"ExceptionGroup: both \(2 sub-exceptions\)\n +1 of 2:\n +ValueError: v\n", shown), shown
    shown = kernel.run("%fire deep").text
    assert re.search(r"\.\.\. \d{3,} more of cell \[2\], line 17, in walk", shown), shown
    assert shown.count("return walk(n + 1)") == 3
    shown = kernel.run("%fire library").text
    assert re.search(
        r"\(\d frames of json are not shown; raised at json/decoder\.py, line \d+, in \w+\)", shown
    )
    log = kernel.run("%worker logs w").text
    assert "a note" in log
    assert "1 of 2:" in log
    assert re.search(r"\.\.\. \d{3,} more of cell \[2\]", log)


def test_xmode_is_heeded(kernel):
    kernel.run(FAILING)
    kernel.run("%xmode Minimal")
    shown = kernel.run("%fire chained").text
    assert "ValueError: no item (cell [2], line 10)" in shown
    assert "raise ValueError" not in shown
    kernel.run("%xmode Verbose")
    answer = kernel.run("%fire chained x=1")
    shown = answer.text
    assert "token = ***" in shown
    assert "items = [1, 2]" in shown
    assert "s3cret" not in shown.replace("token, items = 's3cret', [1, 2]", "")
    html = answer.displays[-1]["text/html"]
    assert "<details" in html
    assert "<script" not in html
    kernel.run("%xmode Context")
    shown = kernel.run("%fire chained").text
    assert "raise ValueError" in shown
    assert "items = [1, 2]" not in shown


def test_the_exception_of_a_trace_is_the_object_itself(kernel):
    kernel.run(FAILING)
    kernel.run("trace = %fire chained")
    answer = kernel.run(
        "exc = trace.invocations[0].exception\n"
        "frame = exc.__cause__.__traceback__\n"
        "while frame.tb_next: frame = frame.tb_next\n"
        "print(type(exc).__name__, frame.tb_frame.f_locals['items'], trace.errors[0].label)"
    )
    assert re.fullmatch(r"ValueError \[1, 2\] notebook:w\.chained #\d+\n", answer.streams["stdout"])
    kernel.run("await dn.fire('chained')\n" * 20)
    assert kernel.run("print(trace.invocations[0].exception)").streams["stdout"] == "None\n"


def test_a_process_tells_its_errors_with_values(kernel):
    kernel.run(FAILING)
    assert "w is running" in kernel.run("%worker topology w python").text
    shown = kernel.run("%fire chained").text
    assert "token = ***" in shown
    assert "items = [1, 2]" in shown
    assert "a note" in shown
    log = kernel.run("%worker logs w").text
    assert "a note" in log
    assert "items = [1, 2]" not in log


STORM = """%%worker w
@worker.on_event('a')
async def on_a(event, client):
    await client.publish('b')

@worker.on_event('b')
async def on_b(event, client):
    await client.publish('a')
"""


def test_fire_of_a_circle_returns_and_says_how_to_go_on(kernel):
    kernel.run(STORM)
    kernel.run("%runtime storm --limit 100")
    shown = kernel.run("trace = %fire a\ntrace").text
    way_out = "correct the handlers, then %worker resume w delivers them, and with --drop lets them go"
    assert "a has caused 100 events within 10 s that repeat a -> b -> a, by notebook:w.on_a and" in shown
    assert f"1 of its events is held, and not delivered: {way_out}" in shown
    assert way_out in kernel.run("%worker logs w").text
    assert "(1 held)" in kernel.run("%runtime storm").text
    assert kernel.run("print(trace.ok, trace.outcome)").streams["stdout"] == "False not ok\n"
    assert "1 event is delivered" in kernel.run("%worker resume w").text
    kernel.run("await dn.runtime().history.wait_idle()")
    assert "1 event is let go" in kernel.run("%worker resume --drop").text
    answer = kernel.run("%worker resume")
    assert "no event is held: there is no event storm" in answer.text
    assert "write hold, warn, off" in kernel.run("%runtime storm halt").text
    assert "--limit 0" in kernel.run("%runtime storm --limit 0").text


def test_a_circle_through_a_process_is_held_too(kernel):
    kernel.run(STORM.replace("%%worker w", "%%worker other").replace("'a'", "'x'").replace("'b'", "'y'"))
    kernel.run(STORM)
    kernel.run("%runtime storm --limit 30")
    assert "w is running" in kernel.run("%worker topology w python").text
    shown = kernel.run("trace = %fire a\ntrace").text
    assert "a has caused 30 events within 10 s" in shown
    assert "held, and not delivered" in shown
