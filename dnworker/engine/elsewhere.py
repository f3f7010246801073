"""`Elsewhere`: what runs on other nodes, by their reports, and what is still to come; for `cluster.py`.

A batch is read once the newest event that it names is here: all nodes see events in one order, so a report
never comes before its event. An event counts as under way while a node whose workers listen to its kind has
not said that it is past it, or has it queued; a node says so after the invocations that it causes.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from itertools import islice

import msgspec

from dnworker.core.clock import Clock
from dnworker.core.envelope import EventEnvelope
from dnworker.core.frames import LONGEST_NAME, LONGEST_SOURCE
from dnworker.core.invocation import Invocation
from dnworker.core.text import clip, shorten
from dnworker.engine import node_reports
from dnworker.engine.node_reports import Batch
from dnworker.engine.orphans import Orphans
from dnworker.engine.peer_runs import PeerRuns
from dnworker.engine.peers import BATCHES_WAITING, QUEUED_KNOWN, WAITING_BYTES, Arrived, Peer
from dnworker.events.bus import EventBus
from dnworker.events.history import History

log = logging.getLogger("dnworker.cluster")

GONE_SECONDS = 10.0
"""Seconds after which a node of which nothing is heard counts as gone."""

PEERS_KNOWN = 200
"""Runs of nodes that are remembered, those that are gone among them."""

OURS_KNOWN = 20_000
"""Events of which is known that this node published them, or what caused them."""

EVENTS_AHEAD = 1_000_000_000
"""How many events a node may be ahead of this one; what says more is no report."""

OLD_SECONDS = 5.0
"""Seconds after which a node that does not hear itself is behind: what comes then was kept for it."""

LEAVING_SECONDS = 15.0
"""Seconds before its worker's end in which a handler was cancelled for that."""

_BAD = (msgspec.MsgspecError, UnicodeDecodeError, RecursionError)


