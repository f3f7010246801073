"""Wraps are put around the runs of handlers, the last one outside."""

from __future__ import annotations

from dnworker.core.invocation import Invocation
from dnworker.workers.around import Around


def noting(seen: list[str], name: str):
    def wrap(invocation, handler):
        async def run(*args):
            seen.append(f"{name} begins {invocation.handler}")
            try:
                return await handler(*args)
            finally:
                seen.append(f"{name} ends")

        return run

    return wrap


async def test_wraps_are_around_a_handler_until_they_are_taken_away():
    around, seen = Around(), []
    invocation = Invocation("cap:bridge", "on_turn", "event")

    async def handler(event):
        seen.append(event)

    around.add(noting(seen, "inner"))
    remove = around.add(noting(seen, "outer"))
    await around.wrapped(invocation, handler)("event")
    assert seen == ["outer begins on_turn", "inner begins on_turn", "event", "inner ends", "outer ends"]

    seen.clear()
    remove()
    await around.wrapped(invocation, handler)("event")
    assert seen == ["inner begins on_turn", "event", "inner ends"]


async def test_a_handler_without_wraps_is_itself():
    assert Around().wrapped(Invocation("cap:bridge", "on_turn", "event"), noting) is noting
