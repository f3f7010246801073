"""Events as cells and as tests."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dnworker import Worker
from dnworker.events.cases import as_cell, as_module, case_of
from dnworker_jupyter.magics.fire import fire_parser
from dnworker_jupyter.syntax.options import read_body, read_payload, split

PROJECT = Path(__file__).parents[3]

scalars = st.none() | st.booleans() | st.integers(-(10**9), 10**9) | st.text(max_size=12)
payloads = st.dictionaries(
    st.text(min_size=1, max_size=8), st.recursive(scalars, st.lists, max_leaves=4), max_size=4
)


def read(cell: str):
    head, _, body = cell.partition("\n")
    options = fire_parser(is_cell=bool(body)).read(split(head.partition("fire ")[2]))
    payload = read_body(body) if body else read_payload(options.payload, {})
    return options.kind, payload, options.session


@given(payloads)
def test_the_cell_fires_exactly_the_payload(payload):
    kind, again, _ = read(as_cell("demo.kind", payload, None))
    assert (kind, again) == ("demo.kind", payload)


def test_a_short_payload_is_one_line():
    cell = as_cell("turn.completed", {"turn_id": "t1", "ms": 3, "ok": True}, "s 1")
    assert cell == '%fire turn.completed turn_id=t1 ms=3 ok=true --session "s 1"'
    assert read(cell) == ("turn.completed", {"turn_id": "t1", "ms": 3, "ok": True}, "s 1")


def test_a_text_that_would_be_read_as_something_else_is_written_in_a_body():
    assert as_cell("k", {"a": "true"}, None) == '%%fire k\n{\n  "a": "true"\n}'


SCRIPT = """
from dnworker import Worker

worker = Worker(name="bridge")


@worker.on_event("turn.completed")
async def on_turn(event, client):
    if event.payload["n"] > 10:
        raise ValueError("too many")
    await client.publish("demo.counted", {"n": event.payload["n"]})
"""


@pytest.fixture
def bridge(tmp_path):
    (tmp_path / "workers").mkdir()
    (tmp_path / "tests").mkdir()
    script = tmp_path / "workers" / "bridge.py"
    script.write_text(SCRIPT)
    return script


async def run_as_test(runtime, bridge, payload) -> tuple[int, str]:
    """Save the event as a test, run it with pytest, and return its exit code and what it said."""
    import asyncio

    from dnworker.testing import load_worker

    worker: Worker = load_worker(bridge)
    await runtime.add(worker)
    trace = await runtime.fire("turn.completed", payload, session_id="s1")
    file = bridge.parents[1] / "tests" / "test_bridge.py"
    file.write_text(as_module([case_of(trace, "bridge")], "bridge", "workers/bridge.py"))
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(file), cwd=bridge.parents[1],
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
    )  # fmt: skip
    said, _ = await process.communicate()
    return process.returncode, said.decode()


@pytest.mark.slow
async def test_a_saved_test_is_green_where_the_handler_was(runtime, bridge):
    code, said = await run_as_test(runtime, bridge, {"n": 3, "nested": {"a": [1, None, "x"]}})
    assert code == 0, said
    assert "['demo.counted']" in (bridge.parents[1] / "tests" / "test_bridge.py").read_text()


@pytest.mark.slow
async def test_a_saved_test_is_red_until_the_handler_is_mended(runtime, bridge):
    code, said = await run_as_test(runtime, bridge, {"n": 30})
    assert code == 1, said
    assert "ValueError: too many" in said
