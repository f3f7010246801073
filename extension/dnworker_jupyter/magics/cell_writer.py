"""`CellWriter`: runs the `%%worker` cells of agents, all or nothing, and takes them back; `Door` has one."""

from __future__ import annotations

import ast
import asyncio
import logging
import re
from collections.abc import Iterator, Mapping
from typing import Any

from dnworker.core.causes import because
from dnworker.core.errors import Conflict, DnworkerError, UsageError, WorkerFailed, code_of
from dnworker.core.handler_error import describe
from dnworker.core.text import clip
from dnworker_jupyter.display.cell_insertion import CellInsertion
from dnworker_jupyter.export.slicing.problems import NotExportable
from dnworker_jupyter.kernel.cell_turns import AgentRun
from dnworker_jupyter.live.agent_changes import AgentChange, AgentChanges
from dnworker_jupyter.magics.context import MagicContext
from dnworker_jupyter.magics.worker import remove_worker
from dnworker_jupyter.syntax.cell_magic import cell_magic
from dnworker_jupyter.syntax.options import WorkerLine, read_worker_line

log = logging.getLogger("dnworker.agents")

LONGEST_MESSAGE = 2_000

Problem = dict[str, Any]
"""`code`, `message` and `line`, of which the first and the last may be None."""


class CellWriter:
    """Lets agents write workers.

    Args:
        context: the notebook's parts.
        changes: notes what agents have changed.
        insertion: puts cells into the notebook of a front end.
    """

    def __init__(self, context: MagicContext, changes: AgentChanges, insertion: CellInsertion) -> None:
        self._context = context
        self._changes = changes
        self._insertion = insertion

    # -- writing ---------------------------------------------------------------------------------------

    async def write(self, source: str, *, by: str, dry_run: bool, timeout: float) -> dict[str, Any]:
        """Run a cell, or check it only.

        Raises:
            UsageError: it is no `%%worker` cell with handlers.
            TooLate: another cell runs all the time, or it does not end.
        """
        line = self._line(source)
        problems = [*self._problems_before(line, source)]
        if problems or dry_run:
            return self._answer(line.name, ok=not problems, problems=problems)
        async with self._context.turns.turn(timeout):
            before = self._changes.generations()
            ran = await self._context.turns.run(source, by=by, timeout=timeout)
            if not ran.ok:
                problems = [*_problems_of(ran, timeout), *await self._take_back(before)]
                return self._answer(line.name, ok=False, problems=problems, output=ran.output)
            change = None if ran.cell is None else self._changes.note(by, ran.cell, before)
        if change is None:
            return self._answer(line.name, ok=True, output=ran.output)
        log.info("agent %s wrote worker %s, generation %d (change %s)", *_logged(change))
        change.inserted = await self._insertion.put(change.cell, self._beside(line.name, change))
        if change.inserted:
            self._context.stale.note_inserted(change.cell)
        return self._answer(line.name, ok=True, output=ran.output, change=change)

    def _line(self, source: str) -> WorkerLine:
        """Return the line of a `%%worker` cell.

        Raises:
            UsageError: it is another cell, or another use of the magic.
        """
        magic = cell_magic(source)
        if magic != "worker":
            what = "it begins with no magic" if magic is None else f"it begins with %%{magic}"
            raise UsageError(
                f"only a %%worker cell can be written here, and {what}; begin it with: %%worker NAME",
                code="DN987",
            )
        first = next(one for one in source.split("\n") if one.startswith("%%worker"))
        line = read_worker_line(first.removeprefix("%%worker").strip())
        if line.test or line.command is not None:
            raise UsageError(
                f"%%worker {line.name} runs a test or a program; only cells with handlers can be written",
                code="DN987",
            )
        return line

    def _problems_before(self, line: WorkerLine, source: str) -> Iterator[Problem]:
        """Go through what is wrong with a cell before it runs: its line, and what is no Python."""
        try:
            self._context.transactions.check_gate(line.name, line.options.when)
        except UsageError as exc:
            yield _problem(exc, 1)
        # Magics in the body are Python only once IPython has read them; it drops empty lines at the top.
        above = source.partition("%%worker")[0].count("\n") + 1
        text = "\n".join(["#"] * above + source.split("\n")[above:])
        try:
            python = self._context.shell.input_transformer_manager.transform_cell(text)
            compile(python, "<cell>", "exec", ast.PyCF_ALLOW_TOP_LEVEL_AWAIT | ast.PyCF_ONLY_AST)
        except SyntaxError as exc:
            yield {"code": None, "message": f"SyntaxError: {exc.msg}", "line": exc.lineno}
        except (ValueError, RecursionError, MemoryError) as exc:
            yield {"code": None, "message": f"{type(exc).__name__}: {exc}", "line": None}

    async def _take_back(self, before: Mapping[str, int]) -> list[Problem]:
        """Take back what a cell that failed has changed all the same, as the first of two workers."""
        problems = []
        for name, number in self._changes.generations().items():
            if before.get(name, 0) == number:
                continue
            try:
                await self._go_back(name, before.get(name, 0), "The cell of an agent failed")
            except DnworkerError as exc:
                text = f"worker {name!r} has changed although the cell failed, and is not as before: {exc}"
                problems.append({"code": code_of(exc), "message": clip(text, LONGEST_MESSAGE), "line": None})
        return problems

    def _answer(
        self,
        worker: str,
        *,
        ok: bool,
        problems: list[Problem] | None = None,
        output: str = "",
        change: AgentChange | None = None,
    ) -> dict[str, Any]:
        live = self._context.live.get(worker)
        return {
            "ok": ok,
            "change": None if change is None else change.id,
            "worker": worker,
            "generation": 0 if live is None else live.generation,
            "problems": problems or [],
            "output": output,
            "inserted": change is not None and change.inserted,
        }

    def _beside(self, worker: str, change: AgentChange) -> list[str]:
        """Return the ids of the cells below one of which a cell belongs, the best last."""
        live = self._context.live.get(worker)
        cells = [] if live is None else [one.cell for one in live.registrations.values()]
        step = change.steps.get(worker)
        if live is not None and step is not None and (earlier := live.numbered(step.before)) is not None:
            cells += [one.cell for one in earlier.registrations.values()]
        return [cell.id for cell in cells if cell.id is not None and cell.key != change.cell.key]

    # -- undo ------------------------------------------------------------------------------------------

    async def undo(self, change: AgentChange, *, by: str, timeout: float) -> dict[str, Any]:
        """Bring back what there was before a change.

        Raises:
            Conflict: somebody has changed a worker since, or it has no generation to go back to any more.
            TooLate: a cell runs all the time.
        """
        async with self._context.turns.turn(timeout):
            return await self.undo_now(change, by=by)

    async def undo_now(self, change: AgentChange, *, by: str) -> dict[str, Any]:
        """Do the same without waiting for a cell that runs: it is that cell which undoes it."""
        self._changes.check_undo(change)
        for name, step in change.steps.items():
            try:
                await self._go_back(name, step.before, f"Undone by {by}: change {change.id}")
            except (UsageError, WorkerFailed) as exc:
                text = f"change {change.id} cannot be undone: {exc}"
                raise Conflict(text, code=code_of(exc) or "DN986") from exc
        self._changes.note_undone(change, by)
        log.info("%s undid change %s of agent %s", by, change.id, change.by)
        removed = change.inserted and await self._insertion.take_out(change.cell)
        if removed:
            change.inserted = False
            self._context.stale.note_inserted(change.cell, is_there=False)
        now = {name: number for name, number in self._changes.generations().items() if name in change.steps}
        told = {"now": now, "removed_from_notebook": removed, "note": _what_stays(change, removed)}
        return change.as_json() | told

    async def _go_back(self, name: str, generation: int, why: str) -> None:
        live = self._context.live.get(name)
        if live is None:
            return
        with because(why):
            if generation:
                await live.rollback(generation)
            elif live.managed is not None:
                await remove_worker(self._context, live.managed)


