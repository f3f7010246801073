"""`Storms`: notices chains of events that cause themselves, and keeps them from workers; the bus asks it.

A handler that publishes what it handles runs until the memory is full. A handler that publishes thousands of
events is all right, and so is one that walks a tree by its own kind. What counts here are events that repeat
what led to them: the same handler has published the same kind among the 50 events above. Those that are at
least 10 levels deep count towards the limit; ten times the limit counts at any depth.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Collection
from typing import NamedTuple, Protocol

import msgspec

from dnworker.core.clock import Clock
from dnworker.core.envelope import EventEnvelope
from dnworker.core.invocation import Invocation, current_invocation
from dnworker.core.limits import Limits, StormMode
from dnworker.core.listeners import Listeners

log = logging.getLogger("dnworker.storms")

WINDOW = 10.0
"""Seconds within which events count."""

LEVELS = 50
"""Events above an event that are looked at; as many as a trace shows."""

DEEP = 10
WIDER = 10
"""Levels from which an event counts, and how many times the limit counts whatever the level."""

LINKS_KEPT = 20_000
HELD_KEPT = 10_000
"""Events whose causes are known at least, and events that are held at most, of all storms together."""

STORMS_KEPT = 100
HANDLERS_NAMED = 5
"""Storms that hold nothing and are known at a time, and handlers of one that are named."""


class Storm(msgspec.Struct, eq=False):
    """A chain of events that causes itself."""

    seq: int
    kind: str
    root: str
    """Number, kind and id of the event that began it."""
    kinds: tuple[str, ...]
    """The circle, such as `a`, `b`, `a`."""
    handlers: tuple[str, ...]
    """Who publishes them, such as `notebook:bridge.on_a`."""
    workers: tuple[str, ...]
    counted: int
    """Events that repeat what lies above them, so far."""
    holds: bool
    held: int = 0
    lost: int = 0
    """Events that are held now, and those for which there was no room."""
    said: int = 0
    """Events that were counted when it was last told."""
    last: float = 0.0
    """When its newest event came, in seconds of the clock."""
    is_ended: bool = False
    """Whether it is known no more, so that its chains count anew."""

    @property
    def circle(self) -> str:
        """The circle and who publishes it, in words."""
        named = self.handlers[:HANDLERS_NAMED]
        more = [f"{len(self.handlers) - len(named)} more"] if len(self.handlers) > len(named) else []
        return f"{' -> '.join(self.kinds)}, by {' and '.join([*named, *more])}"

    @property
    def text(self) -> str:
        """What happened, in one sentence."""
        return (
            f"event storm: #{self.seq} {self.kind} has caused {self.counted:,} events within {WINDOW:g} s "
            f"that repeat {self.circle}"
        )


class Held(NamedTuple):
    """An event that was accepted and has not gone to workers."""

    envelope: EventEnvelope
    size: int
    only: str | None
    storm: Storm


class _Chain:
    """All that one event has caused."""

    __slots__ = ("deep", "kind", "root", "seq", "storm", "wide")

    def __init__(self, root: EventEnvelope) -> None:
        self.root, self.seq, self.kind = root.event_id, root.seq, root.kind
        self.deep: deque[float] | None = None
        self.wide: deque[float] | None = None
        self.storm: Storm | None = None


class _Link(msgspec.Struct, gc=False):
    """Where an event of a chain comes from: the event above it, and who published it."""

    above: str | None
    depth: int
    kind: str
    worker: str
    handler: str
    chain: _Chain


class Notes(Protocol):
    """Keeps what traces show of storms; the history does."""

    def note_storm(self, event_id: str, text: str) -> None:
        """Note what an event has become the root of."""

    def note_held(self, event_id: str, text: str, root: str) -> None:
        """Note that workers have not got an event, what to do about it, and what event began its chain."""

    def note_released(self, event_id: str) -> None:
        """Note that an event is held no more."""

    def note_loss(self, event_id: str, text: str) -> None:
        """Note that workers never get an event, and why."""


Circle = frozenset[tuple[str, str, str]]
"""The kinds of a circle, each with the worker and the handler that publish it."""

Deliver = Callable[[EventEnvelope, int, str | None], None]
"""Gives an event of so many bytes to the workers that want it, or only to one."""


LetGo = Callable[[Collection[EventEnvelope]], None]
"""Takes events from all workers that are to get them some time."""


class Storms:
    """Follows what handlers publish, and holds back what causes itself.

    Args:
        clock: what the seconds of the window go by.
        limits: `storm` is how many events count, `storm_held` how many bytes of them are held.
        notes: what traces show.
        deliver, let_go: called with what was held: one of them, or those that no worker is to get.
        mode: what is done about a storm.
        comes_again: whether workers get at the next start of the runtime what they have not got.
    """

    def __init__(
        self,
        clock: Clock,
        limits: Limits,
        notes: Notes,
        deliver: Deliver,
        let_go: LetGo,
        mode: StormMode = "warn",
        comes_again: Callable[[], bool] = lambda: False,
    ) -> None:
        self._mode: StormMode = mode
        self.limit = limits.storm
        """Events of a chain, within the window, after which it is a storm."""
        self.way_out = "a restart of {worker} delivers them"
        """What the user can do, in words."""
        self.began: Listeners[[Storm, Invocation]] = Listeners()
        """Called when a chain becomes a storm, and again at each tenfold of one that goes on."""
        self.dropped = 0
        """Held events that no worker gets."""
        self._clock, self._notes, self._deliver, self._let_go = clock, notes, deliver, let_go
        self._comes_again = comes_again
        # Where events come from.
        self._links: dict[str, _Link] = {}
        # What is held.
        self._storms: dict[Circle, Storm] = {}
        self._held: dict[str, Held] = {}
        self._room = limits.storm_held
        self.held_bytes = 0
        """Bytes of events that are held."""
        self._down: set[str] = set()

    @property
    def mode(self) -> StormMode:
        """What is done about a storm."""
        return self._mode

    @mode.setter
    def mode(self, mode: StormMode) -> None:
        self._mode = mode
        if mode != "hold":
            self.resume()
        for storm in self._storms.values():
            storm.holds, storm.said = mode == "hold", 0

    @property
    def storms(self) -> list[Storm]:
        """The storms whose events are held, or that go on, oldest first."""
        now = self._clock.monotonic()
        return [storm for storm in self._storms.values() if _is_live(storm, now)]

    @property
    def held(self) -> int:
        """How many events are held."""
        return len(self._held)

    def holds(self, envelope: EventEnvelope, size: int, only: str | None = None) -> bool:
        """Take note of an event that a handler publishes, and return whether workers do not get it now."""
        invocation = current_invocation.get()
        if invocation is None or (cause := invocation.event) is None or self._mode == "off":
            return False
        links, cause_id = self._links, cause.event_id  # every event of a handler pays for these lines
        above = links.get(cause_id)
        if above is None:
            above = links[cause_id] = _Link(None, 0, cause.kind, "", "", _Chain(cause))
        depth = above.depth + 1
        link = links[envelope.event_id] = _Link(
            cause_id, depth, envelope.kind, invocation.worker, invocation.handler, above.chain
        )
        if len(links) >= 2 * LINKS_KEPT:
            self._links = dict([*links.items()][-LINKS_KEPT:])
        if depth < 2 or not (circle := self._circle(link)):
            return False
        storm, now = link.chain.storm, self._clock.monotonic()
        if storm is None or not _is_live(storm, now):
            storm = self._storm_of(link.chain, depth, circle, now)
        if storm is None:
            return False
        storm.last = now
        if storm.holds:
            self._hold(Held(envelope, size, only, storm), link.chain.root)
        self._tell(storm, invocation)
        storm.counted += 1
        return storm.holds

    def _circle(self, link: _Link) -> list[_Link]:
        """Return the events from the last one like this down to it; none where it repeats nothing."""
        passed, above = [link], link.above
        for _ in range(LEVELS):
            one = self._links.get(above) if above is not None else None
            if one is None:
                break
            passed.append(one)
            if one.kind == link.kind and one.handler == link.handler and one.worker == link.worker:
                return passed[::-1]
            above = one.above
        return []

    def _storm_of(self, chain: _Chain, depth: int, circle: list[_Link], now: float) -> Storm | None:
        """Return the storm that a chain has become by an event that repeats; None while it is none."""
        made = frozenset((one.kind, one.worker, one.handler) for one in circle[1:])
        known = self._storms.get(made)
        if known is not None and not _is_live(known, now):
            known = None
        if known is None or depth < DEEP:
            counted = self._count(chain, depth, now)
            if not counted:
                return None
            if known is None:
                self._make_room(now)
                known = self._storms[made] = self._begin(chain, circle, counted)
        chain.storm, chain.deep, chain.wide = known, None, None
        self._notes.note_storm(chain.root, known.text)
        return known

    def _count(self, chain: _Chain, depth: int, now: float) -> int:
        """Count an event that repeats, and return how many did before it within the window, if too many."""
        if chain.wide is None:
            chain.wide = deque()
        wide = _within_window(chain.wide, now)
        deep = 0
        if depth >= DEEP:
            if chain.deep is None:
                chain.deep = deque()
            deep = _within_window(chain.deep, now)
        if deep > self.limit:
            return deep - 1
        return wide - 1 if wide > WIDER * self.limit else 0

    def _begin(self, chain: _Chain, circle: list[_Link], counted: int) -> Storm:
        below = circle[1:]
        return Storm(
            seq=chain.seq,
            kind=chain.kind,
            root=chain.root,
            kinds=tuple(one.kind for one in circle),
            handlers=tuple(dict.fromkeys(f"{one.worker}.{one.handler}" for one in below)),
            workers=tuple(dict.fromkeys(one.worker for one in below)),
            counted=counted,
            holds=self._mode == "hold",
        )

    def _make_room(self, now: float) -> None:
        """Forget the storms that are over and, of too many, the quietest that holds nothing."""
        over = [made for made, storm in self._storms.items() if not _is_live(storm, now)]
        if not over and len(self._storms) >= STORMS_KEPT:
            empty = [made for made, storm in self._storms.items() if not storm.held]
            over = [min(empty, key=lambda made: self._storms[made].last)] if empty else []
        for made in over:
            self._storms.pop(made).is_ended = True

    def _tell(self, storm: Storm, invocation: Invocation) -> None:
        """Say what happens, once; of one that goes on, again at each tenfold."""
        if storm.said and (storm.holds or storm.counted < 10 * storm.said):
            return
        storm.said = storm.counted
        self.began.notify(storm, invocation)

    def message(self, storm: Storm) -> str:
        """Return what happened and what can be done."""
        what = f"further ones are held: {self._way_out(storm)}" if storm.holds else "it goes on"
        return f"{storm.text}; {what}"

    def _way_out(self, storm: Storm) -> str:
        worker = storm.workers[0]
        return self.way_out.format(worker=worker.partition(":")[2] or worker)

    # -- what is held ----------------------------------------------------------------------------------

    def _hold(self, held: Held, root: str) -> None:
        storm, event_id = held.storm, held.envelope.event_id
        if len(self._held) >= HELD_KEPT or self.held_bytes + held.size > self._room:
            storm.lost += 1
            self.dropped += 1
            until = " before the next start of the runtime" if self._comes_again() else ""
            text = f"no worker gets it{until}: it is part of {_name(storm)}, and too many are held"
            self._notes.note_loss(event_id, text)
            return
        self._held[event_id] = held
        self.held_bytes += held.size
        storm.held += 1
        self._notes.note_held(event_id, self._way_out(storm), root)

    def note_refused(self, envelope: EventEnvelope, _: BaseException) -> None:
        """Hold an event no more that the broker did not accept: nobody ever gets it."""
        held = self._held.pop(envelope.event_id, None)
        if held is not None:
            self.held_bytes -= held.size
            held.storm.held -= 1
            self._notes.note_released(envelope.event_id)

    def resume(self, worker: str | None = None) -> int:
        """Deliver what is held, of all storms or of those of one worker; returns how many events."""
        taken = self._take(worker)
        for held in taken:
            self._notes.note_released(held.envelope.event_id)
            self._deliver(held.envelope, held.size, held.only)
        return len(taken)

    def drop(self, worker: str | None = None) -> int:
        """Deliver nothing of what is held, ever; returns how many events."""
        taken = self._take(worker)
        self._let_go([held.envelope for held in taken])
        self._note_dropped(taken, "%worker resume --drop let it go")
        return len(taken)

    def _note_dropped(self, taken: list[Held], why: str) -> None:
        self.dropped += len(taken)
        for held in taken:
            event_id = held.envelope.event_id
            self._notes.note_released(event_id)
            self._notes.note_loss(
                event_id, f"no worker gets it: it was part of {_name(held.storm)}, and {why}"
            )

    def _take(self, worker: str | None) -> list[Held]:
        """End storms, of all or of one worker, and return what is held of them; they begin to count anew."""
        for storm in self._storms.values():
            storm.is_ended = worker is None or worker in storm.workers
        self._storms = {made: storm for made, storm in self._storms.items() if not storm.is_ended}
        taken = [held for held in self._held.values() if held.storm.is_ended]
        if taken:
            self._held = {one: held for one, held in self._held.items() if not held.storm.is_ended}
            self.held_bytes = sum(held.size for held in self._held.values())
        return taken

    def note_state(self, worker: str, *, is_running: bool) -> None:
        """Note that a worker runs, or not; what is held of one that was started again goes to it."""
        if not is_running:
            if self._storms:
                self._down.add(worker)
        elif worker in self._down:
            self._down.discard(worker)
            self.resume(worker)

    def close(self) -> None:
        """Hold nothing more, and say how much that was; the runtime ends."""
        overflown = sum(storm.lost for storm in self._storms.values()) if self._comes_again() else 0
        of_storms = [storm for storm in self._storms.values() if storm.held or (storm.lost and overflown)]
        circles = "; ".join(sorted({storm.circle for storm in of_storms}))
        taken = self._take(None)
        if (taken or overflown) and self._comes_again():
            log.warning(
                "%d held events come at the next start, of storms of %s; %%worker resume --drop before a "
                "stop lets them go",
                len(taken) + overflown,
                circles,
            )
            return
        self._note_dropped(taken, "the runtime stopped")
        if taken:
            log.warning("%d held events were never delivered, of storms of %s", len(taken), circles)


def _is_live(storm: Storm, now: float) -> bool:
    """Return whether a storm holds events, or goes on."""
    return not storm.is_ended and (storm.held > 0 or now - storm.last <= WINDOW)


def _within_window(times: deque[float], now: float) -> int:
    """Note a time, forget those before the window, and return how many are in it."""
    times.append(now)
    while now - times[0] > WINDOW:
        times.popleft()
    return len(times)


def _name(storm: Storm) -> str:
    return f"the event storm of #{storm.seq} ({' -> '.join(storm.kinds)})"
