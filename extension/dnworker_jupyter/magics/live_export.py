"""`LiveExport`: exports what runs in this kernel; used by `%capability`, the panel and `Processes`."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import takewhile
from pathlib import Path

import msgspec

from dnworker.core.envelope import EventEnvelope
from dnworker.core.errors import UsageError
from dnworker.core.handlers import HandlerKey
from dnworker.core.topology import Topology
from dnworker.engine.capability import LIVE_CAPABILITY
from dnworker.engine.replay import recorded
from dnworker.runtime import Runtime
from dnworker.sessions.session import Session
from dnworker.workers.registry import keys_of
from dnworker_jupyter.export.check.check import RunInNotebook
from dnworker_jupyter.export.check.notebook import Company, NotebookRequest, run_workers
from dnworker_jupyter.export.check.record import CheckRun, SessionFacts
from dnworker_jupyter.export.check.start import values_of
from dnworker_jupyter.export.check.turns import Script
from dnworker_jupyter.export.export import EVENTS_SEARCHED, Export
from dnworker_jupyter.export.planning.plan import Plan, Ran, plan_export
from dnworker_jupyter.export.planning.types import OnProgress, TargetName
from dnworker_jupyter.export.proof.rounds import Kernel, proved
from dnworker_jupyter.export.slicing.cases import is_test
from dnworker_jupyter.export.slicing.problems import ExportProblem, NotExportable
from dnworker_jupyter.kernel.cells import CellBook
from dnworker_jupyter.live.processes import ProcessTopology
from dnworker_jupyter.live.removal import left_out
from dnworker_jupyter.live.shadow import Copies, reached
from dnworker_jupyter.live.worker import LiveWorker
from dnworker_jupyter.live.workers import LiveWorkers
from dnworker_jupyter.magics.context import MagicContext
from dnworker_jupyter.syntax.cell import Cell, LeftOut
from dnworker_jupyter.syntax.cell_magic import cell_magic

MESSAGES_KEPT = 200
"""Messages of a session that a check begins with."""


class LiveExport(Export):
    """An export of what was last run in this kernel."""

    def __init__(
        self, context: MagicContext, directory: Path, *, target: TargetName, topology: Topology
    ) -> None:
        super().__init__(
            context.cells.runs(),
            Path.cwd(),
            directory,
            target=target,
            topology=topology,
            registered=registered_names(context.live),
            ran=Ran(
                live_cells(context.cells, context.live, context.head.cell), left_out=_left_out(context.live)
            ),
        )
        self._context = context

    async def plan(self, on_progress: OnProgress | None = None) -> Plan:
        """Return what the export will write, proved by the values of this kernel: see `rounds.proved`.

        Raises:
            NotExportable: something cannot be exported, or a script would behave differently.
            ManifestError: the manifest's head breaks a rule.
            UsageError: there is no room for the proof.
        """
        workers = {
            live.name: [(handler.key, handler.function) for handler, _ in live.handlers()]
            for live in self._context.live
        }
        has_run = bool(self._context.runtime.history.invocations())
        kernel = Kernel(self._context.names, workers, Path.cwd(), has_run)
        if on_progress is not None:
            on_progress("comparing what scripts define with the notebook", 0, 1)
        try:
            plan = await proved(self.make_plan, kernel)
        except NotExportable as exc:
            raise NotExportable(
                [*exc.problems, *forgotten_runs(self._context.cells)], code=exc.code
            ) from None
        except OSError as exc:
            raise UsageError(
                f"there is no room for a proof: {exc.strerror or exc}; nothing was written", code="DN505"
            ) from exc
        forgotten = (f"{p.name} {p.why}" for p in forgotten_runs(self._context.cells))
        outside = (
            f"{cell.label} of agent {cell.by} is exported, and is not in the notebook: %runtime mcp shows it"
            for cell in self._context.agents.outside(self._context.live)
        )
        return replace(plan, notes=(*plan.notes, *forgotten, *outside))

    def handlers(self, plan: Plan) -> dict[str, list[HandlerKey]]:
        """Return the handlers that run."""
        return {live.name: keys_of(live.make_shadow()) for live in self._workers(plan)}

    async def recorded(self) -> list[EventEnvelope]:
        """Return events of this kernel, and of earlier ones, that came from outside."""
        return await recorded(self._context.runtime, EVENTS_SEARCHED, whole=False)

    def run_in_notebook(self, plan: Plan) -> RunInNotebook | None:
        """Return what fires events at the notebook's workers."""
        workers, context = self._workers(plan), self._context
        return lambda request, on_progress: run_apart(workers, context, request, on_progress)

    def held(self, plan: Plan) -> list[str]:
        """Return the names of the notebook's containers that its handlers reach, and that hold something."""
        names = self._context.names
        found = {name for live in self._workers(plan) for name in reached(live.make_shadow(), names)}
        return sorted(name for name in found if names.get(name))

    def say(self, text: str) -> None:
        """Say what is about to run below the cell."""
        sys.stdout.write(f"{text}\n")

    def was_interrupted(self) -> bool:
        """Return whether the cell was interrupted."""
        return self._context.interrupts.came

    def _workers(self, plan: Plan) -> list[LiveWorker]:
        found = [self._context.live.get(name) for name in plan.scripts]
        return [live for live in found if live is not None]


