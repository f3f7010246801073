"""`Suggestions`: lists kinds that can be fired, with payloads; used by the panel and `%fire`."""

from __future__ import annotations

import contextlib
import inspect
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from dnworker.catalogue.filling import payload_of
from dnworker.catalogue.schemas import fields_of
from dnworker.core.declared import check_of_type, declared_by, schema_of_type
from dnworker.core.envelope import has_payload
from dnworker.core.errors import UsageError
from dnworker.core.payloads import guess_payload
from dnworker.core.samples import SAMPLES, in_session, sample
from dnworker.core.text import closest
from dnworker.engine.replay import recorded
from dnworker.workers.inprocess_worker import InProcessWorker
from dnworker.workers.registry import handlers_of

if TYPE_CHECKING:
    from dnworker.core.envelope import EventEnvelope
    from dnworker.engine.engine import Engine


EARLIER_KEPT = 20
"""Kinds whose newest event of an earlier run is kept."""


class Suggestion(NamedTuple):
    """A payload for a kind, and where it is from."""

    payload: dict[str, Any]
    source: str
    """`a template`, `as of #SEQ`, `as TYPE declares it`, `made of what handlers read`; empty for nothing."""


A_TEMPLATE = "a template"
"""The source of a suggestion for a kind that the runtime itself publishes."""


class _Declared(NamedTuple):
    """What a handler declares: the type's name, its schema, and the type where it is of this process."""

    name: str
    schema: dict[str, Any] | None
    type: Any = None

    def is_broken_by(self, event: EventEnvelope) -> bool:
        """Return whether the payload of an event breaks the type."""
        check = None if self.type is None else check_of_type(self.type)
        return check is not None and check(event.payload) is not None


class WrittenHandlers(Protocol):
    """Event handlers that are known from their source, whether they run or not, such as those of cells."""

    def kinds(self) -> set[str]:
        """Return the kinds that they listen to."""

    def sources(self, kind: str) -> list[str]:
        """Return the source text of those of a kind."""


class Suggestions:
    """Suggests kinds and payloads.

    Args:
        engine: whose workers listen, and whose events are looked through.
        written: read in place of the handlers of the workers in this process.
        earlier_runs: whether the journal is asked for events of earlier runs, once a kind.
    """

    def __init__(
        self,
        engine: Engine,
        *,
        written: WrittenHandlers | None = None,
        earlier_runs: bool = False,
    ) -> None:
        self._engine = engine
        self._written = written
        self._earlier_runs = earlier_runs
        self._earlier: dict[str, EventEnvelope | None] = {}

    def kinds_heard(self) -> set[str]:
        """Return the kinds that some handler listens to."""
        heard = {
            key.trigger
            for worker in self._engine.workers()
            for key in worker.stats
            if key.decorator == "on_event"
        }
        return heard if self._written is None else heard | self._written.kinds()

    def kinds(self) -> set[str]:
        """Return the kinds that can be expected to do something."""
        return self.kinds_heard() | SAMPLES.keys()

    def nearest(self, kind: str) -> str | None:
        """Return the kind that was probably meant; None when nothing is close, or it is that kind."""
        near = closest(kind, sorted(self.kinds()))
        return near if near != kind else None

    async def suggest(self, kind: str, session_id: str | None = None) -> Suggestion:
        """Return a payload: of a template, the newest event, what handlers declare, or what they read.

        The newest event is none where it breaks what a handler declares. A payload that names a session names
        `session_id`, where one is given.
        """
        if kind in SAMPLES:
            return Suggestion(sample(kind, session_id), A_TEMPLATE)
        declared = self._declared(kind)
        before = await self.newest(kind)
        if before is not None and before.payload and not any(one.is_broken_by(before) for one in declared):
            return Suggestion(in_session(before.payload, session_id), f"as of #{before.seq}")
        for one in declared:
            if one.schema is not None:
                made = in_session(payload_of(one.schema), session_id)
                return Suggestion(made, f"as {one.name} declares it")
        read = in_session(guess_payload(self._sources(kind)), session_id)
        return Suggestion(read, "made of what handlers read" if read else "")

    def reads(self, kind: str) -> dict[str, Any]:
        """Return a payload with every field that handlers read, as far as their source is known."""
        return guess_payload(self._sources(kind))

    def declared_fields(self, kind: str) -> list[str]:
        """Return the fields of a payload that handlers declare, those of the first handler first."""
        found = dict[str, None]()
        for one in self._declared(kind):
            found |= dict.fromkeys(path[0] for path in fields_of(one.schema or {}) if len(path) == 1)
        return [*found]

    def _declared(self, kind: str) -> list[_Declared]:
        """Return what handlers of a kind declare; of those in this process, the types are asked now."""
        found = []
        for worker in self._engine.workers():
            found += [_Declared(one.type, one.schema) for one in worker.declared if one.kind == kind]
            registry = worker.worker if isinstance(worker, InProcessWorker) else None
            for key, function, _ in handlers_of(registry) if registry is not None else ():
                if key[:2] == ("on_event", kind) and (declared := declared_by(function)) is not None:
                    schema, _ = (None, "") if declared.note else schema_of_type(declared.type)
                    found.append(_Declared(declared.name, schema, declared.type))
        return found

    async def newest(self, kind: str) -> EventEnvelope | None:
        """Return the newest event of a kind whose payload is kept, if there is one."""
        history = self._engine.history
        kept = next((e for e in history.newest_first() if e.kind == kind and has_payload(e)), None)
        newest = None if kept is None else history.event(kept.event_id)
        if newest is not None or not self._earlier_runs:
            return newest
        if kind not in self._earlier:
            found = []
            with contextlib.suppress(UsageError):  # memory has the event, and has dropped its payload
                found = await recorded(self._engine, 1, kind=kind)
            if len(self._earlier) >= EARLIER_KEPT:
                self._earlier.clear()
            self._earlier[kind] = found[0] if found else None
        return self._earlier[kind]

    def _sources(self, kind: str) -> list[str]:
        if self._written is not None:
            return self._written.sources(kind)
        found = []
        for worker in self._engine.workers():
            registry = worker.worker if isinstance(worker, InProcessWorker) else None
            for key, function, _ in handlers_of(registry) if registry is not None else ():
                if key[:2] == ("on_event", kind):
                    try:
                        found.append(inspect.getsource(function))
                    except (OSError, TypeError):  # made by code that stands in no file
                        continue
        return found
