"""What handlers forget to await becomes a warning of their invocation, with the line at fault."""

from __future__ import annotations

import asyncio
import gc
import linecache
import sys
import warnings

import pytest

from dnworker import Runtime, Worker
from dnworker.core.invocation import WARNINGS_KEPT, HandlerWarning, Invocation
from dnworker.workers import forgotten

HELPERS = """
async def helper(): pass
def tell(client):
    kept = client.notify("x")
def drop(coroutine): pass
"""


async def warnings_of(body: str, *, above: str = HELPERS):
    """Run a handler with this body, which begins in line 1 of its file, and return its trace's run."""
    source = f"async def on_a(event, client):  {body}\n{above}"
    lines = source.splitlines(keepends=True)
    linecache.cache["<made>"] = (len(source), None, lines, "<made>")
    names: dict[str, object] = {"asyncio": asyncio, "__name__": "made"}
    exec(compile(source, "<made>", "exec"), names)
    worker = Worker("w")
    worker.on_event("a")(names["on_a"])
    async with Runtime(port=None) as runtime:
        await runtime.add(worker)
        trace = await runtime.fire("a", {})
        lines = [line.text for line in runtime.logs.lines(0, 100)]
    (run,) = trace.invocations
    return run, lines


@pytest.mark.parametrize(
    ("body", "told"),
    [
        ("client.notify('x')", ["<made>, line 1: write await client.notify(...)"]),
        ("client.fetch_tools()", ["<made>, line 1: write await client.fetch_tools()"]),
        ("kept = client.notify('x')", ["<made>, line 1: write await client.notify(...)"]),
        ("tell(client)", ["<made>, line 5: write await client.notify(...)"]),
        ("drop(client.notify('x'))", ["<made>, line 1: write await client.notify(...)"]),
        ("helper()", ["<made>, line 1: write await helper()"]),
        ("n = helper; n()", ["<made>, line 1: write await n()"]),
        ("[helper() for _ in 'abc']", ["<made>, line 1: write await helper() (3 times)"]),
        ("return helper()", ["<made>, line 1: write await helper()"]),
        ("await helper()", []),
        ("await asyncio.gather(helper(), helper())", []),
        ("await asyncio.create_task(helper())", []),
        ("c = helper(); c.close()", []),
    ],
)
async def test_what_is_not_awaited_is_told_with_its_line(body, told):
    run, lines = await warnings_of(body)
    assert [str(warning) for warning in run.warnings] == told
    assert run.outcome == ("warning" if told else "ok")
    assert [line for line in lines if "write" in line] == [f"on_a: {text}" for text in told]


async def test_of_two_calls_that_may_be_meant_both_lines_are_named():
    run, _ = await warnings_of("\n    a = helper()\n    b = helper()")
    assert [str(warning) for warning in run.warnings] == [
        "<made>, line 2 or 3: write await helper() (2 times)"
    ]


async def test_what_a_task_of_a_handler_forgets_is_the_handlers():
    run, _ = await warnings_of("\n    async def inner(): helper()\n    await asyncio.create_task(inner())")
    assert [str(warning) for warning in run.warnings] == ["<made>, line 2: write await helper()"]


async def test_what_a_thread_of_a_handler_forgets_is_the_handlers():
    run, _ = await warnings_of("await asyncio.to_thread(lambda: helper() and None)")
    assert [str(warning) for warning in run.warnings] == ["<made>, line 1: write await helper()"]


async def test_where_python_tracks_coroutines_their_line_is_exact():
    sys.set_coroutine_origin_tracking_depth(1)
    try:
        run, _ = await warnings_of("\n    a = helper()\n    b = helper()")
    finally:
        sys.set_coroutine_origin_tracking_depth(0)
    assert sorted(str(warning) for warning in run.warnings) == [
        "<made>, line 2: write await helper()",
        "<made>, line 3: write await helper()",
    ]


async def test_what_is_collected_while_another_handler_runs_is_not_blamed_on_that():
    async def stray(): ...

    loop: list[object] = [stray()]
    loop.append(loop)
    del loop
    gc.disable()
    try:
        with pytest.warns(RuntimeWarning, match="'.*stray' was never awaited"):
            run, _ = await warnings_of("import gc; gc.collect()")
    finally:
        gc.enable()
    assert (run.outcome, run.warnings) == ("ok", [])


async def test_what_no_handler_makes_is_told_by_python_at_its_line():
    async def stray(): ...

    async with Runtime(port=None):
        with pytest.warns(RuntimeWarning, match="was never awaited") as told:
            stray()
    assert told[0].filename == __file__


async def test_python_is_as_before_once_the_last_runtime_has_stopped():
    before = warnings._warn_unawaited_coroutine
    async with Runtime(port=None):
        async with Runtime(port=None):
            assert warnings._warn_unawaited_coroutine is forgotten._take
        assert warnings._warn_unawaited_coroutine is forgotten._take
    assert warnings._warn_unawaited_coroutine is before


async def test_a_handler_whose_source_is_gone_gets_pythons_own_words():
    with pytest.warns(RuntimeWarning, match="never awaited"):
        run, _ = await warnings_of(
            "linecache.cache.pop('<made>'); helper()", above="import linecache\n" + HELPERS
        )
    assert run.outcome == "ok"


def test_the_same_mistake_counts_and_is_kept_once_and_others_up_to_a_bound():
    invocation = Invocation("cap:w", "h", "event")
    for number in range(2 * WARNINGS_KEPT):
        invocation.note_warning(HandlerWarning("a", str(number)))
        invocation.note_warning(HandlerWarning("a", "0"))
    assert len(invocation.warnings) == WARNINGS_KEPT
    assert str(invocation.warnings[0]) == f"a: 0 ({2 * WARNINGS_KEPT + 1} times)"


@pytest.mark.parametrize(
    ("ended", "stands"), [("ok", "warning"), ("error", "error"), ("cancelled", "cancelled")]
)
def test_a_mistake_makes_a_warning_only_of_what_went_well(ended, stands):
    early, late = Invocation("cap:w", "h", "event"), Invocation("cap:w", "h", "event")
    early.note_warning(HandlerWarning("a", "b"))
    early.end(ended)
    late.end(ended)
    late.note_warning(HandlerWarning("a", "b"))
    assert (early.outcome, late.outcome) == (stands, stands)
