"""`Broker`: keeps accepted events, and gives each worker what it has not handled; one interface for all.

The bus (`events/bus.py`) is the part above: it numbers events, tells those who look on, and is the same for
every broker. `memory` keeps nothing over the end of the process; `sqlite` keeps everything in one file.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable, Collection
from typing import NamedTuple, Protocol

import msgspec

from dnworker.core.clock import Clock
from dnworker.core.envelope import EventEnvelope
from dnworker.core.listeners import Listeners
from dnworker.events.brokers.event_journal import EventJournal
from dnworker.events.brokers.left_events import LeftEvents
from dnworker.events.brokers.messages import Messages, ReportLog
from dnworker.events.brokers.partitions import Partitions

NOW = -1
"""Where a worker begins that the broker does not know: with what is published from now on."""
BEGINNING = 0
"""With the oldest event that is kept; any other number is the `seq` after which it begins."""


class BrokerCapabilities(msgspec.Struct, frozen=True, kw_only=True):
    """What a broker can do beside what all can."""

    survives_kill: bool = False
    """Whether what it has accepted outlives a runtime that is killed."""
    redelivers: bool = False
    """Whether what a worker has not handled comes again to its next consumer."""
    survives_power_loss: bool = False
    """Whether it outlives the machine's."""
    is_shared: bool = False
    """Whether several runtimes may work on the same events."""
    numbers_events: bool = False
    """Whether it gives events their `seq`, as it accepts them: what is published has 0 until then."""

    @property
    def promise(self) -> str:
        """What becomes of events that workers have not handled, and where `docs/understand` says so."""
        if self.is_shared:
            what = "kept by the server until workers have handled them, also where a node is killed"
            return f"{what} (docs/understand/delivery.md, column broker)"
        if not self.survives_kill:
            what = "kept in memory: what workers have not handled is lost when the runtime ends"
            return f"{what} (docs/understand/delivery.md, column memory)"
        what = "kept in a file until workers have handled them, also over a kill"
        return f"{what} (docs/understand/delivery.md, column durable)"


class Accepted(NamedTuple):
    """What became of an event: the one that is kept, and whether it is the first of its id."""

    envelope: EventEnvelope
    is_new: bool


class DeliveryWatcher(Protocol):
    """Counts the events that workers still have to handle; the history is one."""

    def expect(self, envelope: EventEnvelope) -> None:
        """Note that the event is queued for a worker."""

    def delivered(self, envelope: EventEnvelope) -> None:
        """Note that the worker took the event, or will never take it."""


class BacklogWatcher(DeliveryWatcher, Protocol):
    """Counts also the workers that still read what was there before them; the history is one."""

    def note_reading(self, change: int) -> None:
        """Note that one worker more (1) or less (-1) reads what it has not handled."""


class Subscriber(Protocol):
    """What the bus delivers to."""

    kinds: frozenset[str] | None
    """The kinds that it wants; None for all. They change only while the bus has forgotten it."""
    session_id: str | None
    """The only session that it wants; None for all."""
    owner: str | None
    """The qualified name of the worker that it is for."""
    goes_by_seq: bool
    """Whether it wants events in the order of `seq` alone: one that was held back gets a new one for it."""

    def put(self, envelope: EventEnvelope, size: int = 0) -> bool:
        """Take one event of so many bytes; False if it does not."""


class Outlet(Protocol):
    """Where accepted events go: the bus.

    A broker that numbers events delivers all that are accepted, also those of other runtimes, under the
    number that they have everywhere, and `published_as` what `traceparent_here` was for their publishers.
    """

    is_crowded: bool  # set where many events wait for a reader on the loop: publishers let it turn

    def deliver(
        self, envelope: EventEnvelope, size: int, only: str | None = None, is_held: bool = False
    ) -> bool:
        """Take an accepted event, on the loop, in order of `seq`; return whether it is held back for now.

        Args:
            size: bytes that it counts as.
            only: the one worker that it is for; None for all that listen.
            is_held: whether it is held back from workers for now (`storms.py`).
        """

    def kept(self, session_id: str | None, after_seq: int) -> list[EventEnvelope]:
        """Return what is kept in memory of a session, or of the runtime's scope, after a `seq`."""

    def remember(self, subscriber: Subscriber) -> None:
        """Deliver to a subscriber from now on."""

    def forget(self, subscriber: Subscriber) -> None:
        """Deliver nothing more to it."""


class Outcome(NamedTuple):
    """How one handler has ended with one event."""

    handler: str
    error: str | None = None
    """What it raised; None where it ended well."""


