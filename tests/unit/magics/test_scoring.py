"""`%replay --score`: each event's outcome gets numbers, or the reason why it has none."""

from __future__ import annotations

import asyncio
import math
from types import SimpleNamespace
from typing import Any, cast

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from dnworker.core.errors import UsageError
from dnworker.runtime import Runtime
from dnworker.workers.worker import Worker
from dnworker_jupyter.display.scores import Score, Scores
from dnworker_jupyter.magics.context import MagicContext
from dnworker_jupyter.magics.replay import ReplayOptions, replay_parser, run_replay
from dnworker_jupyter.magics.scoring import score


def half(trace):
    return trace.event.payload["n"] / 2


async def of_two(trace):
    await asyncio.sleep(0)
    return {"n": trace.event.payload["n"], "ok": trace.ok}


def fails_at_two(trace):
    return 1 / (trace.event.payload["n"] - 2)


@pytest.fixture
async def context():
    """As much of a context as `%replay --score` needs: three fired events, and functions in the notebook."""
    worker = Worker("w")

    @worker.on_event("ask")
    async def on_ask(event, client):
        if event.payload["n"] == 3:
            raise ValueError("three")

    names: dict[str, Any] = {"half": half, "of_two": of_two, "fails_at_two": fails_at_two, "number": 3}
    async with Runtime(port=None) as runtime:
        await runtime.add(worker)
        for n in (1, 2, 3):
            await runtime.fire("ask", {"n": n})
        parts: dict[str, Any] = dict.fromkeys(MagicContext.__struct_fields__)
        parts |= {"runtime": runtime, "live": [], "shell": SimpleNamespace(user_ns=names)}
        yield MagicContext(**cast(Any, parts))


async def run(context: MagicContext, line: str) -> Any:
    return await run_replay(context, replay_parser().read_as(ReplayOptions, line.split()))


async def test_each_event_is_fired_again_and_scored(context):
    scores = await run(context, "last 3 --score half")
    assert [row.values for row in scores] == [{"score": 0.5}, {"score": 1.0}, {"score": 1.5}]
    assert scores.mean == {"score": 1.0}
    assert [row.event.payload["n"] for row in scores.worst(2)] == [1, 2]
    assert scores[0].trace.event.event_id != scores[0].event.event_id


async def test_an_async_function_may_give_several_numbers_by_name(context):
    scores = await run(context, "last 3 --score of_two")
    assert scores.names == ["n", "ok"]
    assert [row["ok"] for row in scores.dicts()] == [1.0, 1.0, 0.0]
    assert [row.event.payload["n"] for row in scores.failed] == [3]


async def test_what_the_function_raises_is_said_in_its_row_and_the_others_are_scored(context):
    scores = await run(context, "last 3 --score fails_at_two")
    assert [row.values.get("score") for row in scores] == [-1.0, None, 1.0]
    assert "ZeroDivisionError: division by zero (" in repr(scores)
    assert "test_scoring.py, line " in scores[1].problem
    assert "division by zero" in scores._repr_html_()


async def test_a_function_that_takes_too_long_is_given_up(context):
    async def for_ever(trace):
        await asyncio.Event().wait()

    context.shell.user_ns["for_ever"] = for_ever
    scores = await run(context, "last 1 --score for_ever --timeout 0.01")
    assert scores[0].problem == "the score takes longer than 0.01 s; raise --timeout"


async def test_a_timeout_of_the_functions_own_is_its_error(context):
    def own(trace):
        raise TimeoutError("of mine")

    context.shell.user_ns["own"] = own
    scores = await run(context, "last 1 --score own")
    assert scores[0].problem.startswith("TimeoutError: of mine (")


async def test_scores_are_compared_with_earlier_ones_event_by_event(context):
    recorded = [f"#{event.seq}" for event in await recorded_events(context)]
    line = " ".join(recorded)
    before = await run(context, f"{line} --score half")
    context.shell.user_ns |= {"before": before, "more": lambda trace: trace.event.payload["n"] - 1}
    scores = await run(context, f"{line} --score more --against before")
    assert "+0 against before (1 better, 1 worse, 3 compared)" in scores.summary()[1]
    assert "0.5 → 0" in repr(scores)
    assert "1.5 → 2" in scores._repr_html_()


async def recorded_events(context):
    return [event for event in context.runtime.history.events(100) if event.kind == "ask"][:3]


async def test_what_an_evaluation_fired_is_compared_with_it(context):
    before = await run(context, "last 3 --score half")
    context.shell.user_ns["before"] = before
    scores = await run(context, "last 3 --score half --against before")
    assert scores.summary()[1].endswith("; +0 against before (0 better, 0 worse, 3 compared)")


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ("last --score nothing", "--score nothing: there is no such function"),
        ("last --score number", "--score number: there is no such function"),
        ("last --score half --compare", "leave --compare or --score out"),
        ("last --score half --from-state", "leave --from-state or --score out"),
        ("last --score half --against half", "--against half: it is no result of"),
        ("last --against half", "--against goes with --score"),
    ],
)
async def test_what_cannot_be_scored_is_refused_before_anything_is_fired(context, line, problem):
    fired = len(context.runtime.history.events(100))
    with pytest.raises(UsageError) as raised:
        await run(context, line)
    assert problem in str(raised.value)
    assert len(context.runtime.history.events(100)) == fired


async def test_a_function_without_an_argument_is_refused(context):
    context.shell.user_ns["none"] = lambda: 1
    with pytest.raises(UsageError, match="it must take one argument, the trace"):
        await run(context, "last --score none")


ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5) | st.binary(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)


@given(values=st.lists(ANYTHING, min_size=1, max_size=5))
@example(values=[{"a\nb": 1, "\x1c": 2}, 1e308, [1]])
def test_whatever_a_function_returns_has_a_row_with_finite_numbers_or_a_reason(values):
    event: Any = SimpleNamespace(event_id="e", seq=1, kind="<b>k</b>", payload={"p": "<script>"})
    trace: Any = SimpleNamespace(event=event, replayed=None, ok=True, outcome="ok")
    left = iter(values)
    rows = asyncio.run(score([trace] * len(values), lambda _: next(left), 5))
    scores = Scores(rows, Scores(rows))
    for value, row in zip(values, rows, strict=True):
        assert all(map(math.isfinite, row.values.values()))
        assert row.problem is not None or row.values or value is None or value == {}
    assert len(repr(scores).splitlines()) == len(scores.summary()) + 1 + len(values)
    assert "<script>" not in scores._repr_html_()
    assert "<b>" not in scores._repr_html_()


def test_a_long_evaluation_stores_its_first_rows_and_says_how_many_are_left():
    event: Any = SimpleNamespace(event_id="e", seq=1, kind="k", payload={})
    trace: Any = SimpleNamespace(event=event, ok=True, outcome="ok")
    html = Scores([Score(event, trace, {"score": 1.0})] * 700)._repr_html_()
    assert html.count("<tr>") == 501
    assert "200 more rows are not stored" in html
