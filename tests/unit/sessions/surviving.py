"""`SurvivingBroker`: a broker in memory that outlives the runtime, and stands for one on disk."""

from __future__ import annotations

import asyncio

from msgspec.structs import replace

from dnworker import Runtime
from dnworker.core.errors import NotStored
from dnworker.events.brokers.base import Accepted, BrokerCapabilities
from dnworker.events.brokers.memory import MemoryBroker


class Disk:
    """What the brokers of one machine have written, one after the other."""

    def __init__(self):
        self.events = []
        self.values = {}
        self.is_full = False


class SurvivingBroker(MemoryBroker):
    """The broker of one runtime; what it has accepted is on the disk, for the next one.

    It accepts an event one turn of the loop after it was published, as a disk does later.
    """

    capabilities = BrokerCapabilities(survives_kill=True)

    def __init__(self, disk):
        super().__init__()
        self.disk = disk
        self._values = disk.values
        self.is_dead = False
        """Whether its process was killed: nothing that it is told has an effect, and nobody comes back."""
        self.latest_seq = disk.events[-1].seq if disk.events else 0

    def publish(self, envelope, size, only=None, is_held=False, *, cause=None, is_idempotent=False):
        accepted = asyncio.get_running_loop().create_future()
        asyncio.get_running_loop().call_soon(self._accept, accepted, envelope, size, only)
        return accepted

    def _accept(self, accepted, envelope, size, only):
        if self.is_dead:
            return
        if self.disk.is_full:
            accepted.set_exception(NotStored("the disk is full"))
            return
        self.disk.events.append(envelope)
        self._outlet.deliver(envelope, size, only)
        accepted.set_result(Accepted(envelope, is_new=True))

    async def replay(self, session_id, after_seq, *, limit=1_000):
        found = [e for e in self.disk.events if e.session_id == session_id and e.seq > after_seq]
        return [replace(e, replay=True) for e in found[:limit]]

    async def put(self, key, value, *, revision=None, seconds=None):
        await self._write()
        return await super().put(key, value, revision=revision, seconds=seconds)

    async def delete(self, key):
        await self._write()
        await super().delete(key)

    async def _write(self):
        await asyncio.sleep(0)
        if self.is_dead:
            await asyncio.get_running_loop().create_future()
        if self.disk.is_full:
            raise NotStored("the disk is full")


class Machine:
    """Runs one runtime after the other on one disk: `restart` kills the present one first."""

    def __init__(self, **options):
        self.disk = Disk()
        self.broker = None
        self.runtime = None
        self.options = {"port": None} | options
        self._dead = []

    async def restart(self, prepare=lambda runtime: None):
        """Kill the runtime and start another; `prepare` is called with it before its start."""
        self.kill()
        self.broker = SurvivingBroker(self.disk)
        self.runtime = Runtime(broker=self.broker, **self.options)
        prepare(self.runtime)
        await self.runtime.start()
        return self.runtime

    def kill(self):
        """Kill the present runtime: nothing that it does has an effect any more."""
        if self.runtime is not None:
            self.broker.is_dead = True
            self._dead.append(self.runtime)
            self.runtime = None

    async def stop(self):
        """End in order what runs, and drop what was killed."""
        if self.runtime is not None:
            await self.runtime.stop()
        for runtime in self._dead:
            runtime.bus.use(MemoryBroker())
            runtime.sessions.keeper.is_on = False
            for task in [*runtime.turns._running]:
                task.cancel()
            await runtime.stop(within=0.01)