def live_cells(cells: CellBook, live: LiveWorkers, head: Cell | None) -> list[Cell]:
    """Return the cells that count: of workers what is registered now, of others what ran to its end.

    The `head` of the capability counts while it is in effect.
    """
    registered = {r.cell.key: r.cell for worker in live for r in worker.registrations.values()}
    registered |= {cell.key: cell for cell in live.programs.values()}
    registered |= {head.key: head} if head is not None else {}
    others = [c for c in cells.all() if c.key not in registered and cell_magic(c.source) != "worker"]
    # A test that is red is a test all the same.
    tests = [cell for cell in cells.tried() if is_test(cell.source, readable=True)]
    return sorted([*registered.values(), *others, *tests], key=lambda cell: cell.number)


def _left_out(live: LiveWorkers) -> list[LeftOut]:
    """Return the handlers of live cells that `%worker remove` took out."""
    return [one for worker in live for one in left_out(worker)]


def forgotten_runs(cells: CellBook) -> list[ExportProblem]:
    """Return what an export says where the kernel has forgotten runs of cells; nothing where it has not."""
    if not cells.forgotten:
        return []
    why = f"has forgotten the first {cells.forgotten:,} runs of cells that ran again since"
    return [ExportProblem("the kernel", why, "restart it, run all cells once, and export again")]


def registered_names(live: LiveWorkers) -> dict[str, list[str]]:
    """Return the names of the handlers that run live, by worker."""
    return {worker.name: [handler.name for handler, _ in worker.handlers()] for worker in live}


def export_worker(
    cells: CellBook, live: LiveWorkers, name: str, topology: ProcessTopology
) -> tuple[Mapping[str, bytes], str]:
    """Export one live worker, as `live.processes` runs it: the files by path, and the path of its script.

    Raises:
        NotExportable: something that its handlers need cannot leave the kernel.
    """
    try:
        plan = plan_export(
            cells.runs(),
            default_name=LIVE_CAPABILITY,
            target="dnworker",
            topology=topology,
            only=name,
            registered=registered_names(live),
            ran=Ran(live_cells(cells, live, None), suspects=None, left_out=_left_out(live)),
        )
    except NotExportable as exc:
        raise NotExportable([*exc.problems, *forgotten_runs(cells)], code=exc.code) from None
    return plan.files, str(plan.scripts[name])


async def run_apart(
    workers: Sequence[LiveWorker], context: MagicContext, request: NotebookRequest, on_progress: OnProgress
) -> CheckRun:
    """Return what the workers' present handlers do with events, in a runtime of their own.

    There the capability is called as in the export, and has the agents and skills of its `head`.

    The live workers and the notebook's names do not change. The handlers run for real, their startup, tasks
    and schedules too: a socket or a file that one opens is opened. Scripted agents are copied with them.
    """
    runtime = context.runtime
    instead = values_of(request.manifest, request.afresh)
    copies = Copies(context.names, instead, ends_lines=True)
    made = [copies.worker(live.make_shadow()) for live in workers]
    replies, default = runtime.agents.scripts()
    script = Script(
        {name: copies.of(reply) for name, reply in replies.items()},
        copies.of(default),
        lambda agent, message: remembered(runtime, agent, message),
    )
    tools = {tool.name: copies.of(tool.function) for tool in runtime.tools.functions()}
    sessions = sessions_of(runtime, request.scene.envelopes())
    scene = msgspec.structs.replace(request.scene, sessions=sessions)
    company = Company(script, runtime.capabilities.agents(), tools)
    copies.note_start()
    run = await run_workers(made, replace(request, scene=scene), company, on_progress)
    return msgspec.structs.replace(run, changed=copies.changed(), sessions=sessions)


def sessions_of(runtime: Runtime, events: Sequence[EventEnvelope]) -> list[SessionFacts]:
    """Return the live sessions that events belong to."""
    store = runtime.sessions
    named = dict.fromkeys(e.session_id for e in events if e.session_id is not None and e.session_id in store)
    return [session_facts(store.get(session_id)) for session_id in named]


def session_facts(session: Session) -> SessionFacts:
    """Return what a check needs to know of a session."""
    messages = session.messages[-MESSAGES_KEPT:]
    return SessionFacts(session.session_id, session.agent, session.model, session.policy.name, messages)


def remembered(runtime: Runtime, agent: str, message: str) -> str | None:
    """Return what an agent answered to a message last, in whatever session; None if it never did."""
    for session in runtime.sessions.list():
        for place, asked in reversed([*enumerate(session.messages)]):
            about = asked.metadata or {}
            if asked.role == "user" and asked.content == message and about.get("agent") == agent:
                answers = takewhile(lambda m: m.role != "user", session.messages[place + 1 :])
                return "".join(m.content for m in answers if m.role == "assistant")
    return None
