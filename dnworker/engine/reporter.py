"""`Reporter`: tells other nodes what runs on this one, by the broker's log of reports; for `cluster.py`.

It hears of everything at once and writes on a task of its own: handlers never wait for it.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from collections.abc import Callable
from contextlib import ExitStack
from itertools import islice
from typing import Literal, NamedTuple

import msgspec

from dnworker.core.clock import Clock
from dnworker.core.envelope import EventEnvelope
from dnworker.core.errors import BrokerError, NotStored
from dnworker.core.invocation import Invocation, current_invocation
from dnworker.core.task_ends import end_tasks
from dnworker.engine import node_reports
from dnworker.events.brokers.base import Accepted
from dnworker.events.brokers.messages import REPORT_BYTES, ReportLog
from dnworker.events.bus import EventBus
from dnworker.events.history import History

log = logging.getLogger("dnworker.cluster")

GATHERED_SECONDS = 0.02
"""How long reports gather after a batch, by the machine's clock."""

AT_ONCE = 3
"""Batches that follow each other without that: who waits for one event need not wait for it, and a stream of
events does not make a batch of each."""

HEARTBEAT_SECONDS = 3.0
"""How often a node says how it stands though nothing happens."""

RETRY_SECONDS = 0.5
"""How long it waits after a batch that could not be kept."""

REPORTS_WAITING = 20_000
"""Reports that wait to be written; of more, the oldest are dropped."""

REPORTS_A_BATCH, QUEUED_A_BATCH = 500, 5_000
RUNNING_TOLD = 5_000
BEGUN_TOLD = 500
"""Ids of running invocations in a heartbeat, and how many of these a node that is new is told in full."""

LAST_WORD_SECONDS = 1.0
"""How long the end of a runtime waits for its last batch."""


class _Noted(NamedTuple):
    """One report that waits; it is written when it is sent."""

    what: Literal["began", "ended", "published", "unhandled", "lost"]
    invocation: Invocation | None
    text: str = ""
    reason: str = ""
    coming: tuple[str, ...] = ()


