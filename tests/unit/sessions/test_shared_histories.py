"""Histories of a cluster: whatever happens to its nodes, every accepted turn has one start at most, and one end."""

from __future__ import annotations

import asyncio
from typing import Any

from hypothesis import HealthCheck, given, note, settings
from hypothesis import strategies as st

from dnworker.core.errors import CommandError
from dnworker.sessions import keeper

from .cluster import Cluster, start_turn

keeper_retry = keeper.RETRY_SECONDS

SESSIONS = ("s", "t")

node, session = st.integers(0, 2), st.sampled_from(SESSIONS)
steps = st.lists(
    st.one_of(
        st.tuples(st.just("start"), node, session),
        st.tuples(st.just("start"), node, session),
        st.tuples(st.just("cancel"), node, session),
        st.tuples(st.just("delete"), node, session),
        st.tuples(st.just("cut"), node, st.none()),
        st.tuples(st.just("heal"), node, st.none()),
        st.tuples(st.just("advance"), st.sampled_from([1, 4, 8, 12]), st.none()),
        st.tuples(st.just("stop"), node, st.none()),
    ),
    max_size=14,
)


async def slow(turn):
    """Take a second, most of it in the middle."""
    turn.say("half ")
    await turn.sleep(1)
    return "done"


class History:
    """One cluster of three nodes, and what clients of it were told."""

    def __init__(self) -> None:
        self.cluster = Cluster()
        self.told: list[str] = []
        self.tasks: set[asyncio.Task[Any]] = set()

    async def run(self, given_steps: list[tuple[str, Any, Any]]) -> None:
        """Do the steps, then bring all nodes back, and look."""
        for _ in range(3):
            await self.cluster.join(slow)
        try:
            for what, where, which in given_steps:
                await self.step(what, where, which)
                for _ in range(20):
                    await asyncio.sleep(0)
            for one in self.cluster.nodes:
                one.bus.broker.heal()
            spare = await self.cluster.join(slow)
            for _ in range(60):
                await self.cluster.clock.advance(1)
                await asyncio.sleep(0.001)
            await asyncio.wait(self.tasks) if self.tasks else None
            self.check()
            assert await spare.bus.broker.keys("sessions.turns/") == []
            for session in await spare.commands.shared.all():
                await self.check_session(spare, session.session_id)
        finally:
            await self.cluster.stop()

    async def step(self, what: str, where: int, which: str | None) -> None:
        if what == "advance":
            await self.cluster.clock.advance(where)
            return
        one = self.cluster.nodes[where]
        match what:
            case "start":
                self.spawn(self.start(one, which))
            case "cancel":
                self.spawn(one.client()._connection.cancel_turn(which, {}))
            case "delete":
                self.spawn(one.client().delete_session(which))
            case "cut":
                one.bus.broker.cut_off()
            case "heal":
                one.bus.broker.heal()
            case "stop":
                await one.stop(within=1)

    async def start(self, one: Any, which: str | None) -> None:
        self.told.append(await start_turn(one, "m", which))

    def spawn(self, coroutine: Any) -> None:
        async def contained() -> None:
            try:
                await coroutine
            except (CommandError, OSError, RuntimeError, LookupError) as exc:  # refused: it was told so
                assert str(exc)
            except Exception as exc:
                assert "http" in type(exc).__module__, repr(exc)

        self.tasks.add(asyncio.ensure_future(contained()))

    def check(self) -> None:
        events = self.cluster.store.events
        accepted = {e.turn_id for e in events if e.kind == "turn.accepted"}
        assert set(self.told) <= accepted
        for turn_id in accepted:
            kinds = [e.kind for e in events if e.turn_id == turn_id and e.kind != "turn.event"]
            assert len([e for e in events if e.turn_id == turn_id and e.terminal]) == 1, kinds
            assert kinds.count("turn.started") <= 1, kinds
            assert "turn.completed" not in kinds or "turn.started" in kinds, kinds

    async def check_session(self, one: Any, session_id: str) -> None:
        """Look whether a session has the messages of the turns that are said to be completed, and no others."""
        events = self.cluster.events(session_id)
        since = max((e.seq for e in events if e.kind == "session.created"), default=0)
        completed = [e.seq for e in events if e.kind == "turn.completed" and e.seq > since]
        session = await one.client().get_session(session_id)
        assert session.message_count == len(completed)
        assert len(await one.client().fetch_session_messages(session_id)) == 2 * len(completed)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(steps)
def test_every_accepted_turn_has_one_end_whatever_happens_to_the_nodes(given_steps):
    keeper.RETRY_SECONDS = 0.005
    note(f"steps: {[*given_steps]}")
    try:
        asyncio.run(History().run(given_steps))
    finally:
        keeper.RETRY_SECONDS = keeper_retry