class Consumer(Subscriber, Protocol):
    """The events of one worker, in order; the broker keeps each until the worker has handled it.

    Iterate over it, and say of each event when it was handed to the last of its handlers (`handed_out`), and
    when each of these has begun and ended. It is handled once it was handed out and no handler of it runs.
    What is not handled when the consumer is closed, or when the runtime is killed, comes again, marked
    `replay`, to the next consumer of the same worker.
    """

    counts_ends: bool
    """Whether it wants to be told when handlers begin and end; it may want that later."""

    def __len__(self) -> int:
        """Return how many events are queued in memory."""

    def __aiter__(self) -> AsyncIterator[EventEnvelope]:
        """Yield the events."""

    async def __anext__(self) -> EventEnvelope:
        """Return the next event as soon as there is one."""

    def take(self) -> EventEnvelope | None:
        """Return the next event if one is queued."""

    def queued(self) -> list[EventEnvelope]:
        """Return what is queued in memory."""

    def retarget(
        self,
        kinds: Collection[str] | None,
        start: int = NOW,
        *,
        lets_go: bool = False,
        is_trial: bool = False,
    ) -> None:
        """Receive other kinds from now on; what is queued of those that stay, stays.

        What it has not handled of the others is kept until they are named again, or counted as lost where the
        broker keeps nothing; `Broker.left` tells of both.

        Args:
            kinds: all that it listens to; None for every kind.
            start: where those begin that are new to it, as of `Broker.subscribe`.
            lets_go: whether the reader wants nothing more of the others, as after it has closed a stream.
            is_trial: whether it may be undone: what waits of kinds that are named again does not come yet.
        """

    async def drained(self) -> None:
        """Return when the reader has taken all that was queued by now, or the consumer is closed."""

    def later(self) -> Counter[str]:
        """Return how many events of each kind come again after a while, and are in memory alone."""

    def close(self) -> None:
        """Receive nothing more; what was not handled is kept for the worker's next consumer."""

    async def aclose(self) -> None:
        """Do the same as `close`."""

    # -- what becomes of them --------------------------------------------------------------------------

    def event(self, event_id: str) -> EventEnvelope | None:
        """Return an event that the worker has, whole; None where it has not got it, or has handled it."""

    def number(self, envelope: EventEnvelope) -> int:
        """Return how often the worker was given the event by now, this time included: 1 for the first."""

    def handled_by(self, event_id: str) -> Collection[str]:
        """Return the handlers that have ended well with the event at an earlier delivery."""

    def note_begin(self, event_id: str, handler: str) -> None:
        """Note that a handler has begun with an event."""

    def note_end(self, event_id: str, outcome: Outcome) -> None:
        """Note that it has ended: an error is an end, too."""

    def handed_out(self, event_id: str) -> None:
        """Note that no further handler will begin with the event."""

    def release(self, event_id: str, delay: float = 0.0) -> None:
        """Give an event back, as where its handler is to run again: it comes `delay` s after its last end."""

    def note_progress(self, event_id: str) -> None:
        """Note that the worker still works on an event; a broker on other machines waits longer then."""


class CursorInfo(msgspec.Struct, frozen=True, kw_only=True):
    """How far a worker is, as a broker knows it."""

    worker: str
    kinds: list[str] | None
    handled_to: int
    """The `seq` up to which it has handled all but `outstanding`."""
    outstanding: list[int] = []
    """The `seq` of events before that, which it has not handled."""
    pending: int = 0
    """How many events wait for it in all."""
    seen_at: str = ""
    """When it was there last, as ISO 8601 in UTC."""
    is_here: bool = False
    """Whether a consumer of it is open."""
    former: dict[str, int] = {}
    """How many events wait of kinds that it names no more, until a version of it names them again."""


class Lease(msgspec.Struct, frozen=True, kw_only=True):
    """The right of one holder to something for a time."""

    name: str
    holder: str
    fence: int
    """Rises with every holder: who comes with a lower number is late."""
    until: float
    """When it ends, in seconds of the broker's clock, unless it is renewed."""


class Entry(msgspec.Struct, frozen=True, kw_only=True):
    """One value of the key-value store."""

    key: str
    value: bytes
    revision: int
    """Rises with every write of the key; what `put` compares."""


