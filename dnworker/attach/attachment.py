"""`Attachment`: a runtime that gets the events of another one; made by `attaching.attach`."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from dnworker.attach.catching_up import CAUGHT
from dnworker.attach.comparing import Comparing
from dnworker.attach.delivery import Delivery
from dnworker.attach.deployed import Deployed
from dnworker.attach.facts import ComparedEvent, Gap, RuntimeKind, Score, State
from dnworker.attach.follower import Follower
from dnworker.attach.handshake import Greeting
from dnworker.attach.matching import Matching
from dnworker.attach.shadow_connection import Effect, Effects, ShadowConnection, ShadowSessions
from dnworker.client.connection import Connection
from dnworker.client.http import HttpConnection
from dnworker.core.envelope import EventEnvelope, decode_stored, encode
from dnworker.core.errors import UsageError
from dnworker.core.hops import MOST_HOPS
from dnworker.core.invocation import Invocation
from dnworker.core.listeners import Listeners
from dnworker.core.text import shorten
from dnworker.workers.subprocess_worker import SubprocessWorker

if TYPE_CHECKING:
    from dnworker.engine.engine import Engine

log = logging.getLogger("dnworker.attach")

GAPS_KEPT = 1_000
"""Gaps that are kept; the newest."""

TICK, TICK_LONGEST = 0.1, 5.0
"""Seconds between two looks at what has settled, and the most where the other runtime does not answer."""

HANDLERS_END = 5.0
"""Seconds that `detach` waits for handlers; then it cancels them."""

CANCELLED_END = 2.0
"""Seconds that those have to end."""


class Attachment:
    """Follows another runtime; what it does is read here, and `detach` ends it.

    One at a time per engine. Call it from the loop of the engine.

    Attributes:
        url: where the other runtime is.
        is_live: whether the clients of the workers are that runtime's; they write down what they would do
            where not.
        kind_of_runtime: `dnworker`, or `reference` for the SDK's.
        version: of that runtime.
        runtime_id: of that runtime; None where it has none.
        received: events that came.
        skipped: those among them that no worker here listens to any more, or that have come back.
        gaps: the newest events that were missed and cannot be had.
        gaps_noted: how many there were in all.
        counterparts: names of deployed workers, `capability:worker` or the worker alone, by those of workers
            here, `capability:worker`, where they differ.
    """

    def __init__(self, engine: Engine, connection: HttpConnection, greeting: Greeting, *, live: bool) -> None:
        self.url = connection.server_url
        self.is_live = live
        self.kind_of_runtime: RuntimeKind = greeting.kind
        self.version = greeting.version
        self.runtime_id = greeting.identity.runtime_id
        self.received = 0
        self.skipped = 0
        self.gaps: list[Gap] = []
        self.gaps_noted = 0
        self.counterparts: dict[str, str] = {}
        self._engine = engine
        self._connection = connection
        self._changed = Listeners[[]]()
        self._loop = asyncio.get_running_loop()
        # What workers would do, and how that compares.
        self._effects = Effects(self._tell)
        self._sessions = ShadowSessions()
        self._shadows: dict[str, ShadowConnection] = {}
        now = self._loop.time
        self._comparing = Comparing(engine.history, self._effects, now, self._notify)
        is_ours = greeting.kind == "dnworker"
        self._deployed = Deployed(connection, self._comparing, now, self.counterparts) if is_ours else None
        self._matching = None if is_ours else Matching(self._comparing, now, self._kinds_changed)
        self.compare_detail = ""
        """Why the deployed side cannot be read now, in one line; empty while it can."""
        # What follows and delivers.
        self._delivery = Delivery(engine, f"Attached to {_short(self.url)}", self.miss)
        self._follower = Follower(connection, greeting, self, self._notify)
        self._tasks: list[asyncio.Task[None]] = []
        self._ends: list[Callable[[], None]] = []
        self._is_ended = False
        self._ring = ""
        self._detaching: asyncio.Task[None] | None = None

    # -- what it tells ---------------------------------------------------------------------------------

    @property
    def state(self) -> State:
        """`connecting`, `following`, `lost` while it tries to come back, or `ended`."""
        return "ended" if self._is_ended else self._follower.state

    @property
    def detail(self) -> str:
        """One line, such as why the connection is lost."""
        return "" if self._is_ended else self._follower.detail or self._ring

    @property
    def waiting(self) -> int:
        """How many events have handlers here that have not ended."""
        return self._delivery.waiting

    @property
    def score(self) -> Score:
        """How many events were compared, by verdict; all zero where the attachment is live."""
        return self._comparing.score

    def rows(
        self, last: int = 50, *, only_different: bool = False, worker: str | None = None
    ) -> list[ComparedEvent]:
        """Return the newest compared events, the oldest first.

        Args:
            last: how many at most.
            only_different: leave out what is the same, pending or unknown.
            worker: qualified or plain name of a worker here; None for all.
        """
        return self._comparing.rows(last, only_different=only_different, worker=worker)

    def compare_with(self, counterparts: Mapping[str, str]) -> None:
        """Compare workers here with deployed ones of other names from now on, as `counterparts` has them.

        Raises:
            UsageError: nothing is compared, or that runtime does not say which of its workers did what.
        """
        if counterparts and self.is_live:
            text = "live, nothing is compared with deployed workers; leave --as out, or --live"
            raise UsageError(text, code="DN103")
        if counterparts and self._deployed is None:
            raise UsageError(
                f"{self.url} is a runtime of the SDK, which does not say which worker did what: events are "
                "compared with all that it publishes; leave --as out",
                code="DN942",
            )
        self.counterparts.update(counterparts)

    def on_change(self, callback: Callable[[], None]) -> Callable[[], None]:
        """Call `callback` on the loop when something here has changed; returns what ends it."""
        return self._changed.add(callback)

    # -- begin and end ---------------------------------------------------------------------------------

    def begin(self) -> None:
        """Turn the switch, and follow."""
        engine = self._engine
        engine.attachment = self
        engine.switch.route = self._live if self.is_live else self._shadow
        self._ends = [
            engine.bus.listened.add(self._kinds_changed),
            engine.switch.changed.add(self._kinds_changed),
            self._delivery.ended.add(self._ended),
        ]
        self._tasks = [
            asyncio.create_task(self._follower.run(), name="attachment"),
            asyncio.create_task(self._tick(), name="attachment ticks"),
        ]

    async def detach(self) -> None:
        """Follow no more, wait for the handlers that run for it (bounded), and restore all clients.

        Handlers that run on after some seconds are cancelled. It may be called again.
        """
        if self._detaching is None:
            self._detaching = asyncio.create_task(self._detach(), name="detach")
        await asyncio.shield(self._detaching)

    async def _detach(self) -> None:
        following, ticking = self._tasks
        await _cancelled(following)
        try:
            await self._end_handlers()
            await self._last_round()
        finally:
            await _cancelled(ticking)
            self._comparing.give_up("it was detached before this was compared")
            for end in self._ends:
                end()
            self._delivery.close()
            if self._engine.attachment is self:
                self._engine.switch.route = None
                self._engine.attachment = None
            self._is_ended = True
            await self._connection.close()
            self._shadows.clear()
            self._notify()

    async def _end_handlers(self) -> None:
        """Wait until no handler runs for the other runtime; cancel those that take too long."""
        try:
            async with asyncio.timeout(HANDLERS_END):
                await self._delivery.idle()
        except TimeoutError:
            for run in self._delivery.running():
                self._cancel(run)
            try:
                async with asyncio.timeout(CANCELLED_END):
                    await self._delivery.idle()
            except TimeoutError:
                left = ", ".join(sorted({run.label for run in self._delivery.running()}))
                log.warning("detached while handlers run on that ignore their cancellation: %s", left)

    def _cancel(self, run: Invocation) -> None:
        for worker in self._engine.workers():
            end = getattr(worker, "end_invocation", None)
            if worker.qualified_name == run.worker and end is not None:
                end(run)

    async def _last_round(self) -> None:
        """Decide once more on what the other side has settled by now."""
        if self.is_live or not (self._comparing.waiting() or self._comparing.second_looks()):
            return
        try:
            async with asyncio.timeout(CANCELLED_END):
                while await self._round(is_last=True):
                    pass
        except (TimeoutError, *CAUGHT) as exc:
            log.info("the last rows were not compared: %s", exc)

    # -- the switch ------------------------------------------------------------------------------------

    def _live(self, worker: str) -> Connection:
        return self._connection

    def _shadow(self, worker: str) -> Connection:
        if worker not in self._shadows:
            self._shadows[worker] = ShadowConnection(
                worker, self._connection, self._effects, self._sessions, self._noted
            )
        return self._shadows[worker]

    def _tell(self, worker: str, line: str, invocation: Invocation | None) -> None:
        """Write an effect into the worker's log, and so into the trace."""
        text = shorten(f"in shadow: {line}", 2_000)
        self._engine.log_line(worker, text, source="runtime", level="info", invocation=invocation)

    def _noted(self, effect: Effect) -> None:
        if self._matching is not None and effect.kind is not None:
            self._matching.watch(effect.kind)

    # -- the sink of the follower ----------------------------------------------------------------------

    @property
    def kinds(self) -> frozenset[str] | None:
        """The kinds that workers and clients here listen to, and those that are compared; None for all."""
        wanted = self._listened()
        if wanted is None or self._matching is None or self.is_live:
            return wanted
        return wanted | self._matching.kinds

    def _listened(self) -> frozenset[str] | None:
        of_workers, heard = self._of_workers().values(), self._engine.switch.heard
        if None in of_workers or "" in heard:
            return None
        return frozenset(heard).union(*(kinds for kinds in of_workers if kinds is not None))

    def _of_workers(self) -> dict[str, frozenset[str] | None]:
        """Return the kinds that each worker listens to; the queue of a process takes all, for its streams."""
        found = self._engine.bus.listening()
        if None in found.values():
            for worker in self._engine.workers():
                if isinstance(worker, SubprocessWorker) and worker.qualified_name in found:
                    found[worker.qualified_name] = worker.kinds
        return found

    @property
    def has_room(self) -> bool:
        """Whether more events may wait for slow handlers."""
        return self._delivery.has_room

    async def room(self) -> None:
        """Return as soon as much less waits than may."""
        await self._delivery.room()

    async def take(self, envelope: EventEnvelope, via: tuple[str, ...]) -> None:
        """Give an event to the workers here, unless it comes back to where it has been."""
        self.received += 1
        if self._engine.runtime_id in via or len(via) > MOST_HOPS:
            self._note_ring()
            return
        kept = decode_stored(encode(envelope))  # parsed, payloads take many times as much
        if self._matching is not None:
            self._matching.hear(kept)
        listening = self._of_workers().items()
        workers = [name for name, kinds in listening if kinds is None or envelope.kind in kinds]
        heard = self._engine.switch.heard
        if not workers and envelope.kind not in heard and "" not in heard:
            self.skipped += 1
            self._notify()
            return
        copy = await self._delivery.deliver(envelope, via)
        if copy is not None and not self.is_live and workers:
            self._comparing.add(kept, copy, workers)
            if not self._delivery.is_waiting(copy.event_id):
                self._comparing.end(copy.event_id)
        self._notify()

    def _note_ring(self) -> None:
        """Leave out an event that comes back, and say so once."""
        self.skipped += 1
        if not self._ring:
            self._ring = "runtimes are attached to each other in a ring; events that come back are left out"
            log.warning("attached to %s: %s", self.url, self._ring)
        self._notify()

    def miss(self, after_seq: int, before_seq: int | None, detail: str) -> None:
        """Note events that were missed and cannot be had."""
        if self._matching is not None:
            self._matching.miss()
        gap = Gap(after_seq, before_seq, self._engine.clock.now(), shorten(detail, 300))
        last = self.gaps[-1] if self.gaps else None
        if last is not None and (last.before_seq, last.detail) == (after_seq + 1, gap.detail):
            self.gaps[-1] = replace(last, before_seq=before_seq)  # one after the other, for the same reason
        else:
            self.gaps = [*self.gaps[1 - GAPS_KEPT :], gap]
            self.gaps_noted += 1
            log.warning("attached to %s: events after #%d were missed: %s", self.url, after_seq, gap.detail)
        self._notify()

    # -- what happens meanwhile ------------------------------------------------------------------------

    def _notify(self) -> None:
        self._changed.notify()

    def _kinds_changed(self) -> None:
        self._follower.kinds_changed()

    def _ended(self, event_id: str) -> None:
        self._comparing.end(event_id)

    async def _tick(self) -> None:
        """Notice what has ended, and compare."""
        delay = TICK
        while True:
            await asyncio.sleep(delay)
            self._delivery.sweep()
            if self.kinds != self._follower.kinds:  # of a process, which says by and by what it wants
                self._kinds_changed()
            if self.is_live:
                continue
            try:
                while await self._round():
                    pass
                self._compare("")
                delay = TICK
                continue
            except CAUGHT as exc:
                self._compare(shorten(f"what the deployed workers did cannot be read: {exc}", 300))
            except Exception:
                log.exception("comparing with %s", self.url)
                self._compare("what the deployed workers did cannot be compared; see the log")
            delay = min(delay * 2, TICK_LONGEST)

    def _compare(self, detail: str) -> None:
        if detail != self.compare_detail:
            self.compare_detail = detail
            self._notify()

    async def _round(self, *, is_last: bool = False) -> bool:
        if self._deployed is not None:
            return await self._deployed.round(is_last=is_last)
        if self._matching is not None:
            self._matching.round()
        return False


async def _cancelled(task: asyncio.Task[None]) -> None:
    task.cancel()
    await asyncio.wait({task})


def _short(url: str) -> str:
    return urlsplit(url).netloc.rpartition("@")[2] or url


def attachment_of(engine: Engine) -> Attachment | None:
    """Return what an engine is attached to now."""
    attached = engine.attachment
    return attached if isinstance(attached, Attachment) else None