class Elsewhere:
    """Reads the reports of other nodes into the history.

    Args:
        bus, history: of this node.
        clock: by which silence is measured; never one that somebody sets.
        instance: the id of this run of this node.
    """

    def __init__(self, bus: EventBus, history: History, clock: Clock, instance: str) -> None:
        self._bus, self._history, self._clock, self._instance = bus, history, clock, instance
        self._peers: dict[str, Peer] = {}
        self._ours: dict[str, None] = {}
        """Events that were published here, and what these caused."""
        self._open: dict[str, None] = {}
        """Those of them that may be under way elsewhere."""
        self._coming: dict[Invocation, dict[str, int | None]] = {}
        """Events that invocations of others have published, and that are not here: the `seq` by which they
        would be, once that is known."""
        self._orphans = Orphans(history)
        self._runs = PeerRuns(history, self._orphans, self.counts)
        self._own_heard_at = clock.monotonic()
        self._waiting_bytes = 0
        self.lost = 0
        """Reports of other nodes that never came here."""
        self.is_asked = False
        """Whether a node has come that wants to know how all stand."""

    # -- what the history asks -------------------------------------------------------------------------

    def is_pending(self, event_id: str) -> bool:
        """Return whether another node has an event still to take, as far as is known."""
        if event_id in self._orphans:
            return True
        event = self._history.peek(event_id)
        for peer in self._peers.values():
            if peer.why_gone is None and (
                event_id in peer.queued
                or (event is not None and peer.at < event.seq and peer.hears(event.kind))
            ):
                return True
        return False

    def has_coming(self, invocation: Invocation) -> bool:
        """Return whether an invocation of another node has published events that have not arrived yet."""
        coming = self._coming.get(invocation)
        if coming is None:
            return False
        latest = self._bus.latest_seq
        for event_id, by in [*coming.items()]:
            if self._history.note_published(invocation, event_id):
                self._note_ours(event_id, invocation)
                del coming[event_id]
            elif by is not None and latest >= by:
                del coming[event_id]  # it was refused, or was known before
        if not coming:
            del self._coming[invocation]
        return bool(coming)

    def counts(self, invocation: Invocation) -> bool:
        """Return whether an event that this node has published has caused an invocation of another."""
        return invocation.event is not None and invocation.event.event_id in self._ours

    def is_busy(self) -> bool:
        """Return whether anything that this node has published is queued or runs on another."""
        for event_id in [*self._open]:
            if self.is_pending(event_id):
                return True
            del self._open[event_id]
        if any(self.has_coming(one) for one in [*self._coming] if self.counts(one)):
            return True
        return any(
            one.cause != "task" and self.counts(one) for peer in self.peers() for one in _running(peer)
        )

    def peers(self) -> list[Peer]:
        """Return the other nodes that are there."""
        return [one for one in self._peers.values() if one.why_gone is None]

    def close(self) -> None:
        """End what runs elsewhere, as far as is known: nobody here hears of it any more."""
        for peer in self.peers():
            for its_id in [*peer.running]:
                self._runs.end_unknown(peer, its_id, "how it ended is not known: this node has left")

    # -- what happens here -----------------------------------------------------------------------------

    def note_submitted(self, envelope: EventEnvelope, accepted: object) -> None:
        """Note that an event is published here."""
        self._ours[envelope.event_id] = None
        if len(self._ours) > OURS_KNOWN:
            oldest = next(iter(self._ours))
            del self._ours[oldest]
            self._open.pop(oldest, None)

    def note_event(self, envelope: EventEnvelope) -> None:
        """Note that an event has arrived, whoever has published it."""
        if envelope.event_id in self._ours:
            self._open[envelope.event_id] = None
        if self._coming:
            self._history.look_again()

    def _note_ours(self, event_id: str, publisher: Invocation) -> None:
        """Note that an event is of an invocation: it is ours where the event of that is."""
        if self.counts(publisher):
            self._ours[event_id] = self._open[event_id] = None

    def read_what_waits(self) -> None:
        """Read the batches whose events have arrived meanwhile."""
        for peer in [*self._peers.values()]:
            self._read_waiting(peer)

    @property
    def is_waiting(self) -> bool:
        """Whether batches wait for their events."""
        return any(peer.waiting for peer in self._peers.values())

    # -- what is reported ------------------------------------------------------------------------------

    def take(self, data: bytes) -> None:
        """Take a message of the log; what makes no sense is left aside, and said."""
        try:
            batch = node_reports.read_batch(data)
        except _BAD as exc:
            log.warning("a report of another node cannot be read: %s", exc)
            return
        if batch.at > self._bus.latest_seq + EVENTS_AHEAD:
            log.warning("a report of another node cannot be read: it is of event %d", batch.at)
            return
        now = self._clock.monotonic()
        if batch.instance == self._instance:
            self._own_heard_at = now
            return
        peer = self._peer(batch, now)
        if peer is None or batch.number <= peer.number:
            return  # it came twice
        peer.why_gone = None
        self._note_gap(peer, batch)
        peer.number, peer.heard_at = batch.number, now
        peer.waiting.append(Arrived(batch, len(data), time.monotonic() - self._late(batch, now)))
        self._waiting_bytes += len(data)
        self.is_asked = self.is_asked or batch.asks
        self._read_waiting(peer)
        while len(peer.waiting) > BATCHES_WAITING or (peer.waiting and self._waiting_bytes > WAITING_BYTES):
            self._note_lost(peer, len(self._next(peer).batch.reports))

    def _next(self, peer: Peer) -> Arrived:
        """Return the batch of a node that is to be read, or dropped, next; it waits no longer."""
        arrived = peer.waiting.popleft()
        self._waiting_bytes -= arrived.size
        return arrived

    def _late(self, batch: Batch, now: float) -> float:
        """Return how many seconds a batch was kept for this node, whatever the other machine's clock says."""
        behind = now - self._own_heard_at
        return 0.0 if behind <= OLD_SECONDS else min(max(0.0, time.time() - batch.sent), behind)

    def _peer(self, batch: Batch, now: float) -> Peer | None:
        """Return the node that a batch is of; None where there are too many."""
        if (known := self._peers.get(batch.instance)) is not None:
            return known
        node = shorten(batch.node, LONGEST_NAME)
        for other in self.peers():
            if other.node == node:
                self._note_gone(other, "was started anew")
                other.invocations.clear()
        if len(self._peers) >= PEERS_KNOWN:
            gone = next((one for one in self._peers.values() if one.why_gone is not None), None)
            if gone is None:
                return None
            del self._peers[gone.instance]
        made = self._peers[batch.instance] = Peer(node, batch.instance, now, batch.number - 1)
        return made

    def _note_gap(self, peer: Peer, batch: Batch) -> None:
        missing = batch.number - peer.number - 1
        if missing or batch.dropped:
            self._note_lost(peer, batch.dropped or missing)

    def _note_lost(self, peer: Peer, count: int) -> None:
        """Note that reports of a node are missing: events that it has under way may have caused more."""
        self.lost += count
        peer.is_unsure = True
        text = f"{count:,} reports of node {peer.node} are lost: what ran there may be missing here"
        log.warning("%s", text)
        for event_id in [*self._open]:
            event = self._history.peek(event_id)
            if event is not None and (
                event_id in peer.queued or (peer.at < event.seq and peer.hears(event.kind))
            ):
                self._history.note_loss(event_id, text, is_elsewhere=True)
        for invocation in _running(peer):
            if invocation.event is not None and self.counts(invocation):
                self._history.note_loss(invocation.event.event_id, text, is_elsewhere=True)

    def _read_waiting(self, peer: Peer) -> None:
        waiting = peer.waiting
        if not waiting or waiting[0].batch.at > self._bus.latest_seq:
            return
        while waiting and waiting[0].batch.at <= self._bus.latest_seq:
            self._read(peer, self._next(peer))
        self._history.look_again()

    def _read(self, peer: Peer, arrived: Arrived) -> None:
        batch = arrived.batch
        for data in batch.reports:
            try:
                report = node_reports.read_report(data)
            except _BAD as exc:
                log.warning("a report of node %s cannot be read: %s", peer.node, exc)
                continue
            self._read_report(peer, report, arrived.since)
        if batch.listens is not None:
            self._read_listens(peer, batch.listens)
        peer.queued.update(batch.queued)
        peer.queued.difference_update(batch.taken)
        if batch.all_queued is not None:
            peer.queued, peer.is_unsure = {*batch.all_queued}, False
        if len(peer.queued) > QUEUED_KNOWN:
            peer.queued, peer.is_unsure = {*islice(peer.queued, QUEUED_KNOWN)}, True
        for event_id in (*batch.queued, *(batch.all_queued or ())):
            if event_id in self._ours:
                self._open[event_id] = None
        if batch.is_whole and not peer.is_unsure:
            peer.at = batch.at
            self._settle_coming(peer, batch.at)
        if batch.running is not None:
            self._runs.compare_running(peer, frozenset(batch.running))
        if batch.leaves:
            self._note_gone(peer, "has left")
            peer.invocations.clear()

    def _read_report(self, peer: Peer, report: node_reports.Report, since: float) -> None:
        match report:
            case node_reports.Began():
                self._runs.begin(peer, report, since)
            case node_reports.Ended():
                if report.coming and (invocation := peer.invocations.get(report.id)) is not None:
                    coming = islice(report.coming, node_reports.COMING_TOLD)
                    self._coming[invocation] = dict.fromkeys(coming)
                self._runs.end(peer, report, since)
            case node_reports.Published(id=its_id, event_id=event_id):
                if (invocation := peer.invocations.get(its_id)) is not None:
                    self._history.note_published(invocation, event_id)
                    self._note_ours(event_id, invocation)
            case node_reports.Unhandled(id=its_id, error=error):
                if (invocation := peer.invocations.get(its_id)) is not None:
                    self._runs.note_unhandled(invocation, error)
            case node_reports.Lost(event_id=event_id, text=text):
                told = f"{clip(text, LONGEST_SOURCE)} (node {peer.node})"
                self._history.note_loss(event_id, told, is_elsewhere=True)

    # -- who listens, and who is gone ------------------------------------------------------------------

    def _read_listens(self, peer: Peer, listens: dict[str, list[str] | None]) -> None:
        """Note who listens there; what a worker had queued that does so no more comes to the next."""
        before = peer.listens
        peer.listens = {
            shorten(worker, LONGEST_NAME): None if kinds is None else frozenset(kinds)
            for worker, kinds in listens.items()
        }
        left = before.keys() - peer.listens.keys()
        if left:
            until = self._clock.monotonic()
            for event_id, worker in self._undone(peer, before, left):
                self._orphans.add(event_id, worker, f"ceased to run on node {peer.node}", until)
            for invocation in self._cancelled_lately(peer, left):
                if invocation.event is not None:
                    why = f"ceased to run on node {peer.node}"
                    self._orphans.add(invocation.event.event_id, invocation.worker, why, until)

    def _undone(
        self, peer: Peer, listens: dict[str, frozenset[str] | None], workers: set[str]
    ) -> Iterator[tuple[str, str]]:
        """Yield the events that came from here and that workers of a node have not taken."""
        for event_id in [*self._open]:
            event = self._history.peek(event_id)
            if event is None or not (event_id in peer.queued or peer.at < event.seq):
                continue
            for worker in workers:
                kinds = listens[worker]
                is_meant = kinds is None or event.kind in kinds
                begun = self._history.invocations_of(event_id) if is_meant else ()
                if is_meant and not any(one.worker == worker for one in begun):
                    yield event_id, worker

    def _comes_again(self, invocation: Invocation) -> bool:
        """Return whether the next node of a worker is given an event again whose handler had no end."""
        redelivers = self._bus.broker.capabilities.redelivers
        return redelivers and invocation.cause == "event" and self.counts(invocation)

    def _cancelled_lately(self, peer: Peer, workers: set[str]) -> Iterator[Invocation]:
        """Yield what was cancelled as its worker was to end on a node: the next one is given its event."""
        since = time.monotonic() - LEAVING_SECONDS
        for heard, invocation in peer.cancelled:
            is_so = invocation.outcome == "cancelled"  # it may have been heard of again
            if heard >= since and is_so and invocation.worker in workers and self._comes_again(invocation):
                yield invocation

    def look_for_gone(self) -> None:
        """Give up nodes of which nothing is heard, and events that nobody takes over; called every second.

        While this node does not hear itself, it is cut off, and judges nobody.
        """
        for peer in self.peers():
            if self._own_heard_at - peer.heard_at > GONE_SECONDS:
                self._note_gone(peer, f"was not heard of for {GONE_SECONDS:g} s")
        if self._orphans.give_up(self._clock.monotonic()):
            self._history.look_again()

    def _note_gone(self, peer: Peer, why: str) -> None:
        """Note that nothing comes of a node: what runs there has no end that is known."""
        peer.why_gone = f"node {peer.node} {why}"
        log.info("%s", peer.why_gone)
        while peer.waiting:
            self._read(peer, self._next(peer))
        until = self._clock.monotonic()
        for event_id, worker in [*self._undone(peer, peer.listens, {*peer.listens})]:
            self._orphans.add(event_id, worker, f"ran on node {peer.node}, which {why}", until)
        for its_id in [*peer.running]:
            invocation = peer.invocations[its_id]
            self._runs.end_unknown(peer, its_id, f"how it ended is not known: node {peer.node} {why}")
            if self._comes_again(invocation) and invocation.event is not None:
                reason = f"ran on node {peer.node}, which {why}"
                self._orphans.add(invocation.event.event_id, invocation.worker, reason, until)
        for invocation in [one for one in self._coming if one.node == peer.node]:
            del self._coming[invocation]
        peer.queued.clear()
        peer.is_unsure = True
        self._history.look_again()

    def _settle_coming(self, peer: Peer, at: int) -> None:
        """Note by when events would be here that a node has published and waits for no more."""
        for invocation, coming in self._coming.items():
            if invocation.node == peer.node:
                for event_id, by in coming.items():
                    if by is None and event_id not in peer.queued:
                        coming[event_id] = at


def _running(peer: Peer) -> list[Invocation]:
    return [peer.invocations[its_id] for its_id in peer.running]