class Broker(Protocol):
    """Keeps events in one order, and what workers have handled of them.

    All methods are called on one loop. What raises `BrokerError` has changed nothing.
    """

    left: Listeners[[LeftEvents]]
    """Called soon after a worker has named a kind no more of which events wait, or these are let go."""

    @property
    def name(self) -> str:
        """Its name, such as `memory`."""

    @property
    def capabilities(self) -> BrokerCapabilities:
        """What it can do."""

    @property
    def journal(self) -> EventJournal | None:
        """What keeps invocations and states beside the events; None where it keeps none."""

    @property
    def messages(self) -> Messages | None:
        """What runtimes say to each other beside events; None where it is not shared."""

    @property
    def reports(self) -> ReportLog | None:
        """What they report of what runs on them; None where it is not shared."""

    @property
    def partitions(self) -> Partitions | None:
        """How events are divided among the members of workers; None where it is not shared."""

    @property
    def latest_seq(self) -> int:
        """The `seq` of the newest event that it knows; the bus numbers on from there."""

    @property
    def start(self) -> int:
        """Where a worker begins that it does not know, if `subscribe` is not told."""

    @property
    def failure(self) -> str | None:
        """Why it can accept nothing at the moment, such as a full disk; None where it can."""

    def attach(self, outlet: Outlet, clock: Clock) -> None:
        """Deliver to `outlet`; called once, before all else."""

    async def open(self, run: str) -> None:
        """Begin; `run` is the id of the runtime.

        Raises:
            BrokerError: it cannot be opened; names the thing and the way out.
        """

    def publish(
        self,
        envelope: EventEnvelope,
        size: int,
        only: str | None = None,
        is_held: bool = False,
        *,
        cause: str | None = None,
        is_idempotent: bool = False,
    ) -> asyncio.Future[Accepted] | None:
        """Accept an event: the outlet gets it, then the future has its result; None where that is done.

        The future raises `NotStored` where it is not accepted; nobody gets it then. An idempotent one whose
        id is known is not delivered, and `Accepted` has the first.

        Args:
            size, only, is_held: as of `Outlet.deliver`.
            cause: the id of the invocation that published it.
            is_idempotent: whether an event of this id may be there already.
        """

    def let_go(self, held: Collection[int]) -> None:
        """Give no worker these events, by `seq`, which are held back: not after a restart either."""

    def subscribe(
        self,
        worker: str,
        kinds: Collection[str] | None,
        *,
        start: int | None = None,
        watcher: BacklogWatcher | None = None,
    ) -> Consumer:
        """Return the events of a worker that it has not handled, and those that are published from now on.

        Args:
            worker: its qualified name; an earlier consumer of it must be closed.
            kinds: what it listens to; a kind that is new to it begins at `start`.
            start: `NOW`, `BEGINNING`, or a `seq` after which a worker begins that the broker does not know;
                by default what the broker was made with.
            watcher: notified of every event that is queued for it, and of those that a close drops.
        """

    def consumer(self, worker: str) -> Consumer | None:
        """Return the newest consumer of a worker, if it counts how handlers end."""

    def count_ends(self, worker: str, *, is_wanted: bool = True) -> None:
        """Count how handlers of a worker end, also where the broker would not by itself; or no longer."""

    def expect(self, worker: str) -> int:
        """Note that a worker starts that names its kinds later; returns the `seq` since which they begin.

        That of a worker that has named none yet is that of its first start, also one that a kill has ended.
        """

    def listened(self, worker: str) -> Collection[str]:
        """Return the kinds that a worker has named and still listens to, also while it is not here."""

    def knows(self, worker: str) -> bool:
        """Return whether it keeps how far a worker is."""

    async def cursors(self) -> list[CursorInfo]:
        """Return how far each worker is, also of those that are gone."""

    async def reset(self, worker: str, start: int) -> None:
        """Let a worker that is not here begin at `start`.

        Raises:
            NotFound, Conflict: the broker does not know it; a consumer of it is open.
            NotStored: it cannot be written; the worker stays as it is.
        """

    async def drop(self, worker: str) -> None:
        """Forget a worker that is not here.

        Raises:
            NotFound, Conflict: as of `reset`.
        """

    async def replay(
        self, session_id: str | None, after_seq: int, *, limit: int = 1_000
    ) -> list[EventEnvelope]:
        """Return accepted events of a session, or of the runtime's scope, after a `seq`, marked `replay`."""

    async def dropped_to(self) -> int:
        """Return the `seq` up to which events may be gone, as too old or too many; 0 where none is."""

    # -- leases ----------------------------------------------------------------------------------------

    async def acquire(self, name: str, holder: str, seconds: float) -> Lease | None:
        """Take a lease; None while another has it."""

    async def renew(self, lease: Lease, seconds: float) -> Lease | None:
        """Hold it longer; None where it has ended and another has it."""

    async def settled(self, worker: str, seconds: float) -> bool:
        """Return whether it is kept how far a worker is; waits for that, at most so many seconds."""

    async def give_back(self, lease: Lease) -> None:
        """End it now; one that another has is left alone."""

    # -- keys and values -------------------------------------------------------------------------------

    async def get(self, key: str) -> Entry | None:
        """Return a value."""

    async def put(
        self, key: str, value: bytes, *, revision: int | None = None, seconds: float | None = None
    ) -> Entry | None:
        """Write a value; with a `revision` only where that is the present one, 0 for none. None if it is not.

        Args:
            seconds: after which it is gone.
        """

    async def delete(self, key: str) -> None:
        """Remove a value."""

    async def keys(self, prefix: str) -> list[str]:
        """Return the keys that begin so, in order."""

    async def entries(self, prefix: str) -> list[Entry]:
        """Return all values whose keys begin so, by their keys; one that is shared may lag a little."""

    def watch(self, prefix: str, changed: Callable[[], None]) -> Callable[[], None]:
        """Call `changed` on the loop soon after values change whose keys begin so, whoever writes them.

        Several changes may be one call. What ends by its `seconds` may be told of late, or where nobody else
        looks on, not at all. Returns the function that ends it.
        """

    async def close(self) -> None:
        """Write what waits, and end; may be called again."""
