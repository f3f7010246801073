"""The magics: each reads its line, asks the runtime, and returns what is to be shown.

All return an awaitable; `transform` puts the `await` in. Where nothing awaits it, it runs all the same.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from pathlib import Path
from typing import TYPE_CHECKING, Any

from IPython.core.magic import (
    Magics,
    cell_magic,
    line_cell_magic,
    line_magic,
    magics_class,
    no_var_expand,
)
from IPython.display import display

from dnworker.capability.manifest import parse_manifest
from dnworker.core.errors import NotFound, UsageError
from dnworker.core.lifecycle import WorkerState
from dnworker_jupyter.display.progress import Progress
from dnworker_jupyter.display.tables import WORKER_VERBS, Note, worker_log, worker_table, workers_table
from dnworker_jupyter.live.processes import TOPOLOGIES, BridgedWorker, until_connected
from dnworker_jupyter.live.worker import LiveWorker
from dnworker_jupyter.magics.agents import agent_parser, model_agent
from dnworker_jupyter.magics.cases import run_case
from dnworker_jupyter.magics.clock import clock_parser, run_clock
from dnworker_jupyter.magics.doctor import examine
from dnworker_jupyter.magics.fire import fire
from dnworker_jupyter.magics.replay import events_parser, replay_parser, run_events, run_replay
from dnworker_jupyter.syntax.options import Parser, asks_help, nearest, read_worker_line, split, worker_parser

if TYPE_CHECKING:
    from dnworker.workers.managed import ManagedWorker
    from dnworker_jupyter.notebook import Notebook

LOG_LINES = 50
RUNTIME_WORDS = ("status", "doctor", "url", "stop", "nest")
CAPABILITY_VERBS = ("export", "check", "diff", "load")


@magics_class
class DnworkerMagics(Magics):
    """The magics of one notebook."""

    def __init__(self, shell: Any, notebook: Notebook) -> None:
        super().__init__(shell)
        self._notebook = notebook

    @no_var_expand
    @cell_magic("worker")
    def worker_cell(self, line: str, cell: str) -> Any:
        """Define a worker: %%worker NAME [--when FLAG] [--env K=V] [--shared] [--restart] [--quiet]

        The body is an ordinary cell in which `worker`, `EventEnvelope` and `RuntimeClient` are bound:

            %%worker bridge
            @worker.on_event("turn.completed")
            async def on_turn(event: EventEnvelope, client: RuntimeClient) -> None:
                await client.notify(title="a turn is done")

        When the cell succeeds, its handlers are the worker's next generation; when it fails, nothing
        changes. Running it again replaces what it registered.

        %%worker NAME --command CMD [--file PATH] runs a program in any language; the body is its file.
        %%worker NAME --test keeps an event and what handlers should do with it; the export has it as a test.
        """
        read = read_worker_line(line)
        if read.test:
            return self._run(worker_parser(), line, lambda _: run_case(self._notebook, read.name, cell))
        if read.command is None:
            # The input transformer takes every %%worker at the top of a cell; here come only the others.
            raise UsageError("%%worker must be the first line of its cell, below only comments")
        return self._run(worker_parser(), line, lambda _: self._program(line, cell))

    @no_var_expand
    @line_magic("worker")
    def worker_line(self, line: str) -> Any:
        """See and drive workers: %worker [list], %worker NAME, %worker VERB NAME"""
        return self._run(_worker_parser(), line, self._worker)

    @no_var_expand
    @cell_magic("agent")
    def agent_cell(self, line: str, cell: str) -> Any:
        """Say how an agent answers turns: %%agent NAME [--model M [--base-url URL]]

            %%agent triage
            async def reply(turn):
                yield f"You said: {turn.message}"

        With a model the body is its system prompt. The agent `default` answers for all that have no script.
        """
        options = agent_parser().read(split(line))
        if not options.model:
            raise UsageError("%%agent must be the first line of its cell, below only comments")
        return self._run(agent_parser(), line, lambda read: model_agent(self._notebook, read, cell))

    @no_var_expand
    @line_cell_magic("fire")
    def fire(self, line: str, cell: str | None = None) -> Any:
        """Fire an event and show what it caused: %fire KIND [key=value ...] [options]; %%fire takes a body

        Values are JSON, Python literals, or {name} for a variable of the notebook. Without a payload a kind
        that the runtime knows gets a realistic one; any other what was fired last, or what its handlers read.
        """
        return self._run(
            fire_parser(is_cell=cell is not None), line, lambda options: fire(self._notebook, options, cell)
        )

    @no_var_expand
    @line_magic("replay")
    def replay(self, line: str) -> Any:
        """Fire recorded events again: %replay #12 | ID | last [N] | FILE [--edit k=v] [--speed X]

        After a restart of the kernel too: the journal keeps them. %replay last 20 --compare runs the
        previous and the present generation of a worker on the same events, in shadow, and shows where
        they differ.
        """
        return self._run(replay_parser(), line, lambda options: run_replay(self._notebook, options))

    @line_magic("clock")
    def clock(self, line: str) -> Any:
        """Schedules, backoff and sleeps under control: %clock [virtual | real | advance 1h30m | next [N]]"""
        return self._run(clock_parser(), line, lambda options: run_clock(self._notebook, options))

    @line_magic("panel")
    def panel(self, line: str) -> Any:
        """Show the panel: every worker's state and handlers, the latest events, and the tail of the log"""
        return self._run(_panel_parser(), line, self._panel)

    @line_magic("runtime")
    def runtime(self, line: str) -> Any:
        """Show the runtime, or examine it: %runtime [status | doctor | url | stop | nest]"""
        return self._run(_runtime_parser(), line, self._runtime)

    @line_magic("events")
    def events(self, line: str) -> Any:
        """Show the latest events: %events [--kind K] [--last N] [--all]; or save them: %events save FILE"""
        return self._run(events_parser(), line, lambda options: run_events(self._notebook, options))

    @no_var_expand
    @cell_magic("capability")
    def capability_cell(self, line: str, cell: str) -> Any:
        """Write the head of the manifest, as YAML: name, version, description, flags, ..."""
        return self._run(
            Parser("%%capability", "The head of capability.yaml."), line, lambda _: self._head(cell)
        )

    @no_var_expand
    @line_magic("capability")
    def capability_line(self, line: str) -> Any:
        """Export the notebook's workers: %capability export PATH | check [PATH] | diff PATH | load PATH

        check runs what an export would write, in a clean environment, and fires recorded events at it and at
        the notebook; export --check writes nothing unless that passes, export --lock has uv lock the scripts.
        """
        return self._run(_capability_parser(), line, self._capability)

    # -- what they do ----------------------------------------------------------------------------------

    async def _worker(self, options: Any) -> object:
        words: list[str] = options.words
        book = self._notebook
        if not words or words == ["list"]:
            return workers_table(book.runtime.workers())
        if len(words) == 1:
            if words[0] in WORKER_VERBS:
                raise UsageError(f"%worker {words[0]} needs the worker's name")
            return worker_table(book, self._find(words[0]))
        verb, name, *rest = words
        if verb not in WORKER_VERBS:
            hint = nearest(verb, WORKER_VERBS)
            raise UsageError(
                f"%worker takes {', '.join(WORKER_VERBS)} and one name, not {' '.join(words)!r}{hint}"
            )
        if (verb == "topology") != (len(rest) == 1):
            raise UsageError(
                f"%worker topology takes a name and one of {', '.join(TOPOLOGIES)}"
                if verb == "topology"
                else f"%worker {verb} takes one name, not {' '.join([name, *rest])!r}"
            )
        managed = self._find(name)
        match verb:
            case "start" | "restart":
                await managed.restart(force=verb == "restart")
                live = book.live.get(managed.name)
                is_live = live is not None and live.managed is managed
                if is_live and isinstance(managed, BridgedWorker) and managed.state is WorkerState.RUNNING:
                    await until_connected(managed)  # running is not yet listening
            case "stop":
                await managed.stop()
            case "remove":
                await book.runtime.remove(managed.qualified_name)
                book.forget(managed)
                return Note(f"{managed.name} is removed")
            case "rollback":
                live = self._live(managed)
                await live.rollback(book.runtime)
                assert live.managed is not None
                state = live.managed.state
                return Note(f"{name} is {state} with its previous handlers, as generation {live.generation}")
            case "topology":
                return await self._move(managed, rest[0])
            case "logs":
                return worker_log(book, managed, options.last)
        why = f": {managed.error}" if managed.error else ""
        return Note(f"{managed.name} is {managed.state}{why}")

    async def _move(self, managed: ManagedWorker, topology: str) -> object:
        chosen = next((one for one in TOPOLOGIES if one == topology), None)
        if chosen is None:
            hint = nearest(topology, TOPOLOGIES)
            raise UsageError(f"there is no topology {topology!r}; there are: {', '.join(TOPOLOGIES)}{hint}")
        live = self._live(managed)
        if live.topology == chosen:
            return Note(f"{live.name} runs {_how(chosen)} already")
        await live.move(self._notebook.runtime, chosen)
        assert live.managed is not None
        return Note(f"{live.name} is {live.managed.state}, {_how(chosen)}, with empty state")

    async def _program(self, line: str, body: str) -> object:
        from dnworker_jupyter.magics.programs import declare_program

        return Note(await declare_program(self._notebook, read_worker_line(line), body))

    def _live(self, managed: ManagedWorker) -> LiveWorker:
        live = self._notebook.live.get(managed.name)
        if live is None or live.managed is not managed:
            raise UsageError(
                f"worker {managed.name!r} was not made of cells with handlers, so it has no generations here"
            )
        return live

    async def _panel(self, options: Any) -> object:
        name = None if options.name is None else self._find(options.name).qualified_name
        if self._notebook.host.has_thread:
            from dnworker_jupyter.display.panel import StaticPanel

            return StaticPanel(self._notebook, name)
        return self._notebook.panel(name)

    async def _runtime(self, options: Any) -> object:
        runtime = self._notebook.runtime
        match options.what:
            case "url":
                return Note(str(runtime.url))
            case "doctor":
                return await examine(self._notebook)
            case "stop":
                up = (WorkerState.RUNNING, WorkerState.STARTING)
                ran = [w.qualified_name for w in runtime.workers() if w.state in up]
                await runtime.stop()
                self._notebook.stopped(ran)
                return Note(
                    "the runtime is stopped, and its workers with it; the next magic starts them again"
                )
            case "nest":
                told = _nest()
                self._notebook.is_nested = True
                return Note(told)
        states = [str(worker.state) for worker in runtime.workers()]
        counts = ", ".join(f"{states.count(s)} {s}" for s in dict.fromkeys(states)) or "none"
        return Note(
            f"runtime {runtime.runtime_id} at {runtime.url}; {runtime.bus.latest_seq} events; "
            f"workers: {counts}"
        )

    async def _head(self, body: str) -> object:
        cell = self._notebook.cells.running
        label = cell.label if cell is not None else "%%capability"
        manifest = parse_manifest(body, Path.cwd(), is_head=True, source=label, first_line=2)
        self._notebook.declare(body, manifest, label)
        flags = f", flags: {', '.join(manifest.flags)}" if manifest.flags else ""
        return Note(f"capability {manifest.name} {manifest.version}{flags}")

    async def _capability(self, options: Any) -> object:
        if options.verb == "load" and options.path is not None:
            capability = await self._notebook.runtime.load(Path(options.path).expanduser())
            return workers_table(list(capability.workers.values()))
        from dnworker_jupyter.export.export import LiveExport
        from dnworker_jupyter.export.slicing.problems import NotExportable, Report

        if options.verb != "check" and options.path is None:
            raise UsageError(
                f"%capability {options.verb} needs a directory, as in: %capability {options.verb} out/demo"
            )
        given = [name for name in ("force", "lock", "check", "events", "sdk") if getattr(options, name)]
        unused = {
            "diff": given,
            "load": given,
            "check": [n for n in given if n in ("force", "lock", "check")],
        }
        if not options.check and options.verb == "export":
            unused["export"] = [n for n in given if n in ("events", "sdk")]
        if unused.get(options.verb):
            raise UsageError(
                f"%capability {options.verb} does nothing with --{unused[options.verb][0]}; leave it out"
            )
        path = Path(options.path or self._notebook.capability_name or "notebook").expanduser()
        export = LiveExport(self._notebook, path, target=options.target, topology=options.topology)
        is_terminal = self._notebook.host.has_thread
        progress = Progress(f"%capability {options.verb}", terminal=is_terminal)
        ended = "stopped"
        try:
            match options.verb:
                case "diff":
                    return Note(str(export.diff()))
                case "check":
                    report = await export.check(
                        export.plan(), progress, events=_path(options.events), sdk=options.sdk
                    )
                    if not report.ok:
                        raise UsageError(str(report))
                    told = str(report)
                case _:
                    told = await export.write(
                        progress,
                        force=options.force,
                        lock=options.lock,
                        checked=options.check,
                        events=_path(options.events),
                        sdk=options.sdk,
                    )
            ended = "done"
        except NotExportable as exc:
            if not is_terminal:  # a terminal has the text of the error
                display(Report(exc.title, exc.problems))
                exc.is_shown = True
            raise
        except asyncio.CancelledError:
            ended = "interrupted"
            raise Interrupted(
                f"%capability {options.verb} was interrupted; what it ran is ended, and nothing was written"
            ) from None
        finally:
            progress.close(ended)
        return Note(told)

    # -- helpers ---------------------------------------------------------------------------------------

    def _find(self, name: str) -> ManagedWorker:
        try:
            return self._notebook.runtime.worker(name)
        except NotFound as exc:
            raise UsageError(str(exc)) from None

    def _run(self, parser: Parser, line: str, act: Any) -> asyncio.Future[object]:
        options = parser.read(split(line)) if not asks_help(line) else None
        return asyncio.ensure_future(self._act(act, options, parser))

    async def _act(self, act: Any, options: Any, parser: Parser) -> object:
        if options is None:
            return Note(parser.format_help())

        def make() -> Coroutine[Any, Any, object]:
            made: Coroutine[Any, Any, object] = act(options)
            return made

        try:
            await self._notebook.ready()
            return await self._notebook.enter(make)
        except asyncio.CancelledError:  # the cell was interrupted: no traceback of ours for that
            raise Interrupted(f"{parser.prog} was interrupted; what it began goes on") from None


