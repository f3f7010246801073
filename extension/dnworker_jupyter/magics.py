"""The magics: each reads its line, asks the runtime, and returns what is to be shown.

All return an awaitable; `transform` puts the `await` in. Where nothing awaits it, it runs all the same.
"""

from __future__ import annotations

import asyncio
import time
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

from dnworker.capability.manifest import parse_manifest
from dnworker.errors import ApiError, Invalid, NotFound, Refused
from dnworker.templates import TEMPLATES
from dnworker.trace import Trace
from dnworker_jupyter.options import Parser, read_body, read_payload, split
from dnworker_jupyter.registration import LiveWorker
from dnworker_jupyter.trace_view import Table

if TYPE_CHECKING:
    from dnworker.manager import ManagedWorker
    from dnworker_jupyter.notebook import Notebook

LOG_LINES = 50


@magics_class
class DnworkerMagics(Magics):
    """The magics of one notebook."""

    def __init__(self, shell: Any, notebook: Notebook) -> None:
        super().__init__(shell)
        self._notebook = notebook

    @no_var_expand
    @cell_magic("worker")
    def worker_cell(self, line: str, cell: str) -> None:
        """Define a worker: %%worker NAME [--when FLAG] [--env K=V] [--shared] [--restart] [--quiet]

        The body is an ordinary cell in which `worker`, `EventEnvelope` and `RuntimeClient` are bound:

            %%worker bridge
            @worker.on_event("turn.completed")
            async def on_turn(event: EventEnvelope, client: RuntimeClient) -> None:
                await client.notify(title="a turn is done")

        When the cell succeeds, its handlers are the worker's next generation; when it fails, nothing
        changes. Running it again replaces what it registered.
        """
        # The input transformer takes every %%worker at the top of a cell; here come only the others.
        raise Refused("%%worker must be the first line of its cell, below only comments")

    @no_var_expand
    @line_magic("worker")
    def worker_line(self, line: str) -> Any:
        """See and drive workers: %worker [list], %worker NAME, %worker VERB NAME"""
        parser = Parser("%worker", "See and drive workers.")
        parser.add_argument("words", nargs="*", metavar="[list] | NAME | VERB NAME", help=", ".join(_VERBS))
        return self._run(parser, line, self._worker)

    @no_var_expand
    @line_cell_magic("fire")
    def fire(self, line: str, cell: str | None = None) -> Any:
        """Fire an event and show what it caused: %fire KIND [key=value ...] [options]; %%fire takes a body

        Values are JSON, Python literals, or {name} for a variable of the notebook. Without a payload a kind
        that the runtime knows gets a realistic one.
        """
        parser = Parser("%%fire" if cell is not None else "%fire", "Fire an event and show what it caused.")
        parser.add_argument("kind", nargs="?", help="the event's kind, such as turn.completed")
        parser.add_argument("payload", nargs="*", metavar="key=value", help="fields of the payload")
        parser.add_argument("--session", metavar="ID", help="publish in this session")
        parser.add_argument("--times", type=int, default=1, metavar="N", help="fire N times")
        parser.add_argument("--rate", type=float, metavar="R", help="at most R a second")
        parser.add_argument("--timeout", type=float, default=30.0, metavar="S", help="wait at most S seconds")
        parser.add_argument("--no-wait", action="store_true", help="do not wait for what it causes")
        return self._run(parser, line, lambda options: self._fire(options, cell))

    @line_magic("panel")
    def panel(self, line: str) -> Any:
        """Show the panel: every worker's state and handlers, and the tail of the log"""
        return self._run(Parser("%panel", "Show the panel."), line, self._panel)

    @line_magic("runtime")
    def runtime(self, line: str) -> Any:
        """Show the runtime: %runtime [status|url]"""
        parser = Parser("%runtime", "Show the runtime.")
        parser.add_argument("what", nargs="?", default="status", choices=["status", "url"])
        return self._run(parser, line, self._runtime)

    @line_magic("events")
    def events(self, line: str) -> Any:
        """Show the latest events: %events [--kind K] [--last N]"""
        parser = Parser("%events", "Show the latest events.")
        parser.add_argument("--kind", metavar="K", help="only this kind")
        parser.add_argument("--last", type=int, default=20, metavar="N", help="how many")
        return self._run(parser, line, self._events)

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
        """Export the notebook's workers, or load a capability: %capability export PATH | load PATH"""
        parser = Parser("%capability", "Export the notebook's workers, or load a capability.")
        parser.add_argument("verb", choices=["export", "load"])
        parser.add_argument("path", help="a directory")
        parser.add_argument(
            "--target", choices=["dreadnode", "dnworker"], default="dreadnode", help="what scripts import"
        )
        parser.add_argument(
            "--topology", choices=["uv", "python", "in-process"], default="uv", help="how workers run"
        )
        parser.add_argument("--force", action="store_true", help="write over files that were edited by hand")
        return self._run(parser, line, self._capability)

    # -- what they do ----------------------------------------------------------------------------------

    async def _worker(self, options: Any) -> object:
        words: list[str] = options.words
        if not words or words == ["list"]:
            return workers_table(self._notebook.runtime.workers())
        if len(words) == 1:
            return self._describe(self._find(words[0]))
        verb, name, *rest = words
        if verb not in _VERBS or rest:
            raise Refused(f"%worker takes {', '.join(_VERBS)} and one name, not {' '.join(words)!r}")
        managed = self._find(name)
        match verb:
            case "start":
                await managed.restart()
            case "restart":
                await managed.restart(force=True)
            case "stop":
                await managed.stop()
            case "remove":
                await self._notebook.runtime.remove(managed.qualified_name)
                self._notebook.live.pop(managed.name, None)
                return Note(f"{managed.name} is removed")
            case "rollback":
                live = self._live(managed)
                await live.rollback(self._notebook.runtime)
                return Note(
                    f"{name} is {managed.state} with its previous handlers, as generation {live.generation}"
                )
            case "logs":
                lines = self._notebook.runtime.logs.tail(LOG_LINES, managed.qualified_name)
                return Note("\n".join(line.text for line in lines) or f"{name} has said nothing yet")
        why = f": {managed.error}" if managed.error else ""
        return Note(f"{managed.name} is {managed.state}{why}")

    def _live(self, managed: ManagedWorker) -> LiveWorker:
        live = self._notebook.live.get(managed.name)
        if live is None or live.managed is not managed:
            raise Refused(
                f"worker {managed.name!r} was not made in this notebook, so it has no earlier generation"
            )
        return live

    def _describe(self, managed: ManagedWorker) -> Table:
        rows = []
        live = self._notebook.live.get(managed.name)
        cells = {(h.decorator, h.what, h.name): cell.label for h, cell in live.handlers()} if live else {}
        for key, figures in managed.figures.items():
            decorator, what, name = key
            last = str(figures.last_error) if figures.last_error else ""
            row = [
                f"{decorator} {what}".strip(),
                name,
                cells.pop(key, ""),
                str(figures.calls),
                str(figures.errors),
                last,
            ]
            rows.append(row)
        for (decorator, what, name), label in cells.items():
            rows.append([f"{decorator} {what}".strip(), name, label, "0", "0", ""])
        return Table(
            ["registered for", "handler", "from", "calls", "errors", "last error"], rows, "no handlers"
        )

    async def _fire(self, options: Any, body: str | None) -> object:
        if options.kind is None:
            raise Refused("%fire needs a kind, as in: %fire turn.completed turn_id=t1")
        payload = read_payload(options.payload, self.shell.user_ns) if body is None else read_body(body)
        if options.times < 1:
            raise Refused(f"--times {options.times}: fire at least once")
        if options.rate is not None and options.rate <= 0:
            raise Refused(f"--rate {options.rate:g}: more than none a second is wanted")
        runtime = self._notebook.runtime
        traces: list[Trace] = []
        started = time.monotonic()
        for number in range(options.times):
            if options.rate and number:
                await asyncio.sleep(max(0.0, started + number / options.rate - time.monotonic()))
            try:
                trace = await runtime.fire(
                    options.kind,
                    payload,
                    session_id=options.session,
                    timeout=options.timeout,
                    wait=not options.no_wait,
                )
            except (Invalid, ApiError) as exc:
                raise Refused(f"%fire {options.kind}: {exc}") from None
            traces.append(trace)
        failed = [trace for trace in traces if not trace.ok and not options.no_wait]
        shown = failed[-1] if failed else traces[-1]
        if options.times > 1:
            print(f"fired {options.times} times: {len(traces) - len(failed)} ok, {len(failed)} not ok")  # noqa: T201
        if not shown.invocations and not options.no_wait:
            print(self._nobody(options.kind))  # noqa: T201
        return shown

    def _nobody(self, kind: str) -> str:
        """Say that no handler ran, and which kind may have been meant."""
        import difflib

        workers = self._notebook.runtime.workers()
        heard = {key[1] for w in workers for key in w.figures if key[0] == "on_event"}
        for live in self._notebook.live.values():
            heard |= {h.what for h, _ in live.handlers() if h.decorator == "on_event"}
        if kind in heard:
            return f"no handler ran for {kind}; is its worker running? see %worker"
        near = difflib.get_close_matches(kind, sorted(heard | TEMPLATES.keys()), n=1)
        hint = f"; did you mean {near[0]}?" if near and near[0] != kind else ""
        others = [w.name for w in workers if w.topology == "subprocess"]
        elsewhere = f" (what {', '.join(others)} does with it is in %worker logs)" if others else ""
        return f"no handler in this notebook listens to {kind}{hint}{elsewhere}"

    async def _panel(self, _: Any) -> object:
        return self._notebook.panel()

    async def _runtime(self, options: Any) -> object:
        runtime = self._notebook.runtime
        if options.what == "url":
            return Note(str(runtime.url))
        states = [str(worker.state) for worker in runtime.workers()]
        counts = ", ".join(f"{states.count(s)} {s}" for s in dict.fromkeys(states)) or "none"
        return Note(
            f"runtime {runtime.runtime_id} at {runtime.url}; {runtime.bus.latest_seq} events; "
            f"workers: {counts}"
        )

    async def _events(self, options: Any) -> object:
        history = self._notebook.runtime.history
        found = [e for e in history.events(10_000) if options.kind in (None, e.kind)][-options.last :]
        rows = [
            [f"#{e.seq}", e.timestamp.strftime("%H:%M:%S"), e.kind, e.session_id or "", str(e.payload)[:80]]
            for e in found
        ]
        return Table(["event", "at", "kind", "session", "payload"], rows, "no events yet")

    async def _head(self, body: str) -> object:
        cell = self._notebook.cells.running
        label = cell.label if cell is not None else "%%capability"
        manifest = parse_manifest(body, Path.cwd(), is_head=True, source=label, first_line=2)
        self._notebook.declare(body, manifest, label)
        flags = f", flags: {', '.join(manifest.flags)}" if manifest.flags else ""
        return Note(f"capability {manifest.name} {manifest.version}{flags}")

    async def _capability(self, options: Any) -> object:
        path = Path(options.path).expanduser()
        if options.verb == "load":
            capability = await self._notebook.runtime.load(path)
            return workers_table(list(capability.workers.values()))
        from dnworker_jupyter.export.live import export_notebook

        return Note(
            export_notebook(
                self._notebook, path, target=options.target, topology=options.topology, force=options.force
            )
        )

    # -- helpers ---------------------------------------------------------------------------------------

    def _find(self, name: str) -> ManagedWorker:
        try:
            return self._notebook.runtime.worker(name)
        except NotFound as exc:
            raise Refused(f"%worker: {exc}") from None

    def _run(self, parser: Parser, line: str, act: Any) -> asyncio.Task[object]:
        options = parser.read(split(line)) if not _asks_help(line) else None
        return asyncio.ensure_future(self._act(act, options, parser))

    async def _act(self, act: Any, options: Any, parser: Parser) -> object:
        if options is None:
            return Note(parser.format_help())
        await self._notebook.ready()
        coro: Coroutine[Any, Any, object] = act(options)
        return await coro


class Note:
    """A text that is displayed as it is."""

    def __init__(self, text: str) -> None:
        self.text = text

    def __repr__(self) -> str:
        return self.text


def workers_table(workers: list[ManagedWorker]) -> Table:
    """Return the table that `%worker` shows."""
    rows = []
    for worker in workers:
        figures = worker.figures.values()
        rows.append(
            [
                worker.qualified_name,
                str(worker.state),
                worker.topology_label,
                str(worker.generation),
                str(sum(f.calls for f in figures)),
                str(sum(f.errors for f in figures)),
                str(worker.restarts),
                worker.error or worker.last_handler_error or "",
            ]
        )
    headings = ["worker", "state", "topology", "generation", "calls", "errors", "restarts", "last error"]
    return Table(headings, rows, "no workers yet; define one in a %%worker cell")


def _asks_help(line: str) -> bool:
    words = line.split()
    return "-h" in words or "--help" in words


_VERBS = ("start", "stop", "restart", "rollback", "remove", "logs")
