"""`Door`: what coding agents may look at and do in this notebook; the runtime's endpoints lead here.

It is made when an agent calls, or `%runtime mcp` runs: a kernel without agents does not load it.
"""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec

from dnworker.core.clock import SwitchClock
from dnworker.core.envelope import EventEnvelope
from dnworker.core.errors import ManifestError, NotFound, UsageError, code_of
from dnworker.core.text import clip
from dnworker.engine.door import Replayed, TooLate, WritingNotAllowed
from dnworker.engine.replay import find, replay
from dnworker.engine.worker_activity import activity_of
from dnworker.events.causes import published_by_agent
from dnworker.events.failing import Failure
from dnworker.events.journal import SHORTEST_ID
from dnworker.events.trace import Trace
from dnworker.panel.attached import mark_to_json
from dnworker.runtime import Runtime
from dnworker_jupyter.display.cell_insertion import CellInsertion
from dnworker_jupyter.export.slicing.problems import ExportProblem, NotExportable
from dnworker_jupyter.live.agent_access import AgentAccess
from dnworker_jupyter.live.agent_changes import AgentChanges
from dnworker_jupyter.live.worker import LiveWorker
from dnworker_jupyter.magics.attached import check_agent_may_fire
from dnworker_jupyter.magics.case_runs import CaseRuns
from dnworker_jupyter.magics.cell_writer import CellWriter
from dnworker_jupyter.magics.clock import Runs, advance, next_due
from dnworker_jupyter.magics.context import MagicContext
from dnworker_jupyter.magics.fork import compare_on_fork, replay_on_fork
from dnworker_jupyter.magics.live_export import LiveExport
from dnworker_jupyter.magics.replay import compare_generations

ADVANCES = 1_000
"""Wakes after which one move of the clock stops."""

LONGEST_SOURCE = 100_000
"""Characters of the source of one cell that are answered."""


