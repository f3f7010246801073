"""What `%replay` does with its options."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import pytest

from dnworker.core.errors import UsageError
from dnworker.runtime import Runtime
from dnworker.workers.worker import Worker
from dnworker_jupyter.magics.context import MagicContext
from dnworker_jupyter.magics.replay import ReplayOptions, replay_parser, run_replay


def generation(word: str) -> Worker:
    worker = Worker("w")

    @worker.on_event("ask")
    async def on_ask(event, client):
        await client.publish(word, {"n": event.payload["n"]})

    return worker


@pytest.fixture
async def context():
    """As much of a context as `%replay --compare` needs: a fired event, a worker of two generations."""
    live = SimpleNamespace(
        name="w",
        generation=2,
        earlier=None,
        previous=lambda: lambda: generation("one"),
        make_shadow=lambda: generation("two"),
    )
    async with Runtime(port=None) as runtime:
        await runtime.add(generation("live"))
        await runtime.fire("ask", {"n": 1})
        parts: dict[str, Any] = dict.fromkeys(MagicContext.__struct_fields__)
        parts |= {"runtime": runtime, "live": [live], "shell": SimpleNamespace(user_ns={})}
        yield MagicContext(**cast(Any, parts))


async def run(context: MagicContext, line: str) -> str:
    return str(await run_replay(context, replay_parser().read_as(ReplayOptions, line.split())))


async def test_two_generations_are_compared_on_the_edited_event(context):
    told = await run(context, "last --compare --edit n=7")
    assert '- on_ask publishes one {"n": 7}' in told
    assert '+ on_ask publishes two {"n": 7}' in told
    assert '- on_ask publishes one {"n": 1}' in await run(context, "last --compare --timeout 30")


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ("last --compare --session s1", "leave --session or --compare out"),
        ("last --compare --speed 2", "leave --speed or --compare out"),
        ("last --compare --from-state --session s1", "leave --session or --compare out"),
        ("last --compare --edit n.x=1", "--edit n.x: "),
    ],
)
async def test_what_a_comparison_cannot_do_is_refused(context, line, problem):
    with pytest.raises(UsageError) as raised:
        await run(context, line)
    assert problem in str(raised.value)
