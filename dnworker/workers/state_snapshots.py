"""`Snapshots`: the states of workers before events that a cell fired; `state_watch` takes them."""

from __future__ import annotations

import pickle
import time
from collections import deque
from collections.abc import Collection, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import msgspec

from dnworker.core import values
from dnworker.core.envelope import EventEnvelope
from dnworker.core.errors import UsageError
from dnworker.core.text import shorten, valid_text
from dnworker.core.value_tree import LONGEST_KEY, label_of
from dnworker.workers.pickling import NotPickled, dumps, is_plain, loads, within

KEPT = 200
LIMIT = 50_000_000
"""Snapshots, and bytes of all of them, that a kernel keeps."""

LARGEST = LIMIT // 5
"""Bytes of one snapshot."""

SECONDS = 1.0
TRIES = 3
SECONDS_BACK = 5.0
"""In which a state is pickled; how often that for its keys, one by one; in which it is unpickled."""

SLOW = 1.0
PAUSE = 30.0
"""Seconds that a snapshot may take: the loop waits for it. Else none is taken of that worker for so many."""

NAMED_AT_ONCE = 5
TOLD_KEPT = 1_000
"""Keys that are named in one line as in no snapshot, and of which is remembered that this was said."""

WHOLE = "all of it"
"""Stands for the keys of a state of which there is no snapshot."""

_OVERHEAD = 500
_CONTAINERS = ("dict", "list", "tuple", "set", "frozenset", "deque")


class Missing(msgspec.Struct, frozen=True):
    """A top-level key that a snapshot does not have."""

    key: str
    type: str
    why: str

    @property
    def is_serious(self) -> bool:
        """Whether a bound is why, or nothing is kept at all: not that nobody can copy a connection."""
        return self.key == WHOLE or self.why.startswith("it ")

    def __str__(self) -> str:
        return f"{self.key} ({self.type}) cannot be pickled: {self.why}"


@dataclass(frozen=True, eq=False)
class Snapshot:
    """The state of a worker before an event."""

    worker: str
    """Qualified by its capability."""
    event_id: str
    seq: int
    kind: str
    generation: int
    data: bytes
    missing: tuple[Missing, ...] = ()

    def state(self, live: dict[Any, Any], keep: Collection[str] = ()) -> dict[Any, Any]:
        """Return the state that it holds, made anew at each call.

        Args:
            live: the state of now, from which come the keys that it does not have.
            keep: which keys may come from there, by their text.

        Raises:
            UsageError: it lacks a key that is not in `keep`, or cannot be unpickled.
        """
        lacking = [one for one in self.missing if one.key not in keep]
        if lacking:
            more = f", and {len(lacking) - 1} more" if len(lacking) > 1 else ""
            flags = " ".join(f"--keep {one.key}" for one in lacking)
            raise UsageError(
                f"the state before #{self.seq} is not whole: {lacking[0]}{more}; "
                f"to take what the worker has now in its place, add: {flags}",
                code="DN711",
            )
        try:
            state: dict[Any, Any] = loads(self.data, SECONDS_BACK)
        except NotPickled as exc:
            raise UsageError(
                f"the state before #{self.seq} cannot be unpickled: {exc}", code="DN711"
            ) from None
        wanted = {one.key for one in self.missing}
        for key, value in values.pairs_of(live) if wanted else ():
            if text_of_key(key) in wanted:
                state[key] = value
        return state