class Interrupted(UsageError):
    """The user interrupted a magic while it waited."""


def parsers() -> dict[str, Parser]:
    """Return the parser of every magic, for completion and help."""
    return {
        "%%worker": worker_parser(),
        "%worker": _worker_parser(),
        "%%agent": agent_parser(),
        "%fire": fire_parser(),
        "%%fire": fire_parser(is_cell=True),
        "%replay": replay_parser(),
        "%events": events_parser(),
        "%clock": clock_parser(),
        "%panel": _panel_parser(),
        "%runtime": _runtime_parser(),
        "%capability": _capability_parser(),
    }


def fire_parser(*, is_cell: bool = False) -> Parser:
    """Return the parser of the `%fire` line."""
    parser = Parser("%%fire" if is_cell else "%fire", "Fire an event and show what it caused.")
    parser.add_argument("kind", nargs="?", help="the event's kind, such as turn.completed")
    parser.add_argument("payload", nargs="*", metavar="key=value", help="fields of the payload")
    parser.add_argument("--session", metavar="ID", help="publish in this session")
    parser.add_argument("--worker", metavar="NAME", help="only this worker gets it")
    parser.add_argument("--times", type=int, default=1, metavar="N", help="fire N times")
    parser.add_argument("--rate", type=float, metavar="R", help="at most R a second")
    parser.add_argument(
        "--timeout", type=float, default=30.0, metavar="S", help="wait at most S seconds, 30 by default"
    )
    parser.add_argument("--no-wait", action="store_true", help="do not wait for what it causes")
    parser.add_argument("--template", action="store_true", help="fire nothing; show a payload to edit")
    parser.add_argument(
        "--chaos",
        metavar="WORDS",
        help="faults on purpose: seed=7,duplicate=0.2,delay=0.1,reorder,fail=client.publish:3",
    )
    return parser


