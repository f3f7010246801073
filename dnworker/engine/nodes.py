"""`Nodes`: this node among those that share its broker, what each of them does, and what became of them.

The engine opens it with the broker; where that is not shared it does nothing and costs nothing. The API, the
panel and `dnworker nodes` show what it returns.
"""

from __future__ import annotations

import asyncio
import logging
import math
import uuid
from collections.abc import Awaitable, Callable, Iterable

from dnworker.core.clock import Clock
from dnworker.core.errors import Conflict, DnworkerError
from dnworker.core.listeners import Listeners
from dnworker.core.task_ends import end_tasks
from dnworker.core.text import shorten
from dnworker.engine.node_facts import Facts
from dnworker.engine.node_names import check_labels, check_name, default_node
from dnworker.engine.node_records import (
    LONGEST_FAILURE,
    Held,
    Holdings,
    Move,
    NodeRecord,
    NodeRow,
)
from dnworker.engine.node_registration import BEAT, LIFETIME, PAST, PREFIX, NameTaken, Registration
from dnworker.engine.node_sightings import Sightings
from dnworker.engine.node_timeline import PREFIX as TIMELINE
from dnworker.engine.node_timeline import Timeline
from dnworker.events.brokers.base import Broker
from dnworker.workers.tasks import KeeperTask, keep

log = logging.getLogger("dnworker.nodes")

GAP = 0.2
"""Seconds between two writes of the record, or two reads for who looks on, however much changes."""

LONGEST_CALL = 10.0
"""Seconds after which one look at the broker is given up, by the machine's clock."""

END_WITHIN = 2.0
"""Seconds that the end of a node waits for the broker."""