class Snapshots:
    """The newest snapshots of all workers of a runtime, within bounds of number and bytes.

    Args:
        kept: how many at most.
        limit: bytes of all of them.
    """

    def __init__(self, kept: int = KEPT, limit: int = LIMIT) -> None:
        self.kept, self.limit = kept, limit
        self._all: deque[Snapshot] = deque()
        self._known: set[tuple[str, str]] = set()
        """The events and workers that they are of."""
        self._used = 0
        self._told: set[tuple[str, str]] = set()
        """Which key of which worker was said not to be in snapshots."""
        self._warned: set[str] = set()
        """Of which workers it was said that something is not in snapshots."""
        self._paused: dict[str, float] = {}
        """Until when no snapshot of a worker is taken, as the last one took long."""
        self._left_out: dict[tuple[str, str], tuple[int, Missing]] = {}
        """What could not be pickled last, with the identity of its class."""

    def __len__(self) -> int:
        return len(self._all)

    def __iter__(self) -> Iterator[Snapshot]:
        return iter([*self._all])

    @property
    def used(self) -> int:
        """Bytes that they take."""
        return self._used

    def leaves_out(self, worker: str, key: object, value: object) -> bool:
        """Return whether a value is known to be in no snapshot of a worker: its class cannot be pickled."""
        if not self._left_out or _is_container(value):
            return False
        cls, missing = self._left_out.get((worker, text_of_key(key)), (0, None))
        return missing is not None and cls == id(type(value))

    def forget(self, worker: str | None = None) -> int:
        """Let those of a worker go, by default all; returns how many that were."""
        before = len(self._all)
        self._all = deque(one for one in self._all if worker is not None and one.worker != worker)
        self._known = {(one.event_id, one.worker) for one in self._all}
        self._used = _used(self._all) + _OVERHEAD * len(self._all)
        return before - len(self._all)

    def has(self, event_id: str, worker: str) -> bool:
        """Return whether there is one of this worker before this event."""
        return (event_id, worker) in self._known

    def before(self, event_id: str) -> list[Snapshot]:
        """Return those before an event, one for each worker that handled it."""
        return [one for one in self._all if one.event_id == event_id]

    def take(self, worker: str, event: EventEnvelope, generation: int, state: object) -> list[str]:
        """Keep the state of a worker as it is before an event; never raises.

        Returns:
            what is to be said of it in the worker's log: each thing once.
        """
        began = time.monotonic()
        if began < self._paused.get(worker, 0.0):
            return []
        if not issubclass(type(state), dict) or why_impossible() is not None:
            return []
        said = self._take(worker, event, generation, state)
        took = time.monotonic() - began
        if took > SLOW:  # the loop has stood still meanwhile
            self._paused[worker] = began + took + PAUSE
            said.append(f"state: a snapshot took {took:.1f} s; none is taken for the next {PAUSE:g} s")
        return said

    def _take(self, worker: str, event: EventEnvelope, generation: int, state: object) -> list[str]:
        some: dict[Any, Any] = dict.copy(state)  # type: ignore[arg-type]  # not isinstance(), which asks it
        missing = self._take_out_known(worker, some)
        try:
            data = _pickle(some)
        except NotPickled as exc:
            missing += self._take_out_bad(worker, some)
            try:
                data = _pickle(some)
            except NotPickled:
                whole = Missing(WHOLE, values.type_name(state), str(exc))
                return self._say(worker, [*missing, whole], "there is no snapshot of its state")
        latest = next((one for one in reversed(self._all) if one.worker == worker), None)
        if latest is not None and latest.data == data:
            data = latest.data  # kept once
        new = Snapshot(worker, event.event_id, event.seq, event.kind, generation, data, tuple(missing))
        self._add(new, latest)
        return self._say(worker, missing, "snapshots of its state are without it")

    def _take_out_known(self, worker: str, some: dict[Any, Any]) -> list[Missing]:
        """Take out what could not be pickled before, and cannot have become better since."""
        found = []
        for key, value in [*some.items()] if self._left_out else ():
            if self.leaves_out(worker, key, value):
                found.append(self._left_out[worker, text_of_key(key)][1])
                del some[key]
        return found

    def _take_out_bad(self, worker: str, some: dict[Any, Any]) -> list[Missing]:
        """Take out the keys that cannot be pickled, each by itself, and those for which no time is left."""
        found, until = [], time.monotonic() + TRIES * SECONDS
        for key, value in [*some.items()]:
            if time.monotonic() > until:
                found.append(Missing(text_of_key(key), values.type_name(value), "no time was left to try"))
                del some[key]
                continue
            try:
                _pickle({0: value})
            except NotPickled as exc:
                missing = Missing(text_of_key(key), values.type_name(value), str(exc))
                self._left_out[worker, missing.key] = (id(type(value)), missing)
                found.append(missing)
                del some[key]
        return found

    def _add(self, new: Snapshot, latest: Snapshot | None) -> None:
        self._all.append(new)
        self._known.add((new.event_id, new.worker))
        self._used += _OVERHEAD if latest is not None and latest.data is new.data else _bytes_of(new)
        while len(self._all) > self.kept or self._used > self.limit:
            gone = self._all.popleft()
            self._known.discard((gone.event_id, gone.worker))
            shared = any(one.data is gone.data for one in self._all)
            self._used -= _OVERHEAD if shared else _bytes_of(gone)

    def _say(self, worker: str, missing: Iterable[Missing], what: str) -> list[str]:
        """Return one line at most; what a class forbids is said once a worker: it is as it should be."""
        news = [one for one in missing if (worker, one.key) not in self._told]
        if len(self._told) > TOLD_KEPT:
            self._told.clear()
            self._warned.clear()
            self._left_out.clear()
        self._told.update((worker, one.key) for one in news)
        if worker in self._warned:
            news = [one for one in news if one.is_serious]
        if not news:
            return []
        self._warned.add(worker)
        news.sort(key=lambda one: not one.is_serious)
        others = [one.key for one in news[1:NAMED_AT_ONCE]]
        others += [f"{len(news) - NAMED_AT_ONCE:,} keys more"] if len(news) > NAMED_AT_ONCE else []
        return [f"state: {news[0]}; {what}{''.join(f', {each}' for each in others)}"]


def why_impossible() -> str | None:
    """Return why no state can be kept here; None where it can."""
    try:
        import cloudpickle  # noqa: F401  only a notebook keeps snapshots
    except ModuleNotFoundError:
        return "states are kept by cloudpickle, which is not installed: pip install cloudpickle"
    return None


def _pickle(state: object) -> bytes:
    if is_plain(state):  # as most are: a thread for each event of a cell costs a millisecond
        # Nested for a deeper stack than is left here, or changed by another thread meanwhile.
        with suppress(RuntimeError, pickle.PicklingError):
            return dumps(state, LARGEST)
    return within(SECONDS, lambda: dumps(state, LARGEST))


def _is_container(value: object) -> bool:
    """Return whether what could not be pickled was perhaps only within this."""
    return values.kind_of(value) in _CONTAINERS


def text_of_key(key: object) -> str:
    """Return a top-level key as users write it in a line of a magic."""
    return shorten(valid_text(key), LONGEST_KEY) if type(key) is str else label_of(key)


def _bytes_of(snapshot: Snapshot) -> int:
    return _OVERHEAD + len(snapshot.data)


def _used(snapshots: Iterable[Snapshot]) -> int:
    """Return the bytes of snapshots, of which some share their data."""
    data = {id(one.data): len(one.data) for one in snapshots}
    return sum(data.values())
