"""`PayloadChecks`: refuses payloads that break what handlers declare of a kind, where the publisher opts in.

Types of this process check as handlers themselves do; schemas that processes report need the extra `schemas`.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Collection, Iterator
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec

from dnworker.core.declared import Check, DeclaredPayload, check_of_type, declared_by, shown_value
from dnworker.core.errors import WrongPayload
from dnworker.core.text import shorten
from dnworker.workers.inprocess_worker import InProcessWorker
from dnworker.workers.registry import handlers_of

if TYPE_CHECKING:
    from dnworker.workers.managed import ManagedWorker

log = logging.getLogger("dnworker.workers")

FRESH = 1.0
"""Seconds for which what handlers declare is remembered, where no change of a worker comes first."""

LONGEST_KIND, LONGEST_PROBLEM = 80, 300

WITHOUT = "pip install 'dnworker[schemas]'"


class _Declared(NamedTuple):
    """What one handler declares: its name, the type's name, and the check."""

    handler: str
    type: str
    check: Check


class PayloadChecks:
    """Checks what workers publish that are named, or whose cells say so.

    Args:
        workers: returns all workers.
        named: the qualified names of workers whose payloads are checked.
    """

    def __init__(self, workers: Callable[[], list[ManagedWorker]], named: Collection[str]) -> None:
        self._workers = workers
        self._named = named
        self._checked: frozenset[str] | None = None
        self._by_kind: dict[str, list[_Declared]] = {}
        self._read_at = 0.0
        self._warned: set[tuple[str, str]] = set()

    def forget(self) -> None:
        """Look again, after a change of a worker."""
        self._checked = None

    def check(self, worker: str, kind: str, payload: dict[str, Any] | msgspec.Raw | None) -> None:
        """Check what a worker publishes, also as JSON; nothing for one that did not ask for it.

        Where several handlers declare the kind, a payload must meet one of them.

        Raises:
            WrongPayload: it breaks all; names the field.
        """
        if self._checked is None:
            said = {one.qualified_name for one in self._workers() if one.definition.check_payloads}
            self._checked = frozenset({*self._named, *said})
            self._by_kind.clear()
        if worker not in self._checked:
            return
        if isinstance(payload, msgspec.Raw):
            payload = msgspec.json.decode(payload, type=dict[str, Any])
        first: tuple[_Declared, str] | None = None
        for one in self._declared(kind):
            problem = one.check(payload or {})
            if problem is None:
                return
            first = first or (one, problem)
        if first is not None:
            one, problem = first
            raise WrongPayload(
                f"{shorten(kind, LONGEST_KIND)}: {shorten(problem, LONGEST_PROBLEM)}; "
                f"{one.handler} declares {one.type}"
            )

    def _declared(self, kind: str) -> list[_Declared]:
        now = time.monotonic()
        if now - self._read_at > FRESH:
            self._by_kind.clear()
            self._read_at = now
        if kind not in self._by_kind:
            self._by_kind[kind] = [one for worker in self._workers() for one in self._of(worker, kind)]
        return self._by_kind[kind]

    def _of(self, worker: ManagedWorker, kind: str) -> Iterator[_Declared]:
        name = worker.qualified_name
        registry = worker.worker if isinstance(worker, InProcessWorker) else None
        for key, function, _ in handlers_of(registry) if registry is not None else ():
            if key[:2] == ("on_event", kind) and (found := declared_by(function)) is not None:
                check = None if found.note else check_of_type(found.type)
                if check is not None:
                    yield _Declared(f"{name}.{key.name}", found.name, check)
        for reported in worker.declared:
            if reported.kind == kind and reported.schema is not None:
                check = self._check_of_schema(name, reported)
                if check is not None:
                    yield _Declared(f"{name}.{reported.handler}", reported.type, check)

    def _check_of_schema(self, worker: str, declared: DeclaredPayload) -> Check | None:
        """Return what checks by a schema; None where that cannot be done, which is logged once."""
        try:
            return check_of_schema(declared.schema or {})
        except ImportError:
            why = f"what {worker}.{declared.handler} declares needs: {WITHOUT}"
        except ValueError as exc:
            why = f"the schema of {worker}.{declared.handler} cannot be used: {shorten(str(exc), 200)}"
        if (worker, why) not in self._warned:
            self._warned.add((worker, why))
            log.warning("payloads of %s are not checked: %s", shorten(declared.kind, LONGEST_KIND), why)
        return None


def check_of_schema(schema: dict[str, Any]) -> Check:
    """Return what checks payloads by a JSON Schema.

    Raises:
        ImportError: jsonschema-rs is not installed.
        ValueError: the schema is none.
    """
    import jsonschema_rs

    validator = jsonschema_rs.validator_for(schema, retriever=_refuse)

    def check(payload: dict[str, Any]) -> str | None:
        error = next(validator.iter_errors(payload), None)
        if error is None:
            return None
        steps = [str(step) for step in error.instance_path]
        return f"{'.'.join(steps) or 'the payload'}: {_said(error, steps)}"

    return check


def _refuse(address: str) -> Any:
    """Fetch nothing: a schema comes from a worker process, and may name any address."""
    raise LookupError(f"{address} is not in the schema")


def _said(error: Any, steps: list[str]) -> str:
    """Return what is wanted and what came, without values of secrets."""
    keyword = next(reversed([*error.schema_path]), "")
    name = type(error.kind).__name__.rpartition("_")[2]
    if name == "Required":
        return f"{error.kind.property} is missing"
    if name == "Type":
        wanted = " or ".join(error.kind.types)
        return f"expected {wanted}, got {shown_value(error.instance, steps)}"
    return f"breaks {keyword}, got {shown_value(error.instance, steps)}"
