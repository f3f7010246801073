"""What worker processes tell of their handlers, and how it becomes part of a trace."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dnworker import Runtime
from dnworker.core.handler_error import HandlerError
from dnworker.core.invocation import WARNINGS_KEPT, HandlerWarning, Invocation, read_traceparent
from dnworker.events.bus import EventBus
from dnworker.events.history import History
from dnworker.testing import make_envelope
from dnworker.workers import reports
from dnworker.workers.remote import INVOCATIONS_KEPT, LOOKED_AT, RemoteInvocations
from dnworker.workers.reports import Begin, Delivered, End, Hello, ReportReader, Says, encode

WORD = "word"
REPORTS = [
    Hello([("on_event", "a", "on_a")]),
    Begin("00" * 8, ("on_event", "a", "on_a"), "event", "ab" * 16),
    Says("00" * 8, "stderr", "warning"),
    End("00" * 8, "error", 0.25, HandlerError("KeyError", "'x'\x1b\\", ())),
    Delivered("ab" * 16),
]


def read(chunks):
    reader = ReportReader(WORD)
    found = [piece for chunk in chunks for piece in reader.feed(chunk)]
    text = b"".join(piece for piece in found if isinstance(piece, bytes)) + reader.rest()
    return text, [piece for piece in found if not isinstance(piece, bytes)]


@given(st.lists(st.one_of(st.sampled_from(REPORTS), st.binary(max_size=8))), st.integers(1, 40))
def test_reports_come_out_of_a_stream_wherever_it_is_cut(pieces, size):
    stream = b"".join(p if isinstance(p, bytes) else encode(p, WORD).encode() for p in pieces)
    text = b"".join(p for p in pieces if isinstance(p, bytes))
    chunks = [stream[n : n + size] for n in range(0, len(stream), size)]
    assert read(chunks) == (text, [p for p in pieces if not isinstance(p, bytes)])


def test_what_only_looks_like_a_report_is_text():
    forged = b"\x1b_dnworker:word:{not json}\x1b\\ and on"
    assert read([forged]) == (forged, [])


def test_a_stream_of_beginnings_takes_no_longer_than_its_length(monkeypatch):
    tried: list[int] = []
    decode = reports._decoder().decode
    decoder = SimpleNamespace(decode=lambda data: tried.append(len(data)) or decode(data))
    monkeypatch.setattr(reports, "_decoder", lambda: decoder)
    beginning = b"\x1b_dnworker:word:"
    for stream in (beginning * 60_000, (beginning + b"{}\x1b\\") * 40_000, beginning + b"{" * 3_000_000):
        text, found = read([stream[n : n + 65_536] for n in range(0, len(stream), 65_536)])
        assert (text, found) == (stream, [])
        assert sum(tried) <= len(stream)  # nothing is read twice
        tried.clear()


def test_a_report_without_an_end_is_text_at_the_end_of_the_stream():
    assert read([b"a\x1b_dnworker:word:{"]) == (b"a\x1b_dnworker:word:{", [])


def test_a_cause_names_event_and_invocation():
    invocation = Invocation("c:w", "h", "schedule")
    assert read_traceparent(invocation.traceparent) == (invocation.id * 2, invocation.id)
    assert read_traceparent("00-xyz-1-01") is None


WORKER = """
import asyncio, logging, sys
from dnworker import Worker

worker = Worker(name="w")
KINDS = [
    "again",
    "answer",
    "ask",
    "big",
    "fail.beside",
    "forge",
    "pieces",
    "shell",
    "talk",
    "twice",
    "whole",
]  # those of its handlers

@worker.on_event("fail.beside")
async def fail_beside(event, client):
    import threading
    ending = threading.Event()
    def busy():
        while not ending.is_set():
            logging.info("busy")
    thread = threading.Thread(target=busy)
    thread.start()
    asyncio.get_running_loop().call_later(0.3, ending.set)
    raise ValueError("while another thread logs")

@worker.on_event("ask")
async def on_ask(event, client):
    print("asked", event.payload["n"])
    logging.getLogger("x").warning("careful")
    await client.publish("answer", {"n": event.payload["n"]})
    await asyncio.sleep(0.05)
    print("to stderr", file=sys.stderr)

@worker.on_event("answer")
async def on_answer(event, client):
    raise KeyError("nobody")

@worker.on_event("twice")
@worker.on_event("again")
async def same(event, client): ...

@worker.on_event("forge")
async def forge(event, client):
    print("untrusted", event.payload["text"])

