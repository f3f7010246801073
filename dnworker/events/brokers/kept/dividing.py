"""How cursors of a worker's members become cursors of other members; pure, shared brokers use it.

An event that one member had handled must come to no other, and one that it had not, to exactly one.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from dnworker.core.envelope import EventEnvelope
from dnworker.core.members import Partition
from dnworker.events.brokers.kept.cursors import Cursor, Outstanding


class Plan(NamedTuple):
    """What all new cursors have in common."""

    kinds: dict[str | None, int]
    handled_to: int
    """All events up to it are handled, but for those that are given to the members one by one."""
    taken_to: int


class Moved(NamedTuple):
    """An event that is not handled, or was given before, and what is noted of it."""

    envelope: EventEnvelope
    entry: Outstanding


def prepare(cursors: Sequence[Cursor], last_seq: int) -> None:
    """Have cursors be as they count when nobody runs by them any more.

    A member that never ran listens to what the others do, from where the worker was divided. What one may
    have been given that did not say farewell counts as given.
    """
    every = {kind for cursor in cursors for kind in cursor.kinds}
    for cursor in cursors:
        if not cursor.kinds:
            cursor.kinds = dict.fromkeys(every, cursor.handled_to)
        if cursor.is_live:
            cursor.taken_to, cursor.is_live = max(cursor.taken_to, last_seq), False


def plan_of(cursors: Sequence[Cursor]) -> Plan:
    """Return where the new cursors begin: where the farthest of the old ones is."""
    sinces: dict[str | None, list[int]] = {}
    for cursor in cursors:
        for kind, since in cursor.kinds.items():
            sinces.setdefault(kind, []).append(since)
    differing = [max(found) for found in sinces.values() if len(set(found)) > 1 or len(found) < len(cursors)]
    handled_to = max([*(cursor.handled_to for cursor in cursors), *differing])
    taken_to = max(handled_to, *(cursor.taken_to for cursor in cursors))
    return Plan({kind: max(found) for kind, found in sinces.items()}, handled_to, taken_to)


def passed_over(cursors: Iterable[Cursor], envelope: EventEnvelope) -> Outstanding | None:
    """Return what is to be noted of an event that its member has not handled; None where it has."""
    for cursor in cursors:
        if envelope.seq > cursor.handled_to and cursor.gets(envelope):
            return cursor.outstanding.get(envelope.seq) or Outstanding(int(envelope.seq <= cursor.taken_to))
    return None


def divided(plan: Plan, partition: Partition, moved: Mapping[int, Moved]) -> list[dict[int, Outstanding]]:
    """Return what is outstanding for each new member."""
    every = Cursor("", dict(plan.kinds), plan.handled_to, "")
    outstanding: list[dict[int, Outstanding]] = [{} for _ in range(partition.of)]
    for seq, (envelope, entry) in moved.items():
        if seq > plan.handled_to:  # a page has it, where its kind is listened to by then
            entry.is_passed = not every.wants(envelope.kind, seq)
        outstanding[partition.member_of(envelope.event_id, envelope.session_id)][seq] = entry
    return outstanding
