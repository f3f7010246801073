"""`Cluster`: several runtimes over one `SharedStore`, by one virtual clock."""

from __future__ import annotations

import asyncio

from dnworker import Runtime
from dnworker.core.clock import VirtualClock
from dnworker.testing import SharedBroker, SharedStore


async def echo(turn):
    return f"you said {turn.message}"


HANGS = 30.0
"""Real seconds after which something hangs; what is waited for comes within milliseconds, or some seconds on a busy machine."""


class Cluster:
    """Its nodes, the first is number 0."""

    def __init__(self):
        self.clock = VirtualClock()
        self.store = SharedStore(self.clock)
        self.nodes: list[Runtime] = []

    async def join(self, reply=echo):
        """Start one more node, whose agents answer with `reply`; without agents for None."""
        runtime = Runtime(port=None, broker=SharedBroker(self.store), clock=self.clock)
        if reply is not None:
            runtime.agents.default(reply)
        await runtime.start()
        self.nodes.append(runtime)
        return runtime

    async def stop(self):
        """End all nodes, those that are cut off too."""
        for node in self.nodes:
            node.bus.broker.heal()
        for node in self.nodes:
            await node.stop(within=2)

    async def until(self, is_so, *, seconds=0.0):
        """Wait until something is so, after at most so many seconds of virtual time; else it hangs, and is said."""
        end, deadline = self.clock.monotonic() + seconds, asyncio.get_running_loop().time() + HANGS
        while not is_so():
            if self.clock.monotonic() < end:
                await self.clock.advance(0.5)
            else:
                assert asyncio.get_running_loop().time() < deadline, "it never was so"
            await asyncio.sleep(0.001)

    def events(self, session_id="s", turn_id=None):
        """Return what is stored of a session, or of a turn."""
        return [e for e in self.store.events if e.session_id == session_id and turn_id in (None, e.turn_id)]

    def ends(self, turn_id):
        """Return the last events of a turn: there must be one."""
        return [e for e in self.store.events if e.turn_id == turn_id and e.terminal]

    async def ended(self, turn_id, *, seconds=0.0):
        """Return the one last event of a turn, once it is there."""
        await self.until(lambda: self.ends(turn_id), seconds=seconds)
        (end,) = self.ends(turn_id)
        return end

    def owner(self, session_id="s"):
        """Return the node that runs a session; None where none does."""
        found = [node for node in self.nodes if node.commands.shared.leases.get(session_id) is not None]
        assert len(found) <= 1
        return found[0] if found else None


async def start_turn(runtime, message="hello", session_id="s"):
    """Start a turn and return its id."""
    stream = await runtime.client()._connection.start_turn(session_id, {"message": message})
    stream.close()
    return stream.turn_id
