"""`drift`: how the fields of a kind have changed over time, in sentences that name the event of the change.

A field that is there at times is no news, and neither is one that is null at times. That a field was added or
has vanished is said where all events before and all events since agree, several on each side.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection
from datetime import datetime, timedelta
from itertools import pairwise

import msgspec

from dnworker.catalogue.fields import (
    FieldHistory,
    Observed,
    Path,
    Recorded,
    Types,
    shown_path,
    shown_types,
)

ENOUGH = 5
"""Events on each side of the change by which a field is said to be added, or to have vanished."""

MOST_CHANGES = 3
"""Changes of a field's type that are named one by one; one that changes more often is mixed."""

MOST_SENTENCES = 50
"""Changes of one kind that are told."""


class Drift(msgspec.Struct, kw_only=True):
    """One change of a field: what it was, what it is since, and with which event that began."""

    path: str
    change: str
    """`type`, `mixed`, `added` or `vanished`."""
    text: str
    before: str
    since: str
    seq: int
    event_id: str
    at: datetime


def drift(observed: Observed, optional: Collection[Path] = (), now: datetime | None = None) -> list[Drift]:
    """Return the changes of all fields, the newest first.

    Args:
        observed: the recorded events.
        optional: fields that a declared schema says may lack.
        now: times of the last 20 hours are said without their date; None says every date.
    """
    found = list[Drift]()
    for path, field in observed.fields.items():
        found += _types(observed, path, field, now)
        if path not in optional and (one := _presence(observed, path, field, now)) is not None:
            found.append(one)
    # What is within an object that is new, or gone, says nothing more.
    told = {one.path for one in found if one.change in ("added", "vanished")}
    found = [one for one in found if one.change == "type" or not _is_within(one.path, told)]
    return sorted(found, key=lambda one: (-one.seq, one.path))[:MOST_SENTENCES]


def _is_within(path: str, told: Collection[str]) -> bool:
    return any(path != one and path.startswith((f"{one}.", f"{one}[")) for one in told)


def _types(observed: Observed, path: Path, field: FieldHistory, now: datetime | None) -> list[Drift]:
    changes = [(before, after) for before, after in pairwise(field.types) if not before[1] & after[1]]
    if not changes:
        return []
    name, events = shown_path(path), observed.events
    if len(changes) > MOST_CHANGES:
        counts = Counter(shown_types(types) for _, types in field.types)
        listed = ", ".join(f"{words} {count:,} times" for words, count in counts.most_common(6))
        (_, before), (position, after) = changes[-1]
        text = f"`{name}` has no one type: {listed}; it has changed {len(changes):,} times, last in"
        text += f" #{events[position].seq}"
        return [_drift(name, "mixed", text, before, after, events[position])]
    found = []
    for (last, before), (first, after) in changes:
        text = (
            f"`{name}` was {shown_types(before)} until {_time(events[last].at, now)},"
            f" {shown_types(after)} since #{events[first].seq} ({_time(events[first].at, now)})"
        )
        found.append(_drift(name, "type", text, before, after, events[first]))
    return found


def _presence(observed: Observed, path: Path, field: FieldHistory, now: datetime | None) -> Drift | None:
    """Return that a field was added or has vanished; None where it may just be absent at times."""
    above = observed.fields.get(path[:-1])
    if path[-1] in ("[]", "*") or (len(path) > 1 and (above is None or not _is_plain(path))):
        return None
    around = [*range(len(observed.events))] if above is None else above.present
    first, last = field.present[0], field.present[-1]
    before = sum(position < first for position in around)
    after = sum(position > last for position in around)
    name, has = shown_path(path), len(field.present)
    if before >= ENOUGH and has >= ENOUGH and has == len(around) - before:
        event = observed.events[first]
        text = f"`{name}` is there since #{event.seq} ({_time(event.at, now)}), and was not before"
        return _drift(name, "added", text, frozenset(), field.all_types, event)
    if after >= ENOUGH and has >= ENOUGH and has == len(around) - after:
        event = observed.events[next(position for position in around if position > last)]
        text = f"`{name}` is gone since #{event.seq} ({_time(event.at, now)}), and was there before"
        return _drift(name, "vanished", text, field.all_types, frozenset(), event)
    return None


def _is_plain(path: Path) -> bool:
    return "[]" not in path and "*" not in path


def _drift(name: str, change: str, text: str, before: Types, since: Types, event: Recorded) -> Drift:
    return Drift(
        path=name,
        change=change,
        text=text,
        before=shown_types(before) if before else "",
        since=shown_types(since) if since else "",
        seq=event.seq,
        event_id=event.event_id,
        at=event.at,
    )


def _time(at: datetime, now: datetime | None) -> str:
    is_near = now is not None and timedelta(0) <= now - at < timedelta(hours=20)
    return at.strftime("%H:%M UTC" if is_near else "%Y-%m-%d %H:%M UTC")
