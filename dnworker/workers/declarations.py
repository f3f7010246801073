"""What event handlers of a worker declare of payloads: reported by processes, checked as events come."""

from __future__ import annotations

from typing import Any

import msgspec

from dnworker.core.declared import (
    Check,
    DeclaredPayload,
    check_of_type,
    declared_by,
    describe_declared,
    may_declare,
    schema_of_type,
)
from dnworker.core.errors import WrongPayload
from dnworker.workers.registry import HandlerRegistry, handlers_of

MOST_BYTES = 300_000
"""Bytes of schemas in one report; handlers beyond are named with their types only."""

MOST_NAMED = 500
"""Handlers beyond it that are named; a report that is too long would be none."""

MOST_NOTED = 20
"""Fields of one handler's events that are noted, each once."""


def declared_payloads(registry: HandlerRegistry) -> list[DeclaredPayload]:
    """Return what the handlers of a worker declare, with schemas as far as a report has room for them."""
    found, room, named = list[DeclaredPayload](), MOST_BYTES, 0
    for key, function, _ in handlers_of(registry):
        if key.decorator != "on_event" or (declared := declared_by(function)) is None:
            continue
        one = describe_declared(key.trigger, key.name, declared)
        room -= len(msgspec.json.encode(one))
        if room < 0:
            named += 1
            if named > MOST_NAMED:
                break
            note = "the types of this worker take too much room for all to be reported"
            one = msgspec.structs.replace(one, schema=None, note=note)
        found.append(one)
    return found


class PayloadCheck:
    """Checks the events of one handler by the type that it declares, which is looked up with the first.

    Args:
        function: the handler.
    """

    def __init__(self, function: Any) -> None:
        self._function = function
        self._check: Check | None = None
        self._is_ready = False
        self._name = ""
        self._noted: set[str] = set()
        self._note: str | None = None
        self._is_told = False
        self.refuses = False
        """Whether the handler is not run for an event that breaks the type."""

    def problem(self, payload: dict[str, Any]) -> str | None:
        """Return what breaks the type, in a sentence; None where nothing does, or nothing can be checked."""
        if not self._is_ready:
            self._look_up()
        if self._check is None:
            return None
        found = self._check(payload)
        return None if found is None else f"the payload breaks {self._name}: {found}"

    def take_note(self) -> str | None:
        """Return, once, why nothing is refused though the handler asks for it; else None."""
        note, self._note = self._note, None
        return note

    def is_news(self, problem: str) -> bool:
        """Return whether a problem's field was not noted before; each is once, and only so many are."""
        field = problem.split(": ", 2)[1]
        if field in self._noted or len(self._noted) >= MOST_NOTED:
            return False
        self._noted.add(field)
        return True

    def _look_up(self) -> None:
        self._is_ready = True
        declared = declared_by(self._function)
        if declared is None:
            return
        self._name, self.refuses = declared.name, declared.refuses
        self._check = None if declared.note else check_of_type(declared.type)
        self._is_ready = not declared.note  # a later cell may define what it names
        if self._check is None and self.refuses and not self._is_told:
            self._is_told = True
            why = declared.note or schema_of_type(declared.type)[1]
            self._note = f"no event is refused, as none can be checked: {why}"


def check_of(function: Any) -> PayloadCheck | None:
    """Return what checks the events of a handler; None where it declares nothing."""
    return PayloadCheck(function) if may_declare(function) else None


def refuse(problem: str) -> Any:
    """Return what runs in place of a handler that refuses an event."""

    async def refused(*_: Any) -> None:
        raise WrongPayload(problem)

    return refused
