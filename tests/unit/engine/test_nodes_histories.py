"""Nodes that start, are killed, cut off, healed and end, in any order: what every one of them sees then."""

from __future__ import annotations

import asyncio
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from dnworker.engine import nodes as nodes_module
from dnworker.engine.node_registration import BEAT, LIFETIME, NameTaken

from .cluster import Cluster, Member

NAMES = ("a", "b", "c")
SETTLED = LIFETIME + 3 * BEAT

steps = st.lists(
    st.tuples(
        st.sampled_from(["start", "kill", "cut off", "heal", "end", "wait"]),
        st.sampled_from(NAMES),
        st.sampled_from([-300.0, 0.0, 0.3, 300.0]),
        st.sampled_from([0.5, 2.0, 7.0, 11.0]),
    ),
    max_size=14,
)


class History:
    """The runtimes by name: at most one that lives, as far as the outside knows; and all that ever were."""

    def __init__(self) -> None:
        self.cluster = Cluster()
        self.lives: dict[str, Member] = {}
        self.starting: list[tuple[str, Member, asyncio.Future[Any]]] = []

    async def do(self, what: str, name: str, off: float, seconds: float) -> None:
        member = self.lives.get(name)
        if what == "start":
            await self.start(name, off)
        elif member is not None and what == "kill":
            member.kill()
            del self.lives[name]
        elif member is not None and what == "end" and not member.broker.is_cut_off:
            await member.nodes.close()
            del self.lives[name]
        elif member is not None and what == "cut off":
            member.broker.cut_off()
        elif member is not None and what == "heal":
            member.broker.heal()
        await self.advance(seconds)

    async def start(self, name: str, off: float) -> None:
        made = self.cluster.member(name, off)
        await made.broker.open("run")
        self.starting.append((name, made, asyncio.ensure_future(made.nodes.open())))

    async def advance(self, seconds: float) -> None:
        await self.cluster.advance(seconds)
        for one in [one for one in self.starting if one[2].done()]:
            self.starting.remove(one)
            name, made, opening = one
            if isinstance(opening.exception(), NameTaken):
                continue
            opening.result()
            if (before := self.lives.get(name)) is not None:
                assert before.broker.is_cut_off or before.nodes.failure, "a node that lives lost its name"
                before.kill()
            self.lives[name] = made

    async def end(self) -> None:
        for _, _, opening in self.starting:
            opening.cancel()
        await asyncio.gather(*(opening for _, _, opening in self.starting), return_exceptions=True)
        await self.cluster.close()


async def play(history: History, all_steps: list[Any]) -> None:
    for step in all_steps:
        await history.do(*step)
    for member in history.lives.values():
        member.broker.heal()
    await history.advance(SETTLED)
    await history.advance(SETTLED)
    assert not history.starting, "a start has neither ended nor been refused"
    there = set(history.lives)
    for member in history.lives.values():
        assert member.nodes.failure is None
        assert {name for name, state in member.states().items() if state == "up"} == there
        assert {name for name, state in member.states().items() if state == "silent"} == set()
        own = member.row(member.nodes.name)
        assert own.is_here
        assert own.instance == member.nodes.instance
        moves = member.nodes.moves()
        for name in there:
            kinds = [move.kind for move in moves if move.node == name and move.worker is None]
            assert kinds[-1] in ("joined", "back"), kinds


@settings(max_examples=60, deadline=None)
@given(all_steps=steps)
def test_whatever_happens_all_see_alike_who_is_there_and_nobody_loses_its_name(all_steps):
    before, nodes_module.GAP = nodes_module.GAP, 0.0

    async def run() -> None:
        history = History()
        try:
            await play(history, all_steps)
        finally:
            await history.end()

    try:
        asyncio.run(run())
    finally:
        nodes_module.GAP = before