class Nodes:
    """The nodes of one namespace, as this one sees them.

    Args:
        broker: gives the present one.
        clock: what beats and silence are measured by; never one that somebody sets.
        facts: says what this node has and does.
        name: of this node; by default the host's with four random digits.
        labels: of this node.

    Raises:
        ValueError: the name or a label is none.
    """

    def __init__(
        self,
        broker: Callable[[], Broker],
        clock: Clock,
        facts: Facts,
        *,
        name: str | None = None,
        labels: Iterable[str] = (),
    ) -> None:
        self._broker = broker
        self._clock = clock
        self._facts = facts
        self.name = default_node() if name is None else check_name(name, "node")
        self.labels = check_labels([*labels])
        self.holdings: Holdings = facts
        """Says which workers are held here; by default all that run."""
        self.failure: str | None = None
        """Why the last look at the broker has failed."""
        # while it is open
        self._since = 0.0
        self._tasks: list[KeeperTask] = []
        self._listeners = Listeners[[]]()
        self._watches: list[Callable[[], None]] = []
        self._begin()

    def _begin(self) -> None:
        """Make what belongs to one start: the loop and the broker may be others after a stop."""
        self.instance = uuid.uuid4().hex[:12]
        """The id of this start: the name alone may have had another before."""
        # what all nodes write together
        self._timeline = Timeline(self._broker, self.instance)
        self._sightings = Sightings(self._broker, self._clock, self.instance)
        self._registration = Registration(self._broker, self._clock, self._record)
        # what others were told
        self._told: tuple[str | None, list[tuple[Held, str]]] = (None, [])
        self._failed_at = -math.inf
        """When a look at the broker has failed last, in seconds of the monotonic clock."""
        self._noted: dict[str, int | None] = {}
        """The fence under which each worker is in the timeline last."""
        self._unsaid: list[Held] = []
        """What is not in it yet."""
        # who waits
        self._one_at_a_time = asyncio.Lock()
        self._changed_here, self._changed_elsewhere = asyncio.Event(), asyncio.Event()

    @property
    def is_shared(self) -> bool:
        """Whether other nodes may be there."""
        return self._broker().capabilities.is_shared

    @property
    def is_open(self) -> bool:
        """Whether this node is one of those."""
        return bool(self._tasks)

    def be(self, name: str | None = None, labels: Iterable[str] | None = None) -> None:
        """Have another name or other labels from the next start on.

        Raises:
            ValueError: the name or a label is none.
            Conflict: the node is there.
        """
        if self.is_open:
            raise Conflict(
                f"this runtime is node {self.name!r}; stop it before it gets another name", code="DN808"
            )
        self.name = self.name if name is None else check_name(name, "node")
        self.labels = self.labels if labels is None else check_labels([*labels])

    # -- start and end ---------------------------------------------------------------------------------

    async def open(self) -> None:
        """Take the name, and be seen from now on; does nothing where the broker is not shared.

        Raises:
            NameTaken: another node has the name; says which, and the way out.
            OSError, DnworkerError: the broker is away.
        """
        if not self.is_shared or self.is_open:
            return
        self._begin()
        self._since = self._clock.now().timestamp()
        await self._registration.claim()
        self._timeline.note(Move(at=self._since, kind="joined", node=self.name))
        self._tasks = [
            keep(self._beat(), "dnworker node"),
            keep(self._tell(), "dnworker node, changes here"),
            keep(self._follow(), "dnworker node, changes elsewhere"),
        ]
        self._watch()
        await self.look()

    async def close(self) -> None:
        """Give the name back and leave; waits 2 s for the broker at most. May be called again."""
        if not self.is_open:
            return
        tasks, self._tasks = self._tasks, []
        await end_tasks(*tasks)
        self._unwatch()
        self._timeline.note(Move(at=self._clock.now().timestamp(), kind="left", node=self.name))
        try:
            async with asyncio.timeout(END_WITHIN), self._one_at_a_time:
                await self._registration.end()
                await self._timeline.write()
        except (OSError, DnworkerError) as exc:
            log.warning("node %s could not say that it leaves: %s", self.name, exc or type(exc).__name__)
        except Exception:  # ours: the rest of the runtime is still to be stopped
            log.exception("node %s could not say that it leaves", self.name)

    # -- what is seen ----------------------------------------------------------------------------------

    def rows(self) -> list[NodeRow]:
        """Return all nodes as of the last look; of this one, what is true now."""
        rows = self._sightings.rows()
        for row in rows:
            if row.is_here:
                row.failure = self.failure or self._broker().failure
        return rows

    def moves(self) -> list[Move]:
        """Return the timeline as of the last look, oldest first."""
        return self._timeline.moves

    def listen(self, listener: Callable[[], None]) -> Callable[[], None]:
        """Call `listener` after nodes have changed; returns what ends it."""
        end = self._listeners.add(listener)
        self._watch()

        def ended() -> None:
            end()
            if not len(self._listeners):
                self._unwatch()

        return ended

    def notify(self) -> None:
        """Look at what this node holds, and tell the others soon what has changed."""
        self._changed_here.set()

    def note(self, worker: str, fence: int, former: str | None, why: str) -> None:
        """Note in the timeline that this node has taken a worker; without it, that is seen and guessed.

        Args:
            worker: its qualified name.
            fence: the number of this node's turn with it.
            former: the node that held it before, where one is known.
            why: `started`, `handed over` or `failover`.
        """
        if not self.is_open or not self._is_new(Held(worker, fence)):
            return
        self._noted[worker] = fence
        self._timeline.note(self._move(worker, fence, former, is_failover=why == "failover"))
        self.notify()

    async def look(self) -> None:
        """Say what this node does, and read what the others say; a failure is noted, and logged once."""
        failed = await self._try(self._write)
        is_away = isinstance(failed, OSError | DnworkerError) and not isinstance(failed, NameTaken)
        if not is_away:
            failed = await self._try(self._read) or failed
        self._note(failed)
        self._tell_listeners()

    async def read(self) -> None:
        """Read what all nodes say, this one too; a failure is noted, and logged once."""
        failed = await self._try(self._read)
        if failed is not None:
            self._note(failed)
        self._tell_listeners()

    def _tell_listeners(self) -> None:
        try:
            self._listeners.notify()
        except Exception:  # theirs, and no reason to be seen no more
            log.exception("what listens to the nodes has failed")

    async def _try(self, step: Callable[[], Awaitable[None]]) -> Exception | None:
        """Do something with the broker, in bounded time; returns what it raised."""
        try:
            async with asyncio.timeout(LONGEST_CALL), self._one_at_a_time:
                await step()
        except (OSError, DnworkerError) as exc:
            return exc
        except Exception as exc:  # ours, and no reason to be seen no more
            if self.failure is None:
                log.exception("a look at the nodes has failed")
            return exc
        return None

    def _note(self, failed: Exception | None) -> None:
        """Note whether this node is seen; log it where that has changed."""
        text = None if failed is None else shorten(str(failed) or type(failed).__name__, LONGEST_FAILURE)
        before, self.failure = self.failure, text
        if text is not None:
            self._failed_at = self._clock.monotonic()
        if text is not None and before is None:
            log.warning("node %s does not see the others, or they not it: %s", self.name, text)
        elif text is None and before is not None:
            log.warning("node %s and the others see each other again", self.name)

    # -- beats and changes -----------------------------------------------------------------------------

    async def _beat(self) -> None:
        while True:
            await self._clock.sleep(BEAT)
            await self.look()

    async def _tell(self) -> None:
        """Say at once what changes here."""
        while True:
            await self._changed_here.wait()
            self._changed_here.clear()
            if self._has_news():
                await self.look()
            await asyncio.sleep(GAP)

    def _has_news(self) -> bool:
        try:
            return self._timeline.has_more or self._state() != self._told
        except Exception:
            return True  # the look says what is wrong

    async def _follow(self) -> None:
        """Read at once what changes elsewhere, while somebody looks on."""
        while True:
            await self._changed_elsewhere.wait()
            self._changed_elsewhere.clear()
            await self.read()
            await asyncio.sleep(GAP)

    def _watch(self) -> None:
        if not self._watches and self.is_open and len(self._listeners):
            self._watches = [
                self._broker().watch(prefix, self._changed_elsewhere.set)
                for prefix in (PREFIX, PAST, TIMELINE)
            ]

    def _unwatch(self) -> None:
        for end in self._watches:
            end()
        self._watches = []

    def _state(self) -> tuple[str | None, list[tuple[Held, str]]]:
        """Return what the others are told at once when it changes: the address, and what is held and runs."""
        states = self._facts.states()
        return self._facts.url(), [(one, states.get(one.worker, "")) for one in self.holdings.held()]

    def _record(self) -> NodeRecord:
        return self._facts.record(
            [one for one, _ in self._told[1]],
            name=self.name,
            instance=self.instance,
            labels=self.labels,
            since=self._since,
            failure=self.failure,
        )

    async def _write(self) -> None:
        problem: Exception | None = None
        try:
            self._told = self._state()
        except Exception as exc:  # whoever decides about workers has failed: the node is there all the same
            problem = exc
        self._see_new([one for one, _ in self._told[1]])
        if await self._registration.write():
            self._timeline.note(Move(at=self._clock.now().timestamp(), kind="back", node=self.name))
        if self._unsaid:
            await self._timeline.read()
            new, self._unsaid = self._unsaid, []
            self._timeline.note(*map(self._guessed, new))
        await self._timeline.write()
        if problem is not None:
            raise problem

    def _see_new(self, held: list[Held]) -> None:
        """Note what is held and is not in the timeline yet."""
        new = [one for one in held if self._is_new(one)]
        self._unsaid += new
        self._noted |= {one.worker: one.fence for one in new}
        for name in self._noted.keys() - {one.worker for one in held}:
            if self._noted[name] is None:  # where nothing is numbered, each start is a step
                del self._noted[name]

    def _is_new(self, held: Held) -> bool:
        if held.fence is None:
            return held.worker not in self._noted
        return held.fence > (self._noted.get(held.worker) or 0)

    async def _read(self) -> None:
        since = self._clock.monotonic() - self._failed_at
        self._timeline.note(*await self._sightings.read(is_settled=since > LIFETIME))
        await self._timeline.write()
        await self._timeline.read()

    def _guessed(self, held: Held) -> Move:
        """Return the step by which this node came to hold a worker, of which nobody told how that was."""
        before, is_failover = held.before, held.is_failover
        if before is None and held.fence is not None:
            before = self._timeline.holder_of(held.worker, held.fence)
        if is_failover is None and before is not None:
            is_failover = self._sightings.is_lost(before)
        return self._move(held.worker, held.fence, before, is_failover=bool(is_failover))

    def _move(self, worker: str, fence: int | None, before: str | None, *, is_failover: bool) -> Move:
        is_first = before in (None, self.name)
        return Move(
            at=self._clock.now().timestamp(),
            kind="started" if is_first else "failover" if is_failover else "moved",
            node=self.name,
            worker=worker,
            before=None if is_first else before,
            fence=fence,
        )