@worker.on_event("big")
async def big(event, client):
    print("cut off", end="")
    raise ValueError("x" * 2_000_000)

@worker.on_event("whole")
async def whole(event, client):
    password, items = "p-1", [1, 2]
    try:
        items[len(items)]
    except IndexError as exc:
        exc.add_note("a note")
        raise ExceptionGroup("both", [ValueError("v")]) from exc

@worker.on_event("shell")
async def shell(event, client):
    process = await asyncio.create_subprocess_exec("echo", "from a child")
    await process.wait()

@worker.on_event("pieces")
async def pieces(event, client):
    import multiprocessing, os, threading
    def write(name):
        for n in range(50):
            print(name, n)
    threads = [threading.Thread(target=write, args=(f"thread {n}",)) for n in range(3)]
    for thread in threads:
        thread.start()
    write("handler")
    pid = os.fork()
    if not pid:
        write("fork")
        os._exit(0)
    write("after")
    os.waitpid(pid, 0)
    for thread in threads:
        thread.join()

@worker.task
async def listen_once(client):
    async for event in client.subscribe(*KINDS):
        break
    await asyncio.Event().wait()

@worker.task
async def listen(client):
    async for event in client.subscribe("ask", "only.the.task"):
        pass

@worker.on_event("talk")
async def on_talk(event, client):
    await client.run_turn(session_id="s1", message="hello")

print("from the module")
if __name__ == "__main__":
    worker.run()