class Reporter:
    """Notes what happens on this node and adds it to the log in batches.

    Args:
        bus, history: what happens here.
        clock: by which heartbeats come; never one that somebody sets.
        node, instance: the names of this node, and of this run of it.
        reports: the log.
    """

    def __init__(
        self, bus: EventBus, history: History, clock: Clock, node: str, instance: str, reports: ReportLog
    ) -> None:
        self._bus, self._history, self._clock = bus, history, clock
        self._node, self._instance, self._log = node, instance, reports
        # what waits
        self._waiting: deque[_Noted] = deque()
        self._dropped = 0
        self.dropped = 0
        """Reports that were never written, as there were too many."""
        self._queues_changed: dict[str, None] = {}
        self._told_queued: set[str] = set()
        self._unaccepted: dict[Invocation, set[str]] = {}
        # what is due
        self._is_listening_due = self._is_heartbeat_due = True
        self._asks, self._leaves, self._is_closing = True, False, False
        self._listens: dict[str, frozenset[str] | None] = {}
        self._kinds: frozenset[str] | None = frozenset()
        self._number = 0
        self._wake = asyncio.Event()
        self._wake.set()
        self._undo = ExitStack()
        self._tasks: list[asyncio.Task[None]] = []

    def open(self, spawn: Callable[..., asyncio.Task[None]]) -> None:
        """Listen, and write from now on; `spawn` starts a task that lasts."""
        undo = self._undo.callback
        undo(self._history.listen(self._note))
        undo(self._bus.tap(self._note_event))
        undo(self._bus.submitted.add(self._note_submitted))
        undo(self._bus.listened.add(self._note_listened))
        self._note_listened()
        self._history.reported = self
        self._tasks = [
            spawn(self._write_all(), name="dnworker reports"),
            spawn(self._beat(), name="dnworker heartbeat"),
        ]

    async def close(self) -> None:
        """Say that this node ends, as far as that can be said soon, and listen no more."""
        self._undo.close()
        self._history.reported = None
        self._is_closing = True
        self._wake.set()
        if self._tasks:  # the batch that is under way is to arrive, or others would miss it
            await asyncio.wait(self._tasks[:1], timeout=LAST_WORD_SECONDS)
        await end_tasks(*self._tasks)
        self._leaves = self._is_heartbeat_due = True
        try:
            async with asyncio.timeout(LAST_WORD_SECONDS):
                while self._waiting or self._queues_changed or self._leaves:
                    await self._log.add(self._batch())
        except (TimeoutError, NotStored, BrokerError) as exc:
            log.warning("other nodes are not told that this one ends: %s", exc or "it took too long")

    def tell_standing(self) -> None:
        """Say soon how this node stands: another is new."""
        for invocation in islice(self._history.running(), BEGUN_TOLD):
            self._add(_Noted("began", invocation))
        self._is_heartbeat_due = True
        self._wake.set()

    def has_coming(self, invocation: Invocation) -> bool:
        """Return whether an invocation of this node has published what is not accepted yet."""
        return invocation in self._unaccepted

    # -- what is noted ---------------------------------------------------------------------------------

    def _add(self, noted: _Noted) -> None:
        if len(self._waiting) >= REPORTS_WAITING:
            self._waiting.popleft()
            if not self._dropped:
                log.warning("reports to other nodes are dropped: more than %d wait", REPORTS_WAITING)
            self._note_dropped()
        self._waiting.append(noted)
        self._wake.set()

    def _note_dropped(self) -> None:
        self._dropped += 1
        self.dropped += 1
        self._is_heartbeat_due = True

    def _note(self, invocation: Invocation) -> None:
        is_running, coming = invocation.outcome == "running", self._unaccepted.get(invocation, ())
        if not (is_running and invocation.muted):  # what others do not know of, they ignore the rest of
            self._add(_Noted("began" if is_running else "ended", invocation, coming=(*coming,)))

    def note_reopened(self, invocation: Invocation) -> None:
        """Note that an invocation which counted as ended has only begun."""
        self._add(_Noted("began", invocation))

    def note_unhandled(self, invocation: Invocation) -> None:
        """Note that something it started has failed."""
        if invocation.outcome != "running":  # else its end says so
            self._add(_Noted("unhandled", invocation))

    def note_loss(self, event_id: str, text: str) -> None:
        """Note that a worker does not get an event."""
        self._add(_Noted("lost", None, event_id, text))

    def note_queue(self, event_id: str) -> None:
        """Note that an event was queued for workers here, or that all of them have taken it."""
        self._queues_changed[event_id] = None
        self._wake.set()

    def _note_submitted(self, envelope: EventEnvelope, accepted: asyncio.Future[Accepted]) -> None:
        """Remember who has published an event that is not accepted yet."""
        if (invocation := current_invocation.get()) is None:
            return
        event_id = envelope.event_id
        self._unaccepted.setdefault(invocation, set()).add(event_id)

        def end(_: object) -> None:
            unaccepted = self._unaccepted.get(invocation)
            if unaccepted is not None:
                unaccepted.discard(event_id)
                if not unaccepted:
                    del self._unaccepted[invocation]
            self._history.look_again()

        accepted.add_done_callback(end)

    def _note_event(self, envelope: EventEnvelope) -> None:
        """Note that an event is accepted, in the context of its publisher."""
        if (invocation := current_invocation.get()) is not None:
            self._add(_Noted("published", invocation, envelope.event_id))
        if self._kinds is None or envelope.kind in self._kinds:
            self._wake.set()  # others wait until our workers have it

    def _note_listened(self) -> None:
        self._listens = self._bus.listening()
        wanted = self._listens.values()
        self._kinds = None if None in wanted else frozenset[str]().union(*filter(None, wanted))
        self._is_listening_due = True
        self._wake.set()

    # -- what is written -------------------------------------------------------------------------------

    async def _beat(self) -> None:
        while True:
            await self._clock.sleep(HEARTBEAT_SECONDS)
            self._is_heartbeat_due = True
            self._wake.set()

    async def _write_all(self) -> None:
        is_failing, at_once = False, 0
        while not self._is_closing:  # a broker's client may swallow that this task was cancelled
            await self._wake.wait()
            if self._is_closing:
                return
            data = self._batch()
            if len(data) > REPORT_BYTES:  # no server takes it, however often it is tried
                log.warning("a batch of reports is dropped: it has %d bytes", len(data))
                self._note_dropped()
                await self._clock.sleep(RETRY_SECONDS)
                continue
            while not self._is_closing:
                try:
                    await self._log.add(data)
                    break
                except (NotStored, BrokerError) as exc:
                    if not is_failing:
                        log.warning("other nodes hear nothing of what runs here: %s", exc)
                    is_failing = True
                    await self._clock.sleep(RETRY_SECONDS)
            if is_failing and not self._is_closing:
                is_failing = False
                log.info("other nodes hear of what runs here again")
            if self._is_closing:
                return
            at_once += 1
            is_more = bool(self._waiting or self._queues_changed)
            if is_more and (at_once < AT_ONCE or len(self._waiting) >= REPORTS_A_BATCH):
                await asyncio.sleep(0)
            else:
                at_once = 0
                await asyncio.sleep(GATHERED_SECONDS)

    def _batch(self) -> bytes:
        """Return the next batch: reports, and how this node stands where those are all."""
        dropped, self._dropped = self._dropped, 0
        self._number += 1
        batch = node_reports.Batch(
            version=node_reports.VERSION,
            node=self._node,
            instance=self._instance,
            number=self._number,
            sent=time.time(),
            at=self._bus.latest_seq,
            is_whole=False,
            reports=self._take(),
            dropped=dropped,
            asks=self._asks,
        )
        self._asks = False
        if not self._waiting:
            self._add_standing(batch)
        if batch.is_whole:
            self._wake.clear()
        return node_reports.encode(batch)

    def _take(self) -> list[msgspec.Raw]:
        """Return the reports that come next, as many as there is room for."""
        taken: list[msgspec.Raw] = []
        left, now = REPORT_BYTES // 2, time.monotonic()
        while self._waiting and len(taken) < REPORTS_A_BATCH and left > 0:
            noted = self._waiting.popleft()
            try:
                report = node_reports.encode(self._report(noted, now))
            except Exception:  # one that cannot be written, such as of no valid text, must not end all others
                log.exception("a report of what runs here cannot be written, and is dropped")
                self._note_dropped()
                continue
            taken.append(msgspec.Raw(report))
            left -= len(report)
        return taken

    def _report(self, noted: _Noted, now: float) -> node_reports.Report:
        invocation = noted.invocation
        if invocation is None:
            return node_reports.Lost(noted.text, noted.reason)
        match noted.what:
            case "began":
                return node_reports.began(invocation, now)
            case "published":
                return node_reports.Published(invocation.id, noted.text)
            case "unhandled":
                return node_reports.Unhandled(invocation.id, node_reports.bounded(invocation.unhandled[-1]))
        return node_reports.ended(invocation, [*noted.coming])

    def _add_standing(self, batch: node_reports.Batch) -> None:
        """Add how this node stands after all that is reported."""
        for event_id in [*islice(self._queues_changed, QUEUED_A_BATCH)]:
            del self._queues_changed[event_id]
            is_queued, is_told = event_id in self._history.queued(), event_id in self._told_queued
            if is_queued and not is_told:
                self._told_queued.add(event_id)
                batch.queued.append(event_id)
            elif is_told and not is_queued:
                self._told_queued.discard(event_id)
                batch.taken.append(event_id)
        if self._queues_changed:
            return
        batch.is_whole = True
        if self._is_listening_due or self._is_heartbeat_due:
            batch.listens = {
                worker: None if kinds is None else sorted(kinds) for worker, kinds in self._listens.items()
            }
        if self._is_heartbeat_due:
            running = [one.id for one in self._history.running()]
            batch.running = running if len(running) <= RUNNING_TOLD else None
            if len(queued := [*self._history.queued()]) <= QUEUED_A_BATCH:
                batch.all_queued, self._told_queued = queued, {*queued}
        self._is_listening_due = self._is_heartbeat_due = False
        batch.leaves, self._leaves = self._leaves, False
