"""`Causes`: what published each event, for the history; lists of runs follow it to the first event."""

from __future__ import annotations

from contextlib import AbstractContextManager
from contextvars import ContextVar, Token
from functools import lru_cache
from typing import NamedTuple

from dnworker.core.invocation import Invocation, published_via, published_with

_publisher: ContextVar[str | None] = ContextVar("dnworker_publisher", default=None)


class published_by:  # noqa: N801  a context manager, which each request to publish pays for
    """Name who publishes what no handler publishes, in a word such as `HTTP`, while the block runs.

    Args:
        name: that word.
        via: the ids of the runtimes by which a copy of an event has come here, the first one first.
    """

    __slots__ = ("_name", "_tokens", "_via")

    def __init__(self, name: str, via: tuple[str, ...] = ()) -> None:
        self._name, self._via = name, via
        self._tokens: tuple[Token[str | None], Token[tuple[str, ...]]]

    def __enter__(self) -> None:
        self._tokens = _publisher.set(self._name), published_via.set(self._via)

    def __exit__(self, *_: object) -> None:
        publisher, via = self._tokens
        _publisher.reset(publisher)
        published_via.reset(via)


ELSEWHERE = "elsewhere"
"""Stands for the call of another runtime that has published an event: nothing else is known of it."""

_AGENT = "agent "

PULLED = "pulled from "
"""What the name of a source begins with whose events were published to another runtime."""


def published_by_agent(by: str) -> AbstractContextManager[None]:
    """Name the coding agent that publishes what no handler publishes."""
    return published_by(f"{_AGENT}{by}")


def fired() -> AbstractContextManager[None]:
    """Name what is fired as such, unless a coding agent fires it."""
    name = _publisher.get()
    return published_by(name if name is not None and name.startswith(_AGENT) else "Fired")


publisher = _publisher.get
"""Returns who publishes here as `published_by` names it; None where it does not."""


class Source(NamedTuple):
    """Where the first event of a run comes from: a name for people, and the call that no event caused."""

    name: str
    worker: str | None = None
    handler: str | None = None
    cause: str | None = None
    trigger: str = ""
    """What started that call: `schedule`, `task`, `startup` or `shutdown`, and the schedule in words."""

    @property
    def agent(self) -> str | None:
        """The coding agent that published it; None where none did."""
        is_agents = self.worker is None and self.name.startswith(_AGENT)
        return self.name.removeprefix(_AGENT) if is_agents else None

    @property
    def is_other_runtime(self) -> bool:
        """Whether the event was published to another runtime, and copied from there."""
        return self.worker is None and self.name.startswith(PULLED)

    @property
    def text(self) -> str:
        """That call in words, such as `schedule, every 5 min`; empty where no call is the source."""
        if self.cause is None or self.is_other_runtime:
            return ""
        how = _every(self.trigger) if self.cause == "schedule" else f"{self.worker}.{self.handler}"
        return f"{self.cause}, {how}"


@lru_cache(1_000)
def _source(name: str) -> Source:
    """Return the source of what somebody publishes; one object for all events of theirs."""
    return Source(name)


def _every(label: str) -> str:
    """Return the label of a schedule in words: `300s` is `every 5 min`."""
    number, is_interval = label.removesuffix("s"), label.endswith("s")
    if not is_interval or not number.replace(".", "", 1).isdecimal():
        return label
    seconds = float(number)
    for unit, size in (("d", 86_400), ("h", 3_600), ("min", 60)):
        if seconds >= size and seconds % size == 0:
            return f"every {seconds / size:g} {unit}"
    return f"every {seconds:g} s"


class Causes:
    """Remembers of each event of a handler the event above it, and of others the source that is known."""

    def __init__(self) -> None:
        self._above: dict[str, str | Source] = {}
        self._vias: dict[str, tuple[str, ...]] = {}
        """Of copies of events: the ids of the runtimes by which they have come."""
        self._parents: dict[str, str] = {}
        """The `traceparent` with which an event was published, where other nodes may go on with its trace."""

    def note(self, event_id: str, invocation: Invocation | None) -> None:
        """Note who published an event; every event pays for this."""
        if invocation is not None:
            event = invocation.event
            self._above[event_id] = source_of(invocation) if event is None else event.event_id
        else:
            if (name := _publisher.get()) is not None:
                self._above[event_id] = _source(name)
            if via := published_via.get():
                self._vias[event_id] = via
        if (traceparent := published_with.get()) is not None:
            self._parents[event_id] = traceparent

    def note_copy(self, event_id: str, place: str, *, is_caused: bool) -> None:
        """Note where an event of another runtime comes from, and whether a handler has published it there."""
        self._above[event_id] = Source(f"{PULLED}{place}", cause=ELSEWHERE if is_caused else None)

    def forget(self, event_id: str) -> None:
        """Forget the cause of an event that is not kept any more."""
        self._above.pop(event_id, None)
        if self._parents:
            self._parents.pop(event_id, None)
        if self._vias:
            self._vias.pop(event_id, None)

    def parent(self, event_id: str) -> str | None:
        """Return the `traceparent` with which an event was published; None where that is not known."""
        return self._parents.get(event_id)

    def above(self, event_id: str) -> str | None:
        """Return the id of the event above; None for the first of a run."""
        found = self._above.get(event_id)
        return found if isinstance(found, str) else None

    def agent(self, event_id: str) -> str | None:
        """Return the coding agent that published an event; None where a person or a program did."""
        source = self.source(event_id)
        return None if source is None else source.agent

    def via(self, event_id: str) -> tuple[str, ...]:
        """Return the ids of the runtimes by which an event has come here; none of one that was made here."""
        return self._vias.get(event_id, ())

    def source(self, event_id: str) -> Source | None:
        """Return where the first event of a run comes from, where that is known."""
        found = self._above.get(event_id)
        return found if isinstance(found, Source) else None


def source_of(invocation: Invocation) -> Source:
    """Return the source of what a call publishes that no event has caused."""
    key = invocation.key
    name = "Schedules" if invocation.cause == "schedule" else invocation.worker
    return Source(
        name, invocation.worker, invocation.handler, invocation.cause, key.trigger if key is not None else ""
    )