"""


@pytest.fixture
async def process(tmp_path, monkeypatch, request):
    """A runtime with one worker process of ours, connected."""
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "w.py").write_text(WORKER)
    (tmp_path / "capability.yaml").write_text(
        "schema: 1\nname: cap\nversion: 0.1.0\ndescription: d\n"
        f"workers:\n  w: {{command: {sys.executable}, args: ['${{CAPABILITY_ROOT}}/w.py']}}\n"
    )
    async with Runtime(port=0, process_locals=getattr(request, "param", False)) as runtime:
        await runtime.load(tmp_path)
        await asyncio.wait_for(runtime.worker("w").connected.wait(), 60)
        yield runtime


async def test_a_trace_goes_on_in_a_worker_process(process):
    trace = await process.fire("ask", {"n": 7})
    (asked,) = trace.invocations
    assert (asked.worker, asked.handler, asked.outcome) == ("cap:w", "on_ask", "ok")
    assert asked.duration >= 0.05
    said = [(line.text, line.source, line.level) for line in asked.logs]
    assert said == [
        ("asked 7", "stdout", "info"),
        ("WARNING x: careful", "log", "warning"),
        ("to stderr", "stderr", "info"),
    ]
    (answer,) = asked.events
    assert answer.event.kind == "answer"
    (failed,) = answer.invocations
    assert (failed.handler, failed.outcome, failed.error.type) == ("on_answer", "error", "KeyError")
    assert failed.error.place.endswith("w.py, line 42")


async def test_what_a_process_says_is_in_its_log_once_and_without_reports(process):
    trace = await process.fire("ask", {"n": 7})
    (answer,) = trace.invocations[0].events
    log = process.worker("w").detail()["process"]
    texts = [line.text for line in process.logs.tail(100, "cap:w")]
    assert texts.count("asked 7") == 1
    assert texts.count(f"on_answer failed (event #{answer.event.seq} answer):") == 1
    assert "from the module" in texts
    assert b"\x1b" not in Path(log["log_path"]).read_bytes()
    assert not [line for line in log["recent_output"] if "\x1b" in line]
    assert "KeyError: 'nobody'" in log["recent_output"]


async def test_figures_of_a_process_are_those_of_its_handlers(process):
    await process.fire("ask", {"n": 7})
    stats = process.worker("w").stats
    assert stats["on_event", "ask", "on_ask"].calls == 1
    assert stats["on_event", "answer", "on_answer"].errors == 1
    assert stats["on_event", "talk", "on_talk"].calls == 0


async def test_settle_raises_what_handlers_of_a_process_raised(process):
    await process.fire("ask", {"n": 7})
    with pytest.raises(Exception, match=r"cap:w.on_answer \(event\): KeyError"):
        await process.settle()


async def test_a_turn_that_a_process_starts_is_in_the_trace(process):
    process.agents.default(lambda turn: _hello())
    trace = await process.fire("talk")
    kinds = [event.kind for event in trace.events()]
    assert kinds[:3] == ["talk", "session.created", "turn.accepted"]
    assert kinds[-1] == "turn.completed"


async def _hello():
    return "hi"


async def test_a_killed_process_leaves_nothing_under_way(process):
    process.worker("w")._runner._signal(9)
    trace = await process.fire("ask", {"n": 1}, timeout=30)
    assert not trace.timed_out
    await process.settle()


async def test_what_a_task_subscribes_to_by_itself_is_not_waited_for(process):
    for kind in ("ask", "only.the.task"):
        trace = await process.fire(kind, {"n": 1}, timeout=20)
        assert not trace.timed_out
    await until(process, lambda: process.history.is_idle())


async def test_a_stream_that_the_worker_opens_by_itself_takes_nothing_from_its_handlers(process):
    for _ in range(3):
        trace = await process.fire("ask", {"n": 1}, timeout=20)
        assert [i.handler for i in trace.invocations] == ["on_ask"]


async def test_a_handler_that_fails_while_a_thread_logs_ends_all_the_same(process):
    for _ in range(3):
        trace = await process.fire("fail.beside", timeout=20)
        assert [i.outcome for i in trace.invocations] == ["error"]


async def until(runtime, fact):
    async with asyncio.timeout(60):
        while not fact():
            await asyncio.sleep(0.01)


async def test_what_a_handler_prints_cannot_pass_for_a_report(process):
    forged = '\x1b_dnworker:{"is":"hello","handlers":[]}\x1b\\'
    trace = await process.fire("forge", {"text": forged})
    assert process.worker("w").stats
    (run,) = trace.invocations
    assert [line.text for line in run.logs] == [f"untrusted {forged}"]


async def test_an_enormous_error_is_cut_and_its_handler_ends(process):
    trace = await process.fire("big", timeout=20)
    (run,) = trace.invocations
    assert run.outcome == "error"
    assert "[cut: 1,990,000 more characters]" in run.error.message
    assert [line.text for line in run.logs] == ["cut off"]
    texts = [line.text for line in process.logs.tail(100, "cap:w")]
    assert sum(text.startswith("big failed") for text in texts) == 1


async def test_output_of_children_is_in_the_log_after_a_failure_too(process):
    await process.fire("big", timeout=20)
    await process.fire("shell")
    await until(process, lambda: "from a child" in [n.text for n in process.logs.tail(100, "cap:w")])


async def test_lines_of_threads_and_forked_children_of_a_handler_are_whole_and_its(process):
    names = ["handler", "after", "fork", "thread 0", "thread 1", "thread 2"]
    expected = sorted(f"{name} {n}" for name in names for n in range(50))
    trace = await process.fire("pieces", timeout=60)
    (run,) = trace.invocations
    await until(process, lambda: sum(line.text != "" for line in run.logs) >= len(expected))
    assert sorted(line.text for line in run.logs) == expected


async def test_one_function_for_two_kinds_has_two_rows_of_figures(process):
    await process.fire("again")
    stats = process.worker("w").stats
    assert (stats["on_event", "again", "same"].calls, stats["on_event", "twice", "same"].calls) == (1, 0)


def test_a_late_request_of_a_forgotten_invocation_causes_nothing_that_runs():
    history = History()
    event = make_envelope("a")
    history.note_event(event)
    remote = RemoteInvocations(history, "c:w")
    remote.take(Hello([("on_event", "a", "h")]))
    for number in range(2_100):
        name = f"{1:08x}{number:08x}"
        remote.take(Begin(name, ("on_event", "a", "h"), "event", event.event_id))
        remote.take(End(name, "ok", 0.0))
    assert remote.cause(event.event_id, f"{1:08x}{0:08x}") is None
    early = remote.cause(event.event_id, f"{1:08x}{5000:08x}")
    assert history.is_idle()
    remote.take(Begin(early.id, ("on_event", "a", "h"), "event", event.event_id))
    assert not history.is_idle()
    remote.take(End(early.id, "ok", 0.0))
    assert history.is_idle()


def test_a_stream_that_breaks_leaves_nothing_expected():
    bus, history = EventBus(), History()
    bus.tap(history.note_event)
    remote = RemoteInvocations(history, "c:w")
    remote.take(Hello([("on_event", "a", "h")]))
    watcher = remote.stream()
    subscription = bus.subscribe(["a"], watcher=watcher)
    sent, queued = bus.publish("a"), bus.publish("a")
    subscription.take()
    assert not history.is_quiet(sent.event_id)
    subscription.close()
    watcher.close()
    assert history.is_quiet(sent.event_id)
    assert history.is_quiet(queued.event_id)


async def test_a_request_that_names_nothing_known_has_no_cause(process):
    assert process.capabilities.cause_of("cap:w", f"00-{'0' * 32}-{'1' * 16}-01") is None
    assert process.capabilities.cause_of("cap:w", "nonsense") is None
    assert process.capabilities.cause_of("cap:gone", f"00-{'0' * 32}-{'1' * 16}-01") is None


async def test_a_request_finds_its_cause_without_a_look_at_every_worker(process, monkeypatch):
    name = "f" * 16  # no event, and no run that is known
    with monkeypatch.context() as patched:
        patched.setattr(process.capabilities, "workers", lambda: pytest.fail("it goes through all workers"))
        cause = process.capabilities.cause_of("cap:w", f"00-{name * 2}-{name}-01")
    assert cause.worker == "cap:w"


def ended(**fields) -> Invocation:
    history = History()
    remote = RemoteInvocations(history, "c:w")
    remote.take(Begin("x1", ("on_event", "k", "h"), "event"))
    (report,) = read([encode(End("x1", "ok", 0.1, **fields), WORD).encode()])[1]
    remote.take(report)
    (run,) = history.invocations()
    return run


def test_a_mistake_that_a_process_notices_makes_a_warning_of_its_run():
    run = ended(warnings=[HandlerWarning("/w.py, line 3", "write await helper()", 2)])
    assert (run.outcome, [str(w) for w in run.warnings]) == (
        "warning",
        ["/w.py, line 3: write await helper() (2 times)"],
    )


def test_an_end_of_an_earlier_version_has_no_warnings():
    text = encode(End("x1", "ok", 0.1), WORD).replace(',"warnings":[]', "")
    assert "warnings" not in text
    assert read([text.encode()])[1] == [End("x1", "ok", 0.1)]


def test_warnings_of_a_process_are_bounded():
    run = ended(warnings=[HandlerWarning("p" * 9_999, f"{n}" * 9_999) for n in range(40)])
    assert len(run.warnings) == WARNINGS_KEPT
    assert all(len(str(warning)) < 1_500 for warning in run.warnings)


def test_invocations_that_run_on_do_not_keep_those_that_have_ended():
    remote = RemoteInvocations(History(), "c:w")
    for number in range(LOOKED_AT * 2):
        remote.take(Begin(f"task{number:04}", ("task", "", f"t{number}"), "task"))
    for number in range(INVOCATIONS_KEPT * 2):
        its_id = f"x{number:06}"
        remote.take(Begin(its_id, ("on_event", "k", "h"), "event"))
        remote.take(End(its_id, "ok", 0.0))
    assert len(remote._invocations) <= INVOCATIONS_KEPT + LOOKED_AT * 2
    assert all(remote.named(f"task{number:04}") is not None for number in range(LOOKED_AT * 2))


async def whole_error(process):
    """Return the error of a process that has everything, and all that the logs have of it."""
    trace = await process.fire("whole", {"n": 1})
    path = Path(process.worker("w").detail()["process"]["log_path"])
    lines = [line.text for line in process.logs.tail(100, "cap:w")]
    return trace.invocations[0].error, "\n".join(lines) + path.read_text()


@pytest.mark.parametrize("process", [True], indirect=True)
async def test_an_error_of_a_process_is_whole_and_its_values_are_in_no_log(process):
    error, logged = await whole_error(process)
    assert (error.type, error.members[0].type) == ("ExceptionGroup", "ValueError")
    assert (error.cause.type, error.cause.notes) == ("IndexError", ("a note",))
    values = dict(error.cause.frames[-1].locals)
    assert (values["password"], values["items"]) == ("***", "[1, 2]")
    assert "a note" in logged
    assert "items = " not in logged
    assert "p-1" not in logged


async def test_values_are_read_in_a_process_only_where_they_are_wanted(process):
    error, _ = await whole_error(process)
    assert not error.cause.has_values


@pytest.mark.parametrize("process", [True], indirect=True)
async def test_a_variable_of_the_environment_opts_out_of_values(process, monkeypatch):
    monkeypatch.setenv("DNWORKER_LOCALS", "0")
    await process.worker("w").restart(force=True)
    await asyncio.wait_for(process.worker("w").connected.wait(), 60)
    error, _ = await whole_error(process)
    assert not error.cause.has_values


def test_a_report_that_is_nested_too_deep_is_text():
    nested = '{"cause":' * 100_000
    report = (
        f'\x1b_dnworker:{WORD}:{{"is":"end","id":"1","outcome":"error","duration":1,"error":{nested}\x1b\\'
    )
    assert read([report.encode()]) == (report.encode(), [])