class Door:
    """The door of one notebook.

    Args:
        context: its parts.
    """

    def __init__(self, context: MagicContext) -> None:
        self._context = context
        self._runtime: Runtime = context.runtime
        self._access: AgentAccess = context.agents
        self.agent_changes = AgentChanges(context.live, self._runtime.clock)
        insertion = CellInsertion(context.panels)
        self._writer = CellWriter(context, self.agent_changes, insertion)
        self._cases = CaseRuns(context)

    # -- looking ---------------------------------------------------------------------------------------

    def notebook(self) -> dict[str, Any]:
        """Return what the notebook is, and what agents may do in it."""
        clock, path = self._runtime.clock, self._context.location.path
        return {
            "path": None if path is None else str(path),
            "runtime_id": self._runtime.runtime_id,
            "allow_write": self._access.may_write,
            "clock": {"virtual": clock.can_advance, "now": clock.now().isoformat()},
            "workers": self._context.live.names(),
            "attached": mark_to_json(self._runtime),
            "changes": len(self.agent_changes),
            "running": self._context.turns.running,
        }

    def worker(self, name: str) -> dict[str, Any]:
        """Return a worker with its handlers and the source of its cells.

        Raises:
            NotFound: no cells made a worker of this name.
        """
        live = self._context.live.get(name.rpartition(":")[2])
        if live is None:
            known = ", ".join(self._context.live.names()) or "none"
            raise NotFound(f"no cells made a worker {name!r}; there are: {known}", code="DN301")
        managed = live.managed
        activity = None if managed is None else activity_of(managed, self._runtime.totals)
        cells = [one.cell for one in live.registrations.values()]
        return {
            "name": live.name,
            "generation": live.generation,
            "state": str(live.state_now),
            "why": live.current.why,
            "handlers": [*self._handlers(live)],
            "sources": [
                {
                    "cell": cell.number,
                    "source": clip(cell.source, LONGEST_SOURCE),
                    "by": cell.by,
                    "in_notebook": self._access.is_in_notebook(cell),
                }
                for cell in cells
            ],
            "last_error": None if managed is None else managed.error,
            "failing": [
                {
                    "handler": one.handler,
                    "error": f"{one.cause.error}: {clip(one.text, 2_000)}",
                    "event": one.event,
                }
                for one in self._failing(live)
            ],
            "activity": activity,
            "by": next((cell.by for cell in reversed(cells) if cell.by is not None), None),
        }

    def _handlers(self, live: LiveWorker) -> Iterator[dict[str, Any]]:
        stale = {one.handler.key: one.why for one in self._context.stale.of(live)}
        for handler, cell in live.handlers():
            line = getattr(
                getattr(inspect.unwrap(handler.function), "__code__", None), "co_firstlineno", None
            )
            where = cell.label if line is None else f"{cell.label}, line {line}"
            yield {
                "name": handler.key.name,
                "on": " ".join(filter(None, handler.key[:2])),
                "location": where,
                "stale": stale.get(handler.key),
            }

    def _failing(self, live: LiveWorker) -> list[Failure]:
        name = None if live.managed is None else live.managed.qualified_name
        return [one for one in self._runtime.failing.all() if one.worker == name][:20]

    def changes(self) -> list[dict[str, Any]]:
        """Return what agents have changed, the newest last."""
        return [change.as_json() for change in self.agent_changes.all()]

    # -- writing ---------------------------------------------------------------------------------------

    async def write_cell(self, source: str, *, by: str, dry_run: bool, timeout: float) -> dict[str, Any]:
        """Run a `%%worker` cell, or check it only, and put it into the notebook where that can be done."""
        if not dry_run:
            self._check_may_write("write a worker")
        return await self._writer.write(source, by=by, dry_run=dry_run, timeout=timeout)

    async def undo(self, change: str, *, by: str, timeout: float) -> dict[str, Any]:
        """Bring back what there was before a change."""
        self._check_may_write("undo a change")
        return await self.undo_by_hand(change, by=by, timeout=timeout)

    async def undo_by_hand(self, change: str, *, by: str, timeout: float) -> dict[str, Any]:
        """Do the same for the person whose notebook it is, who needs no permission."""
        found = self.agent_changes.find(change)
        self.agent_changes.check_undo(found)
        return await self._writer.undo(found, by=by, timeout=timeout)

    async def undo_in_cell(self, change: str, *, by: str) -> dict[str, Any]:
        """Do the same for the cell that runs here."""
        return await self._writer.undo_now(self.agent_changes.find(change), by=by)

    def _check_may_write(self, what: str) -> None:
        if not self._access.may_write:
            raise WritingNotAllowed(
                f"agents may not {what} in this notebook; its user allows it with: %runtime mcp --allow-write"
            )

    # -- events ----------------------------------------------------------------------------------------

    async def fire(
        self, kind: str, payload: dict[str, Any] | None, *, session: str | None, timeout: float, by: str
    ) -> Trace:
        """Publish an event and return all that it causes."""
        check_agent_may_fire(self._context)
        with published_by_agent(by):
            return await self._runtime.fire(kind, payload, session_id=session, timeout=timeout)

    async def replay(
        self,
        event: str,
        *,
        payload: dict[str, Any] | None,
        compare: bool,
        from_state: bool,
        worker: str | None,
        timeout: float,
        by: str,
    ) -> Replayed:
        """Fire a recorded event again, or compare what two generations of a worker do with it."""
        found = await self._find(event)
        if payload is not None:
            found = msgspec.structs.replace(found, payload=payload)
        context = self._context
        if not compare:
            check_agent_may_fire(self._context)
        with published_by_agent(by):
            if compare:
                made = (
                    await compare_on_fork(context, [found], worker=worker, keep=(), edits=())
                    if from_state
                    else await compare_generations(context, [found], worker)
                )
                return Replayed(None, made.lines())
            if from_state:
                trace = await replay_on_fork(
                    context, [found], worker=worker, keep=(), edits=(), timeout=timeout, session=None
                )
            else:
                (trace,) = await replay(self._runtime, [found], only=worker, timeout=timeout)
        return Replayed(trace, [])

    async def _find(self, event: str) -> EventEnvelope:
        return await find(self._runtime, f"#{event}" if is_seq(event) else event)

    # -- time ------------------------------------------------------------------------------------------

    async def advance(self, by_time: float | str, *, timeout: float, by: str) -> dict[str, Any]:
        """Move the virtual clock by seconds, or to what is due `next`."""
        clock = self._runtime.clock
        if not isinstance(clock, SwitchClock) or not clock.is_virtual:
            raise UsageError(
                "the clock is the machine's, and goes by itself; the notebook's user makes it virtual with: "
                "%clock virtual",
                code="DN212",
            )
        try:
            async with asyncio.timeout(timeout):
                if isinstance(by_time, str):
                    runs = await next_due(self._runtime, clock, 1)
                else:
                    runs = await advance(self._runtime, clock, by_time, ADVANCES)
        except TimeoutError:
            raise TooLate(
                f"what is due did not end within {timeout:g} s; it is {clock.now():%Y-%m-%d %H:%M:%S} UTC now"
            ) from None
        return {"now": clock.now().isoformat(), "fired": [*_fired(runs)], "text": clip(str(runs), 20_000)}

    # -- tests and exports -----------------------------------------------------------------------------

    async def make_test(self, event: str, name: str | None, worker: str | None) -> dict[str, Any]:
        """Return the test that keeps a recorded event."""
        return self._cases.make(Trace(await self._find(event), self._runtime.history), name, worker)

    async def run_test(self, source: str, *, timeout: float) -> dict[str, Any]:
        """Run a test with pytest, in a process of its own, on the workers as they are now."""
        if not self._cases.is_made_here(source):
            self._check_may_write("run code of its own as a test (one that make_test has made runs)")
        return await self._cases.run(source, timeout=timeout)

    async def check_export(self, *, timeout: float) -> dict[str, Any]:
        """Return what an export would write, or why it would be refused; nothing is written."""
        name = self._context.head.name or "notebook"
        export = LiveExport(self._context, Path(name), target="dreadnode", topology="uv")
        problems, files, notes = list[dict[str, Any]](), list[str](), list[str]()
        warnings = list[dict[str, Any]]()
        try:
            async with asyncio.timeout(timeout):
                plan = await export.plan()
            files, notes = sorted(plan.files), [*plan.notes]
            warnings = [_problem(one, None) for one in plan.warnings]
        except TimeoutError:
            raise TooLate(f"the check of the export did not end within {timeout:g} s") from None
        except NotExportable as exc:
            problems = [_problem(one, exc.code) for one in exc.problems]
        except ManifestError as exc:
            problems = [
                {"code": code_of(exc), "message": text, "cell": None, "line": None, "way_out": ""}
                for text in exc.problems
            ]
        return {
            "ok": not problems,
            "problems": problems,
            "warnings": warnings,
            "files": files,
            "notes": notes,
            "not_in_notebook": [_told(cell) for cell in self._access.outside(self._context.live)],
        }


def is_seq(event: str) -> bool:
    """Return whether an event is named by its number alone."""
    return event.isdecimal() and len(event) < SHORTEST_ID


def _fired(runs: Runs) -> Iterator[dict[str, Any]]:
    for run in runs.runs[:ADVANCES]:
        yield {
            "worker": run.worker,
            "handler": run.handler,
            "because": run.cause,
            "outcome": run.outcome,
            "error": None if run.error is None else clip(str(run.error), 2_000),
            "published": [event.kind for event in run.published][:50],
        }


def _problem(problem: ExportProblem, code: str | None) -> dict[str, Any]:
    return {
        "code": code,
        "message": clip(f"{problem.name}: {problem.why}", 2_000),
        "cell": None if problem.cell is None else problem.cell.number,
        "line": problem.line,
        "way_out": problem.remedy,
    }


def _told(cell: Any) -> dict[str, Any]:
    return {"cell": cell.number, "by": cell.by, "source": clip(cell.source, LONGEST_SOURCE)}
