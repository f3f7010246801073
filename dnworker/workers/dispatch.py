"""`Dispatch`: takes events from a source and starts the handlers of their kinds; a part of the runner."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sized
from typing import TYPE_CHECKING, Any, cast

import msgspec

from dnworker.core.envelope import FedEvent, as_given, own, redelivered
from dnworker.core.handler_error import message_of, type_name
from dnworker.core.handlers import HandlerKey
from dnworker.core.invocation import Invocation, feeds_handlers
from dnworker.workers.declarations import PayloadCheck, check_of, refuse
from dnworker.workers.invoker import Invoker
from dnworker.workers.registry import HandlerRegistry, Registered, handlers_of

if TYPE_CHECKING:
    from dnworker.core.envelope import EventEnvelope
    from dnworker.events.brokers.base import Consumer

DISPATCH_BATCH = 64
"""Events of a burst that are handed to handlers before the loop turns."""

EventSource = Callable[[frozenset[str]], AsyncIterator["EventEnvelope"]]


class _Bound(msgspec.Struct, frozen=True):
    """An event handler with all that its invocations have in common."""

    handler: Any
    name: str
    key: HandlerKey
    title: str
    task_name: str
    check: PayloadCheck | None
    """Checks what comes by what the handler declares of it; None where it declares nothing."""


class Dispatch:
    """Hands events to the handlers of one worker, several at a time.

    Args:
        invoker: runs them.
        source: called once with the kinds; gives the async iterator of envelopes.
        released: events wait until it is set.
        on_end: called with the reason when the source has ended or failed by itself.
    """

    def __init__(
        self,
        invoker: Invoker,
        source: EventSource,
        released: asyncio.Event,
        on_end: Callable[[str], None],
    ) -> None:
        self._invoker = invoker
        self._source = source
        self._released = released
        self.listens_to_none = False
        """Whether it subscribes without kinds, too: the worker had some, and what waits of them is said."""
        self._on_end = on_end
        self._bound: dict[str, tuple[_Bound, ...]] = {}
        self._events: AsyncIterator[EventEnvelope] | None = None
        self._consumer: Consumer | None = None  # the same, where it may count how handlers end
        self._is_diverted: Callable[[EventEnvelope], bool] | None = None
        self._diverted: list[EventEnvelope] = []  # kept for another dispatch, or until the diversion ends
        self._taken: EventEnvelope | None = None  # waits for the startup to end
        self.task: asyncio.Task[None] | None = None
        """What takes the events; None while no kind is listened to."""

    def bind(self, registry: HandlerRegistry) -> None:
        """Start these handlers from the next event on."""
        bound: dict[str, list[_Bound]] = {}
        for handler in handlers_of(registry):
            if handler.key.decorator == "on_event":
                bound.setdefault(handler.key.trigger, []).append(self._bind(handler))
        self._bound = {kind: tuple(handlers) for kind, handlers in bound.items()}

    def _bind(self, handler: Registered) -> _Bound:
        name, label = handler.key.name, self._invoker.label
        title = f"{self._invoker.name} {handler.key.trigger}"
        check = check_of(handler.function)
        return _Bound(handler.function, name, handler.key, title, f"{label} {label}.{name}", check)

    def listen(self) -> None:
        """Listen to the kinds of the handlers that are bound, by the subscription there is if there is one.

        Raises:
            TypeError: the source cannot change its kinds.
        """
        self._listen_to(frozenset(self._bound))

    def _listen_to(self, kinds: frozenset[str], **options: bool) -> None:
        if self._events is None:
            if kinds or self.listens_to_none:
                events = self._source(kinds)
                self._read(events)
                self.task = self._invoker.spawn(self._dispatch(events), "events")
            return
        retarget = getattr(self._events, "retarget", None)
        if retarget is None:
            raise TypeError(f"{type(self._events).__name__} cannot change its kinds; restart the worker")
        retarget(kinds, **options)

    @property
    def kinds(self) -> frozenset[str]:
        """The kinds of the handlers that are bound."""
        return frozenset(self._bound)

    def divert(self, kinds: frozenset[str], is_diverted: Callable[[EventEnvelope], bool]) -> None:
        """Keep events for another dispatch: what `is_diverted` names, and kinds that are not ours."""
        self._is_diverted = is_diverted
        self._listen_to(self.kinds | kinds, is_trial=True)

    def end_diversion(self) -> None:
        """Handle every event again, those that were kept too."""
        self._is_diverted = None
        diverted, self._diverted = self._diverted, []
        if self._events is None:
            return
        # What came of kinds of the other dispatch alone is for nobody: it never ran.
        self._listen_to(self.kinds, lets_go=True)
        for envelope in diverted:
            self._start_invocations(envelope)

    def take_over(self, before: Dispatch) -> None:
        """Go on with the subscription of another, with what is queued in it and what was kept for us.

        The other one starts nothing from now on. Its task must be awaited still: it is cancelled, and holds
        no event.
        """
        events, before._events = before._events, None
        if before.task is not None:
            self._invoker.cancel(before.task)
        self._diverted, before._diverted = before._diverted, []
        if events is not None:
            self._read(events)
            self.task = self._invoker.spawn(self._dispatch(events), "events")

    def _read(self, events: AsyncIterator[EventEnvelope]) -> None:
        self._events = events
        self._consumer = cast("Consumer", events) if hasattr(events, "counts_ends") else None

    @property
    def waiting(self) -> int:
        """How many events wait for their handlers to be started."""
        queued = len(self._events) if isinstance(self._events, Sized) else 0
        return len(self._diverted) + (self._taken is not None) + queued

    def take_waiting(self) -> list[EventEnvelope]:
        """Return the events that were to be handled and that no handler was started for; only once."""
        waiting = self.look_at_waiting()
        self._diverted, self._taken = [], None
        return waiting

    def look_at_waiting(self) -> list[EventEnvelope]:
        """Return the events that are to be handled and that no handler was started for."""
        queued = getattr(self._events, "queued", None)
        waiting = [*self._diverted, *([] if self._taken is None else [self._taken])]
        return [*waiting, *(queued() if queued is not None else ())]

    async def aclose(self) -> None:
        """Close the subscription."""
        events, self._events = self._events, None
        aclose = getattr(events, "aclose", None)
        if aclose is not None:
            await aclose()

    def close_nowait(self) -> None:
        """Let the source drop the events that wait: nobody reads them any more."""
        close = getattr(self._events, "close", None)
        if close is not None:
            close()

    async def _dispatch(self, events: AsyncIterator[EventEnvelope]) -> None:
        why = "ended"
        taken = 0
        feeds_handlers.set(True)
        take = getattr(events, "take", None)  # a subscription of the bus gives what is queued at once
        recorder = self._invoker.recorder
        try:
            if self._diverted:
                await self._released.wait()
                kept, self._diverted = self._diverted, []
                for envelope in kept:
                    self._start_invocations(envelope)
            async for envelope in events:
                self._taken = envelope
                try:
                    await self._released.wait()
                    self._taken = None
                    self._start_invocations(envelope)
                finally:  # also when startup fails while this event waits for it
                    recorder.delivered(envelope)
                taken += 1
                if take is not None and taken % DISPATCH_BATCH:
                    while (more := take()) is not None:
                        self._start_invocations(more)
                        recorder.delivered(more)
                        taken += 1
                        if taken % DISPATCH_BATCH == 0:
                            break
                if taken % DISPATCH_BATCH == 0:  # let handlers run while a burst is handed out
                    await asyncio.sleep(0)
        except Exception as exc:
            why = f"failed: {message_of(exc) or type_name(exc)}"
        self._on_end(why)

    def _start_invocations(self, envelope: EventEnvelope) -> None:
        """Start one task for every handler of the event's kind; the cost of this is the cost of an event."""
        if self._is_diverted is not None and (
            self._is_diverted(envelope) or envelope.kind not in self._bound
        ):
            self._diverted.append(envelope)
            return
        invoker, consumer, number, parent = self._invoker, self._consumer, 1, None
        handlers = self._bound.get(envelope.kind, ())
        if consumer is not None and not consumer.counts_ends:
            consumer = None
        event = own(envelope)
        if consumer is not None:
            event = redelivered(event, number := consumer.number(envelope))
            done = consumer.handled_by(envelope.event_id)
            handlers = tuple(bound for bound in handlers if bound.name not in done)
        elif isinstance(envelope, FedEvent):
            handlers = tuple(bound for bound in handlers if bound.name not in envelope.handled_by)
            event, parent = as_given(envelope), envelope.traceparent
        args = (event, invoker.client)
        for bound in handlers:
            invocation = Invocation(
                invoker.label, bound.name, "event", envelope, invoker.generation, key=bound.key
            )
            if number > 1:
                invocation.delivery = number
            invocation.parent = parent
            invoker.recorder.begin(invocation)
            run = (
                bound.handler if bound.check is None else self._checked(bound, bound.check, event, invocation)
            )
            invoker.launch(invocation, run, args, bound.key, bound.title, bound.task_name)
        if consumer is not None:
            consumer.handed_out(envelope.event_id)

    def _checked(
        self, bound: _Bound, check: PayloadCheck, event: EventEnvelope, invocation: Invocation
    ) -> Any:
        """Return what is run for an event: the handler, or what refuses an event that breaks its type."""
        problem = check.problem(event.payload)
        if (note := check.take_note()) is not None:
            self._invoker.hint(invocation, note)
        if problem is None:
            return bound.handler
        if check.refuses:
            return refuse(problem)
        if check.is_news(problem):
            self._invoker.hint(invocation, problem)
        return bound.handler