def _what_stays(change: AgentChange, removed: bool) -> str:
    names = "names that the cell defined stay defined in the kernel"
    if change.inserted and not removed:
        return f"{names}; its cell is still in the notebook: delete it there, or the next Run All runs it"
    return names


def _logged(change: AgentChange) -> tuple[str, str, int, str]:
    name, step = next(iter(change.steps.items()))
    return change.by, name, step.after, change.id


def _problem(exc: BaseException, line: int | None) -> Problem:
    return {"code": code_of(exc), "message": clip(str(exc), LONGEST_MESSAGE), "line": line}


def _line_in(text: str, ran: AgentRun) -> int | None:
    """Return the line of the cell that a text names, such as that of a startup handler that failed."""
    named = None if ran.cell is None else re.search(rf"cell \[{ran.cell.number}\], line (\d+)", text)
    return ran.line if named is None else int(named[1])


def _problems_of(ran: AgentRun, timeout: float) -> Iterator[Problem]:
    """Go through why a cell failed."""
    error = ran.error
    if ran.is_late:
        text = f"the cell did not end within {timeout:g} s, so it was interrupted; nothing of it took effect"
        yield {"code": "DN984", "message": text, "line": ran.line}
    elif ran.was_interrupted or isinstance(error, asyncio.CancelledError):
        text = "the cell was interrupted by the user; nothing of it took effect"
        yield {"code": "DN109", "message": text, "line": ran.line}
    elif isinstance(error, NotExportable):
        for one in error.problems:
            yield {"code": error.code, "message": clip(one.text, LONGEST_MESSAGE), "line": one.line}
    elif isinstance(error, DnworkerError):
        yield _problem(error, _line_in(str(error), ran))
    elif error is not None:
        told = describe(error)
        yield {
            "code": None,
            "message": clip(f"{told.type}: {told.message}", LONGEST_MESSAGE),
            "line": ran.line,
        }
    else:
        yield {"code": None, "message": "the cell failed; its output says why", "line": ran.line}