def _worker_parser() -> Parser:
    parser = Parser("%worker", "See and drive workers.")
    parser.add_argument("words", nargs="*", metavar="[list] | NAME | VERB NAME", help=", ".join(WORKER_VERBS))
    parser.add_argument("--last", type=int, default=LOG_LINES, metavar="N", help="with logs: how many lines")
    return parser


def _panel_parser() -> Parser:
    parser = Parser("%panel", "Show the panel.")
    parser.add_argument("name", nargs="?", help="the worker to show; all when left out")
    return parser


def _runtime_parser() -> Parser:
    parser = Parser("%runtime", "Show the runtime, or examine it.")
    parser.add_argument("what", nargs="?", default="status", choices=RUNTIME_WORDS)
    return parser


def _capability_parser() -> Parser:
    parser = Parser("%capability", "Export the notebook's workers, or load a capability.")
    parser.add_argument("verb", choices=CAPABILITY_VERBS)
    parser.add_argument("path", nargs="?", help="a directory")
    parser.add_argument(
        "--target", choices=["dreadnode", "dnworker"], default="dreadnode", help="what scripts import"
    )
    parser.add_argument(
        "--topology", choices=["uv", "python", "in-process"], default="uv", help="how workers run"
    )
    parser.add_argument("--force", action="store_true", help="write over files that were edited by hand")
    parser.add_argument("--lock", action="store_true", help="have uv lock the scripts' requirements")
    parser.add_argument(
        "--check", action="store_true", help="run it first, and write nothing unless it passes"
    )
    parser.add_argument("--events", metavar="FILE", help="with a check: fire these, not recorded ones")
    parser.add_argument(
        "--sdk", metavar="PYTHON", help="with a check: an interpreter that has the reference's SDK"
    )
    return parser


def _path(text: str | None) -> Path | None:
    return None if text is None else Path(text).expanduser()


def _how(topology: str) -> str:
    return topology if topology == "in-process" else f"as a process ({topology})"


def _nest() -> str:
    """Make asyncio re-entrant, for those who must call blocking helpers in cells."""
    try:
        import nest_asyncio2
    except ImportError:
        raise UsageError(
            "%runtime nest needs nest-asyncio2; install it with: %pip install nest-asyncio2"
        ) from None
    nest_asyncio2.apply()
    return (
        "asyncio is re-entrant in this kernel from now on: asyncio.run(...) works in cells, and every task "
        "costs more; %runtime doctor measures it. A restart of the kernel undoes it"
    )
