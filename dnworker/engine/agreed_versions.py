"""`AgreedVersions`: the version of each capability that a cluster is to run; `holdings` has one.

The broker's store has one target a capability, written by compare-and-set. Each node looks at them with the
seats of the others, and makes what it has loaded the target where `versions.py` says so.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Mapping

import msgspec

from dnworker.core.errors import Conflict, NotFound, NotStored
from dnworker.core.lease_time import LeaseClock
from dnworker.engine.hold import answered
from dnworker.engine.node_records import NodeCapability
from dnworker.engine.versions import Loaded, Target, becomes_target, made_target, newest, with_failed
from dnworker.events.brokers.base import Broker, Entry

log = logging.getLogger("dnworker.cluster")

PREFIX = "version."
"""How the keys begin."""

GONE_AFTER = 30.0
"""Seconds after which a target counts no more that no node has loaded."""

TRIES = 20
"""How often a write is tried anew that another node has overtaken."""

LONGEST = 300_000
"""Bytes of a target that are read."""


class AgreedVersions:
    """The targets that were read last; they stay while the broker is away.

    Args:
        node: returns the name of this node.
        broker: gives the present one.
        clock: of leases.
        now: returns the time of day in seconds since 1970.
        loaded: returns the capabilities that this node has loaded from disk, by name.
    """

    def __init__(
        self,
        node: Callable[[], str],
        broker: Callable[[], Broker],
        clock: LeaseClock,
        now: Callable[[], float],
        loaded: Callable[[], Mapping[str, Loaded]],
    ) -> None:
        self.loaded = loaded
        self._node, self._broker, self._clock, self._now = node, broker, clock, now
        self.forget()

    def forget(self) -> None:
        """Know nothing, as at a start."""
        self.targets: dict[str, Target] = {}
        self._revisions: dict[str, int] = {}
        self._seen: dict[str, str] = {}
        """The digest of what this node had loaded at the last look."""
        self._loaded_at: dict[str, tuple[str, float]] = {}
        """By capability: a digest, and since when this node has it."""
        self._missed: dict[tuple[str, str], float] = {}
        """Since when no node has had a target, by capability and digest."""
        self._unreadable: set[tuple[str, int]] = set()

    def loaded_at(self, capability: str) -> float:
        """Return when this node first had what it has of a capability now, by the clock of leases."""
        return self._loaded_at.get(capability, ("", 0.0))[1]

    def is_old(self, capability: str, loaded: Loaded) -> bool:
        """Return whether what a node has loaded is not the target."""
        target = self.targets.get(capability)
        return target is not None and target.loaded.digest != loaded.digest

    def told(self) -> list[NodeCapability]:
        """Return what this node says of its capabilities to who looks at the nodes."""
        return [
            NodeCapability(name=name, version=one.version, digest=one.digest, is_old=self.is_old(name, one))
            for name, one in self.loaded().items()
        ]

    # -- looking ---------------------------------------------------------------------------------------

    async def look(self, others: Collection[Mapping[str, Loaded]]) -> None:
        """Read the targets, and make what is loaded here a target where it is to be one.

        Args:
            others: what other nodes have loaded.

        Raises:
            OSError: the broker is away; everything stays as it was.
        """
        await self._read()
        for capability, mine in self.loaded().items():
            before = self._seen.get(capability)
            if self._loaded_at.get(capability, ("", 0.0))[0] != mine.digest:
                self._loaded_at[capability] = mine.digest, self._clock.monotonic()
            is_news = before not in (None, mine.digest)
            is_lost = self._is_lost(capability, [one.get(capability) for one in others], mine)
            is_due = is_lost or becomes_target(self.targets.get(capability), mine, is_news=is_news)
            if not is_due or await self._make(capability, mine, is_lost=is_lost):
                self._seen[capability] = mine.digest  # else the next look decides anew

    def _is_lost(self, capability: str, others: list[Loaded | None], mine: Loaded) -> bool:
        """Return whether no node has had the target for so long that this one's is it from now on."""
        target = self.targets.get(capability)
        there = [mine, *(one for one in others if one is not None)]
        if target is None or any(one.digest == target.loaded.digest for one in there):
            self._missed = {key: at for key, at in self._missed.items() if key[0] != capability}
            return False
        key, now = (capability, target.loaded.digest), self._clock.monotonic()
        since = self._missed.setdefault(key, now)
        best = newest(there)
        return now >= since + GONE_AFTER and best is not None and best.digest == mine.digest

    async def _read(self) -> None:
        for entry in await answered(self._clock, self._broker().entries(PREFIX)):
            target = self._decoded(entry)
            if target is not None and entry.revision > self._revisions.get(target.capability, 0):
                self._take(target, entry.revision)

    def _take(self, target: Target, revision: int) -> None:
        before = self.targets.get(target.capability)
        self.targets[target.capability], self._revisions[target.capability] = target, revision
        name = target.capability
        if before is None:
            log.info("capability %s: the nodes are to run version %s", name, target.loaded)
        elif before.loaded.digest != target.loaded.digest:
            log.warning(
                "capability %s: version %s of node %s is the target now, it was %s; workers move to nodes "
                "that have it, one at a time",
                name, target.loaded, target.node, before.loaded,
            )  # fmt: skip

    def _decoded(self, entry: Entry) -> Target | None:
        """Return a target as it was written; None for none, which is said once."""
        try:
            if len(entry.value) > LONGEST:
                raise ValueError(f"it has {len(entry.value)} bytes")
            target = msgspec.json.decode(entry.value, type=Target)
            if PREFIX + target.capability != entry.key:
                raise ValueError("it names another capability")
        except ValueError as exc:
            if (entry.key, entry.revision) not in self._unreadable:
                self._unreadable = {*[*self._unreadable][:100], (entry.key, entry.revision)}
                log.warning("the version at %s cannot be read, and does not count: %s", entry.key, exc)
            return None
        return target

    # -- writing ---------------------------------------------------------------------------------------

    async def make_target(self, capability: str) -> Target:
        """Make what this node has loaded of a capability the target, whatever its version is.

        Raises:
            NotFound: this node has loaded none of this name from disk.
            NotStored: the broker cannot be asked.
            Conflict: others make theirs the target all the time.
        """
        mine = self.loaded().get(capability)
        if mine is None:
            raise NotFound(f"no capability {capability!r} is loaded here from its directory", code="DN404")
        try:
            for _ in range(TRIES):
                if await self._make(capability, mine, is_asked=True):
                    return self.targets[capability]
        except OSError as exc:
            raise NotStored(f"version {mine} of {capability} is not the target: {exc}", code="DN814") from exc
        raise Conflict(
            f"version {mine} of {capability} is not the target: other nodes set theirs; try it again",
            code="DN814",
        )

    async def note_failed(self, worker: str) -> bool:
        """Note that a worker does not start with the target; returns whether that is noted.

        Raises:
            OSError: the broker is away.
        """
        capability = worker.partition(":")[0]
        mine = self.loaded().get(capability)
        for _ in range(TRIES):
            entry, target = await self._get(capability)
            if entry is None or target is None or mine is None or target.loaded.digest != mine.digest:
                return False
            if await self._put(with_failed(target, worker), entry.revision):
                return True
        return False

    async def _make(
        self, capability: str, mine: Loaded, *, is_lost: bool = False, is_asked: bool = False
    ) -> bool:
        """Write a target, unless another has been written that this node has not seen; False then.

        Asked for, it is written anew also where it is the target: what failed with it is tried again.
        """
        entry, before = await self._get(capability)
        revision = 0 if entry is None else entry.revision
        if not is_asked and revision != self._revisions.get(capability, 0) and before is not None:
            return False  # the next look decides by that one
        made = made_target(capability, mine, before, node=self._node(), since=self._now(), is_lost=is_lost)
        return await self._put(made, revision)

    async def _get(self, capability: str) -> tuple[Entry | None, Target | None]:
        entry = await answered(self._clock, self._broker().get(PREFIX + capability))
        return entry, None if entry is None else self._decoded(entry)

    async def _put(self, target: Target, revision: int) -> bool:
        data = msgspec.json.encode(target)
        key = PREFIX + target.capability
        written = await answered(self._clock, self._broker().put(key, data, revision=revision))
        if written is not None:
            self._take(target, written.revision)
        return written is not None
