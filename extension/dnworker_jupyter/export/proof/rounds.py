"""Plans an export and proves it, and plans again with more while values differ; used by live exports."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from dnworker.core.handlers import HandlerKey
from dnworker_jupyter.export.planning.leaks import redacted
from dnworker_jupyter.export.planning.plan import Plan
from dnworker_jupyter.export.proof.compare import NOTHING
from dnworker_jupyter.export.proof.prove import Difference, Failure, Proof, Script, prove
from dnworker_jupyter.export.slicing.knowledge import REMEDIES
from dnworker_jupyter.export.slicing.problems import ExportProblem, NotExportable
from dnworker_jupyter.export.slicing.slice import Slice
from dnworker_jupyter.export.slicing.statements import Statement

MakePlan = Callable[[Collection[str]], Plan]
"""Plans an export with the changes of these names that are not sure."""

Handlers = Mapping[str, Sequence[tuple[HandlerKey, Any]]]

_CATEGORIES = {
    "file-read": "file",
    "file-write": "writes",
    "network": "connection",
    "process": "process",
    "input": "input",
}
_SHOWN_NAMES = 5


@dataclass(frozen=True)
class Kernel:
    """What a kernel has, to compare with.

    Args:
        names: its namespace.
        handlers: the handlers that run live, by worker.
        cwd: the notebook's directory.
        has_run: whether any handler has run, and so may have changed an object since its cell ran.
    """

    names: Mapping[str, Any]
    handlers: Handlers
    cwd: Path
    has_run: bool


async def proved(make_plan: MakePlan, kernel: Kernel) -> Plan:
    """Return the smallest plan whose names have the values of the kernel, as far as they can be compared.

    Args:
        make_plan: makes the plan.
        kernel: what to compare with.

    Raises:
        NotExportable: something cannot be exported, or a script would behave differently.
        OSError: there is no room for the temporary files, or no process can be started.
    """
    plan = await asyncio.to_thread(make_plan, ())  # a long notebook takes a second
    proof = await _prove(plan, kernel)
    for suspects in (_names(plan, proof), _names(plan)):
        if not _problems(plan, proof, kernel):
            break
        wider = await asyncio.to_thread(make_plan, suspects)
        if wider.files != plan.files:
            plan, proof = wider, await _prove(wider, kernel)
    if problems := _problems(plan, proof, kernel):
        raise NotExportable(problems)
    return replace(plan, notes=(*plan.notes, *_notes(proof)))


async def _prove(plan: Plan, kernel: Kernel) -> Proof:
    scripts = [
        Script(piece.worker, plan.scripts[piece.worker], tuple(sorted(piece.exported_names)))
        for piece in plan.slices
    ]
    shared = () if plan.shared is None else (plan.shared,)
    return await prove(plan.files, scripts, kernel.names, kernel.handlers, cwd=kernel.cwd, shared=shared)


def _names(plan: Plan, proof: Proof | None = None) -> set[str]:
    """Return the names that differ, or all names where a script does not run; without a proof, all."""
    everything = {name for piece in plan.slices for name in piece.exported_names}
    if proof is None or proof.failures:
        return everything
    return {difference.name.removeprefix("handler ") for difference in proof.differences}


def _problems(plan: Plan, proof: Proof, kernel: Kernel) -> list[ExportProblem]:
    by_worker = {piece.worker: piece for piece in plan.slices}
    found = [_of_failure(plan, by_worker[failure.worker], failure) for failure in proof.failures]
    found += [
        _of_difference(by_worker[difference.worker], difference)
        for difference in _first_of_each(
            d for d in proof.differences if not _is_excused(by_worker[d.worker], d, kernel)
        )
    ]
    return found


def _first_of_each(differences: Iterable[Difference]) -> list[Difference]:
    """Return the first difference of each name: two workers may have it, and it may be in several places."""
    first: dict[str, Difference] = {}
    for difference in differences:
        first.setdefault(difference.name, difference)
    return list(first.values())


def _is_excused(piece: Slice, difference: Difference, kernel: Kernel) -> bool:
    """Return whether a difference is none of the export: handlers have made it, or no code asks for it."""
    if difference.aspect == "annotations":
        return True
    if difference.aspect == "subclasses":
        return not piece.asks_for_subclasses
    name = difference.name
    return kernel.has_run and name in piece.changed_by_handlers and name not in piece.omitted


def _of_difference(piece: Slice, difference: Difference) -> ExportProblem:
    name = difference.name
    where = difference.where.lstrip(".") or "it"
    there = "missing" if difference.there == NOTHING else difference.there
    here = "missing" if difference.here == NOTHING else difference.here
    why = f"{where} is {here} in the notebook, and would be {there} in the script"
    omitted = piece.omitted.get(name)
    if omitted is not None:
        why += f"; {omitted.location} may be why"
        remedy = "make that statement one that a script can run, or set it in an @worker.on_startup handler"
    else:
        remedy = "run the cells that define it again, or set it in an @worker.on_startup handler"
    statement = omitted or _binding(piece, name.removeprefix("handler "))
    if statement is None:
        return ExportProblem(repr(name), why, remedy)
    return ExportProblem(repr(name), why, remedy, statement.cell.cell, statement.node.lineno)


def _binding(piece: Slice, name: str) -> Statement | None:
    return next((s for s in reversed((*piece.imports, *piece.body)) if name in s.binds), None)


def _of_failure(plan: Plan, piece: Slice, failure: Failure) -> ExportProblem:
    statement = _statement_at(plan, piece, failure)
    category, detail = _CATEGORIES.get(failure.category), redacted(failure.detail)
    if category is not None:
        does, remedy = REMEDIES[category]
        why = f"{does} when the script starts ({detail})"
    elif failure.category in ("time", "memory"):
        why = f"the script does not start within its limits: {detail}"
        remedy = "do it in an @worker.on_startup handler, and keep the result in worker.state"
    else:
        why = f"the script does not start apart from the notebook: {detail}"
        remedy = "mend the cell and run it again, or do it in an @worker.on_startup handler"
    if statement is None:
        return ExportProblem(f"the script of {failure.worker}", why, remedy)
    text = statement.source.strip().partition("\n")[0]
    return ExportProblem(f"`{text[:50]}`", why, remedy, statement.cell.cell, statement.node.lineno)


def _statement_at(plan: Plan, piece: Slice, failure: Failure) -> Statement | None:
    """Return the statement of the notebook that a line of a planned file comes from."""
    if failure.line is None or failure.path not in plan.files:
        return None
    text = plan.files[failure.path].decode()
    start = 0
    for statement in (*piece.imports, *piece.body):
        at = text.find(statement.source, start if statement.category != "import" else 0)
        if at < 0:
            continue
        first = text.count("\n", 0, at) + 1
        if first <= failure.line <= first + statement.source.count("\n"):
            return statement
    return None


def _notes(proof: Proof) -> list[str]:
    """Return what could not be compared, and what handlers have changed since the cells ran."""
    notes = []
    uncompared = list(dict.fromkeys(f"{name} ({why})" for _, name, why in proof.uncompared))
    if uncompared:
        more = f" and {len(uncompared) - _SHOWN_NAMES} more" if len(uncompared) > _SHOWN_NAMES else ""
        notes.append(f"not compared with the notebook: {', '.join(uncompared[:_SHOWN_NAMES])}{more}")
    changed = sorted({d.name for d in proof.differences if d.aspect == "value"})
    if changed:
        notes.append(f"handlers have changed since, and start with what the cells left: {', '.join(changed)}")
    return notes
