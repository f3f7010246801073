"""`%debug` opens the frame in which a handler raised; what is kept for that is bounded and let go."""

from __future__ import annotations

import re

import pytest

from .session import WAIT, held_within
from .test_debugger import plain

pytestmark = [pytest.mark.kernel, pytest.mark.timeout(120)]

FAILS = (
    "%%worker bridge\nimport json\ndef parse(text):\n    wanted = 'the text'\n    return json.loads(text)\n\n"
    "@worker.on_event('a')\nasync def on_a(event, client):\n    secret = event.payload['n'] * 10\n    parse('{')\n"
)


def test_plain_debug_opens_the_users_innermost_frame_and_d_leads_into_the_library(shared_kernel):
    shared_kernel.run(FAILS)
    shown = shared_kernel.run("%fire a n=4").text
    seq = re.search(r"a  #(\d+)", shown)[1]
    assert f"%debug #{seq} opens the frame that raised" in shown
    reply = shared_kernel.run("%debug", answers=["p wanted", "d", "u", "u", "p secret", "u", "w", "q"])
    text = plain(reply.text)
    assert reply.status == "ok", text
    assert f"#{seq} notebook:bridge.on_a: JSONDecodeError: " in text
    assert "'the text'" in text
    assert "\n40\n" in text
    assert "json/__init__.py" in text or "json/decoder.py" in text
    assert "Oldest frame" in text
    assert "invoker.py" not in text
    assert reply.prompts == ["ipdb> "] * 8


@pytest.mark.parametrize("words", ["#{seq}", "bridge.on_a", "notebook:bridge.on_a"])
def test_a_failure_is_named_by_its_event_or_its_handler(shared_kernel, words):
    shared_kernel.run(FAILS)
    seq = re.search(r"a  #(\d+)", shared_kernel.run("%fire a n=5").text)[1]
    shared_kernel.run("%fire a n=6")
    number = 5 if "seq" in words else 6
    reply = shared_kernel.run(f"%debug {words.format(seq=seq)}", answers=["u", "p secret", "q"])
    assert f"\n{number * 10}\n" in plain(reply.text)


def test_the_newer_of_the_cells_own_error_and_the_handlers_failure_is_opened(shared_kernel):
    shared_kernel.run(FAILS)
    shared_kernel.run("%fire a n=1")
    shared_kernel.run("mine = 77\n1 / 0")
    reply = shared_kernel.run("%debug", answers=["p mine", "q"])
    assert "ZeroDivisionError" in reply.text or "1 / 0" in plain(reply.text)
    assert "bridge.on_a" not in reply.text
    shared_kernel.run("%fire a n=1")
    assert "bridge.on_a: JSONDecodeError" in shared_kernel.run("%debug", answers=["q"]).text
    assert shared_kernel.run("%debug #99", answers=[]).status == "error"
    assert "bridge.on_a: JSONDecodeError" in shared_kernel.run("%debug", answers=["q"]).text
    shared_kernel.run("await dn.settle()")
    assert "bridge.on_a: JSONDecodeError" in shared_kernel.run("%debug", answers=["q"]).text


def test_ipythons_other_debugs_are_as_they_were(kernel):
    kernel.run("def f(x):\n    return x + 1\n")
    reply = kernel.run("%debug f(1)", answers=["s", "c"])
    assert len(reply.prompts) == 2
    assert "ipdb" in reply.prompts[0]
    assert "No traceback has been produced" in kernel.run("%debug", answers=[]).text


def test_what_cannot_be_entered_is_said_with_what_can(kernel):
    kernel.run(FAILS + "@worker.on_event('b')\nasync def on_b(event, client): pass\n")
    kernel.run("%fire b")
    refused = kernel.run("%debug #99", answers=[])
    assert "#99 did not fail, or is not kept any more; nothing can be entered now" in refused.text
    kernel.run("%fire a n=1")
    for words in ("#99", "bridge.on_b"):
        refused = kernel.run(f"%debug {words}", answers=[])
        assert refused.status == "error"
        assert re.search(
            rf"{words} did not fail, or is not kept any more; these can be entered: %debug #\d+", refused.text
        )
        assert "Traceback" not in refused.text


def test_a_front_end_without_input_is_told_in_a_line(kernel):
    kernel.run(FAILS)
    kernel.run("%fire a n=1")
    refused = kernel.run("%debug")
    assert (
        "this front end gives no standard input, so nobody could answer a debugger; dn.last_failure"
        in refused.text
    )
    assert kernel.run("type(dn.last_failure).__name__").result == {"text/plain": "'JSONDecodeError'"}


def test_the_exception_itself_is_at_hand(kernel):
    assert kernel.run("dn.last_failure is None").result == {"text/plain": "True"}
    kernel.run(FAILS)
    kernel.run("t = %fire a n=1")
    same = kernel.run("import sys\nsys.last_value is dn.last_failure is t.invocations[0].exception")
    assert same.result == {"text/plain": "True"}
    reply = kernel.run("import pdb; pdb.pm()", answers=["q"])
    assert len(reply.prompts) == 1, reply.text


def test_chained_exceptions_can_be_walked(kernel):
    kernel.run(
        "%%worker bridge\n@worker.on_event('a')\nasync def on_a(event, client):\n    try:\n        inner = 1; {}['k']\n"
        "    except KeyError as exc:\n        raise ValueError('outer') from exc\n"
    )
    kernel.run("%fire a")
    reply = kernel.run("%debug", answers=["exceptions", "exceptions 0", "q"])
    assert "KeyError('k')" in plain(reply.text)


