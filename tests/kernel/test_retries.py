"""`%%worker --retry` and `%dead` in a real kernel."""

from __future__ import annotations

import pytest

pytestmark = pytest.mark.kernel

BRIDGE = """
%%worker bridge --retry 2,backoff=1s..10s
@worker.on_event("order")
async def on_order(event, client):
    print("try", event.payload["n"])
    if not worker.state.get("mended"):
        raise ConnectionError("no answer")
    print("handled")
""".strip()


def test_a_failed_event_is_tried_again_then_a_dead_letter_and_then_delivered_to_mended_code(kernel):
    kernel.run("%clock virtual")
    kernel.run(BRIDGE)
    fired = kernel.run("%fire order n=7").text
    assert "(1 handler is tried again in 1 s (1 of 2))" in fired
    assert "on_order: next try in 1 s (1 of 2)" in kernel.run("%worker bridge").text
    kernel.run("%clock advance 10")
    assert "1 dead letter: %dead" in kernel.run("%worker bridge").text
    listed = kernel.run("%dead").text
    assert "notebook:bridge: on_order" in listed
    assert "exhausted" in listed
    number = next(line for line in listed.splitlines() if "on_order" in line).split()[0]
    shown = kernel.run(f"%dead show {number}").text
    assert "payload: {'n': 7}" in shown
    assert "ConnectionError: no answer" in shown
    assert "line 6, in on_order" in shown
    kernel.run(BRIDGE.replace("if not", "if False and not"))
    assert "is delivered to notebook:bridge again" in kernel.run(f"%dead retry {number}").text
    assert "no dead letters" in kernel.run("%dead").text
    assert "| handled" in kernel.run("%fire order n=8").text


def test_a_waiting_event_is_tried_again_on_the_code_that_runs_by_then(kernel):
    kernel.run("%clock virtual")
    kernel.run(BRIDGE)
    kernel.run("%fire order n=1")
    kernel.run(BRIDGE.replace("if not", "if False and not"))
    kernel.run("%clock advance 1")
    assert "handled" in kernel.run("%worker logs bridge").text
    assert "no dead letters" in kernel.run("%dead").text


def test_a_mistake_in_a_line_is_one_sentence_with_the_way_out(kernel):
    refused = kernel.run("%%worker bridge --retry often\nx = 1")
    assert "%%worker: --retry often: 'often' is no number of retries; write it like 5," in refused.error
    assert "there is no dead letter 1234" in kernel.run("%dead show 1234").error
    assert "%dead takes list, show ID, retry ID or drop ID" in kernel.run("%dead forget").error
    assert "%dead drop takes one ID, as %dead lists them, or --all" in kernel.run("%dead drop").error


def test_a_cell_that_runs_again_without_retries_has_none_and_one_that_fails_changes_nothing(kernel):
    kernel.run("%clock virtual")
    kernel.run(BRIDGE, "cell")
    broken = (
        BRIDGE.replace("--retry 2,backoff=1s..10s", "--retry 7")
        + "\n@worker.on_startup\nasync def s(c): 1 / 0"
    )
    assert "ZeroDivisionError" in kernel.run(broken, "cell").error
    assert "(1 of 2)" in kernel.run("%fire order n=1").text
    kernel.run(BRIDGE.replace(" --retry 2,backoff=1s..10s", ""), "cell")
    assert "tried again" not in kernel.run("%fire order n=2").text
