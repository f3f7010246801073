"""`AgreedFlags`: flags that were set at run time on any node of a cluster; the engine has one.

Each capability has one value in the broker's store, written by compare-and-set and merged by flag: of two
nodes that set two flags at once, both count. Each node applies what changes there, also what was set while it
was cut off. Over a broker that is not shared, it is closed and empty.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterator, Mapping

import msgspec

from dnworker.core.causes import because
from dnworker.core.clock import Clock
from dnworker.core.errors import Conflict, NotStored
from dnworker.core.lease_time import lease_clock
from dnworker.core.listeners import Listeners
from dnworker.engine.hold import answered, apart, woken
from dnworker.events.brokers.base import Broker, Entry

log = logging.getLogger("dnworker.cluster")

PREFIX = "flags."
"""How the keys begin."""

TRIES = 50
"""How often a write is tried anew that another node has overtaken."""

LOOK_EVERY = 5.0
"""Seconds after which the store is read where nothing is told of a change."""

LONGEST, FLAGS_MOST = 64_000, 500
"""Bytes of a value, and flags in it, that are read."""


class SetFlag(msgspec.Struct, frozen=True):
    """A flag as it was set."""

    value: bool
    node: str
    """The node on which it was set."""


class _Flags(msgspec.Struct, frozen=True):
    """What the store has of one capability."""

    capability: str
    flags: dict[str, SetFlag]


class AgreedFlags(Mapping[str, Mapping[str, bool]]):
    """Values of flags by capability, as they were read last; they stay while the broker is away.

    Args:
        node: returns the name of this node.
        broker: gives the present one.
        clock: of the runtime.
        changed: called with the name of a capability after its values have changed on another node; it
            resolves its flags anew, and opens and closes gates.
    """

    def __init__(
        self,
        node: Callable[[], str],
        broker: Callable[[], Broker],
        clock: Clock,
        changed: Callable[[str], Awaitable[None]],
    ) -> None:
        self._node, self._broker, self._clock = node, broker, lease_clock(clock)
        self._changed = changed
        self.applied = Listeners[[]]()
        """Called after what another node has set is in effect here."""
        # while it is open
        self._known: dict[str, tuple[int, _Flags]] = {}
        """By capability: what was read or written last, and its revision."""
        self._wake = asyncio.Event()
        self._tasks: set[asyncio.Task[None]] = set()
        self._end_watch: Callable[[], None] = lambda: None
        self._unreadable: set[tuple[str, int]] = set()
        self.is_open = False

    def __getitem__(self, capability: str) -> Mapping[str, bool]:
        """Return the flags of a capability that were set, and their values."""
        return {name: one.value for name, one in self._known[capability][1].flags.items()}

    def __iter__(self) -> Iterator[str]:
        return iter(self._known)

    def __len__(self) -> int:
        return len(self._known)

    # -- start and stop --------------------------------------------------------------------------------

    async def open(self) -> None:
        """Read what is agreed, before gates decide, and follow it from now on.

        Raises:
            OSError: the broker is away.
        """
        if not self._broker().capabilities.is_shared:
            return
        self._known, self._wake, self.is_open = {}, asyncio.Event(), True  # the loop may be another one
        self._end_watch = self._broker().watch(PREFIX, self._wake.set)
        for capability in await self._read():
            await self._changed(capability)
        self._spawn(self._follow(), "dnworker flags")

    async def close(self) -> None:
        """Follow it no longer; may be called again."""
        self.is_open = False
        self._end_watch()
        tasks, self._tasks = self._tasks, set()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self._known = {}

    # -- setting ---------------------------------------------------------------------------------------

    async def set(self, capability: str, flag: str, value: bool) -> None:
        """Set a flag for all nodes; what others have set of the same capability stays.

        Raises:
            NotStored: the broker cannot be asked, or does not answer; nothing has changed here then.
            Conflict: there are too many.
        """
        key = PREFIX + capability
        try:
            for _ in range(TRIES):
                entry = await answered(self._clock, self._broker().get(key))
                before = None if entry is None else self._decoded(entry)
                made = SetFlag(value, self._node())
                flags = {**(before.flags if before is not None else {}), flag: made}
                data = msgspec.json.encode(_Flags(capability, flags))
                if len(data) > LONGEST or len(flags) > FLAGS_MOST:
                    raise Conflict(
                        f"flag {capability}.{flag} is not set: {len(flags)} flags are too many", code="DN406"
                    )
                revision = 0 if entry is None else entry.revision
                written = await answered(self._clock, self._broker().put(key, data, revision=revision))
                if written is not None:
                    self._known[capability] = written.revision, _Flags(capability, flags)
                    return
        except OSError as exc:
            raise NotStored(
                f"flag {capability}.{flag} is not set: it counts on all nodes, and their broker cannot be "
                f"asked: {exc}; set it once that is back",
                code="DN406",
            ) from exc
        raise NotStored(
            f"flag {capability}.{flag} is not set: others set flags all the time; try it again", code="DN406"
        )

    # -- following -------------------------------------------------------------------------------------

    async def _follow(self) -> None:
        while True:
            await woken(self._wake, self._clock, LOOK_EVERY, "dnworker flags")
            self._wake.clear()
            try:
                changed = await self._read()
            except OSError as exc:
                log.debug("the flags of the cluster cannot be read: %s", exc)
                continue
            except Exception:  # a node that follows no longer would run by old flags, unnoticed
                log.exception("the flags of the cluster cannot be read")
                continue
            for capability in changed:  # each apart: a worker that is slow to stop delays no other
                self._spawn(self._apply(capability), f"dnworker flags, {capability}")

    async def _apply(self, capability: str) -> None:
        try:
            with because("A flag was set for all nodes"):
                await self._changed(capability)
            self.applied.notify()
        except Exception:  # the flags of others are applied all the same
            log.exception(
                "the flags of capability %s are set, and what they gate could not follow", capability
            )

    async def _read(self) -> list[str]:
        """Read the store; returns the capabilities of which a value has changed.

        The list may lag behind what this node has written: an older revision is passed over.
        """
        found: dict[str, tuple[int, _Flags]] = {}
        for entry in await answered(self._clock, self._broker().entries(PREFIX)):
            read = self._decoded(entry)
            if read is not None and PREFIX + read.capability == entry.key:
                found[read.capability] = entry.revision, read
        for capability in self._known.keys() - found.keys():
            key = PREFIX + capability
            entry_now = await answered(self._clock, self._broker().get(key))
            if entry_now is not None and (read := self._decoded(entry_now)) is not None:
                found[capability] = entry_now.revision, read
        before = {name: flags for name, (_, flags) in self._known.items()}
        for name, (revision, _) in self._known.items():
            if name in found and found[name][0] < revision:
                found[name] = self._known[name]
        self._known = found
        changed = [name for name in {*before, *found} if _values(before.get(name)) != _values(self._of(name))]
        for name in changed:
            self._say(name, before.get(name))
        return sorted(changed)

    def _of(self, capability: str) -> _Flags | None:
        return self._known[capability][1] if capability in self._known else None

    def _say(self, capability: str, before: _Flags | None) -> None:
        now, former = self._of(capability), _values(before)
        for name, one in (now.flags if now is not None else {}).items():
            if former.get(name) != one.value:
                word = "on" if one.value else "off"
                log.info("flag %s.%s is %s for all nodes, set on node %s", capability, name, word, one.node)

    def _decoded(self, entry: Entry) -> _Flags | None:
        """Return a value as it was written; None for none, which is said once."""
        try:
            if len(entry.value) > LONGEST:
                raise ValueError(f"it has {len(entry.value)} bytes")
            read = msgspec.json.decode(entry.value, type=_Flags)
            if len(read.flags) > FLAGS_MOST:
                raise ValueError(f"it has {len(read.flags)} flags")
        except ValueError as exc:
            if (entry.key, entry.revision) not in self._unreadable:
                self._unreadable = {*[*self._unreadable][:100], (entry.key, entry.revision)}
                log.warning("the flags at %s cannot be read, and do not count: %s", entry.key, exc)
            return None
        return read

    def _spawn(self, coroutine: Awaitable[None], name: str) -> None:
        task = apart(_awaited(coroutine), name)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


async def _awaited(coroutine: Awaitable[None]) -> None:
    await coroutine


def _values(flags: _Flags | None) -> dict[str, bool]:
    return {} if flags is None else {name: one.value for name, one in flags.flags.items()}