def test_pdb_on_opens_what_a_cell_waited_for_once_its_trace_is_shown(kernel):
    kernel.run(FAILS)
    kernel.run("%pdb on")
    reply = kernel.run("%fire a n=3\nprint('the end of the cell')", answers=["u", "p secret", "q"])
    assert "\n30\n" in plain(reply.text)
    assert reply.text.index("the end of the cell") < reply.text.index("notebook:bridge.on_a: JSONDecodeError")
    assert kernel.run("%fire a n=3").status == "ok"  # a front end that cannot answer is not asked
    assert kernel.run("await dn.fire('a', {'n': 1}, wait=False)", answers=[]).status == "ok"
    kernel.run(
        "trace = await dn.fire('a', {'n': 1}, wait=False)\nimport asyncio\n"
        "while trace.is_under_way or not trace.invocations: await asyncio.sleep(0.01)",
        answers=[],
    )
    kernel.run("%pdb off")
    assert kernel.run("%fire a n=3", answers=[]).prompts == []


def test_pdb_on_opens_one_debugger_for_a_cell_that_raises_itself(kernel):
    kernel.run(FAILS)
    kernel.run("%pdb on")
    reply = kernel.run("%fire a n=3\n1 / 0", answers=["q"])
    assert len(reply.prompts) == 1
    reply = kernel.run("await dn.fire('a', {'n': 3}, wait=False)\nawait dn.settle()", answers=["q", "q"])
    assert "HandlerFailed" in reply.error
    assert len(reply.prompts) == 1, reply.text
    assert "bridge.on_a: JSONDecodeError" in reply.text
    assert kernel.run("%debug #99", answers=["q"]).prompts == []


def test_twenty_failures_are_kept_and_the_doctor_says_what_they_hold(kernel):
    kernel.run(
        "%%worker bridge\n@worker.on_event('a')\nasync def on_a(event, client):\n    big = 'x' * 3_000_000\n    1 / 0\n"
    )
    kernel.run("%fire a --times 25")
    assert kernel.run("len(dn.runtime().history.failures)").result == {"text/plain": "20"}
    doctor = kernel.run("%runtime doctor").text
    assert re.search(r"the frames of 20 failures hold about 60(\.\d)? MB", doctor), doctor
    assert "bridge.on_a" in doctor


@pytest.mark.parametrize("how", ["%reset -f", "%worker remove bridge", "%unload_ext dnworker"])
def test_frames_are_let_go(kernel, how):
    kernel.run("import weakref, gc\nclass Big: pass\n")
    kernel.run(
        "%%worker bridge\n@worker.on_event('a')\nasync def on_a(event, client):\n    big = Big()\n"
        "    import builtins; builtins.seen = weakref.ref(big)\n    1 / 0\n"
    )
    kernel.run("%fire a\nNone")
    assert kernel.run("import builtins; builtins.seen() is None").result == {"text/plain": "False"}
    kernel.run(how)
    let_go = kernel.run(
        "import asyncio, builtins, gc\nasync with asyncio.timeout(120):\n"
        "    while builtins.seen() is not None:\n        gc.collect()\n        await asyncio.sleep(0.02)"
    )
    assert let_go.status == "ok", let_go.text


def test_a_handler_cannot_use_debug(kernel):
    kernel.run(
        "%%worker bridge\n@worker.on_event('a')\nasync def on_a(event, client):\n    get_ipython().run_line_magic('debug', '')\n"
    )
    shown = kernel.run("%fire a", answers=[]).text
    assert "%debug works in a cell; in a handler, write breakpoint()" in shown


def test_no_time_passes_while_a_post_mortem_is_read(kernel):
    kernel.run("%%worker other\n@worker.on_event('z')\nasync def on_z(event, client): pass\n")
    kernel.run(FAILS)
    kernel.run("%fire a n=1")
    kernel.run("%debug", answers=[WAIT, "q"])
    assert held_within(kernel, "stop") < 1


def test_a_hostile_exception_is_opened_all_the_same(kernel):
    kernel.run(
        "class Bad(Exception):\n    def __str__(self): raise SystemExit\n    __repr__ = __str__\n"
        "class Worse:\n    def __repr__(self): raise RuntimeError('no')\n    def __sizeof__(self): raise RuntimeError('no')\n"
    )
    kernel.run(
        "%%worker bridge\n@worker.on_event('a')\nasync def on_a(event, client):\n    w = Worse()\n    loop = []; loop.append(loop)\n    raise Bad\n"
    )
    kernel.run("%fire a")
    assert kernel.run("%debug", answers=["p 1 + 1", "p w", "q"]).status == "ok"
    assert kernel.run("%runtime doctor").status == "ok"


def test_a_class_that_lies_about_its_traceback_can_be_entered(kernel):
    kernel.run(
        "%%worker bridge\nclass Lies(Exception):\n    __traceback__ = property(lambda self: 1 / 0)\n"
        "@worker.on_event('a')\nasync def on_a(event, client):\n    wrong = 41\n    raise Lies()\n"
    )
    kernel.run("%fire a")
    reply = kernel.run("%debug", answers=["p wrong", "q"])
    assert reply.status == "ok"
    assert "41" in reply.text
