"""`DnworkerMagics`: registers each magic; it parses the line, and runs the magic's module on the loop.

All return a `Pending`; `transform` puts the `await` in. Where nothing awaits it, it runs all the same.
Each imports its module when it is used: a notebook has few of them, and `%load_ext` is to be quick.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

from IPython.core.magic import (
    Magics,
    cell_magic,
    line_cell_magic,
    line_magic,
    magics_class,
    no_var_expand,
)

from dnworker.core.errors import UsageError
from dnworker_jupyter.display.tables import Note
from dnworker_jupyter.kernel.waiting_cells import ALL, LIFE, STARTS
from dnworker_jupyter.magics.context import Interrupted, MagicContext
from dnworker_jupyter.syntax.options import Parser, asks_help, read_worker_line, split, worker_parser

T = TypeVar("T")

_WAITS_FOR = {"%fire": STARTS, "%%fire": STARTS, "%replay": STARTS, "%clock": ALL}
"""The runs of handlers that the cell of a magic waits for, beside those that its events cause."""


def parsers() -> dict[str, Parser]:
    """Return the parser of every magic, for completion and help."""
    from dnworker_jupyter.magics.agent import agent_parser
    from dnworker_jupyter.magics.capability import capability_parser
    from dnworker_jupyter.magics.clock import clock_parser
    from dnworker_jupyter.magics.dead import dead_parser
    from dnworker_jupyter.magics.events import events_parser
    from dnworker_jupyter.magics.explain import explain_parser
    from dnworker_jupyter.magics.fire import fire_parser
    from dnworker_jupyter.magics.head import head_parser
    from dnworker_jupyter.magics.map import map_parser
    from dnworker_jupyter.magics.panel import panel_parser
    from dnworker_jupyter.magics.replay import replay_parser
    from dnworker_jupyter.magics.runtime import runtime_parser
    from dnworker_jupyter.magics.worker import worker_line_parser

    return {
        "%%worker": worker_parser(),
        "%worker": worker_line_parser(),
        "%%agent": agent_parser(),
        "%fire": fire_parser(),
        "%%fire": fire_parser(is_cell=True),
        "%replay": replay_parser(),
        "%events": events_parser(),
        "%clock": clock_parser(),
        "%dead": dead_parser(),
        "%explain": explain_parser(),
        "%panel": panel_parser(),
        "%map": map_parser(),
        "%runtime": runtime_parser(),
        "%capability": capability_parser(),
        "%%capability": head_parser(),
    }


def install_magics(shell: Any, context: MagicContext) -> Callable[[], None]:
    """Register the magics; returns what takes them out again."""
    registered = DnworkerMagics(shell, context)
    shell.register_magics(registered)

    def uninstall() -> None:
        manager = shell.magics_manager
        for kind, names in registered.magics.items():
            for name in names:
                manager.magics[kind].pop(name, None)
        for lists in (shell.configurables, list(manager.registry)):
            if registered in lists:
                lists.remove(registered)
        manager.registry.pop(type(registered).__name__, None)

    return uninstall


@magics_class
class DnworkerMagics(Magics):
    """The magics of one notebook."""

    def __init__(self, shell: Any, context: MagicContext) -> None:
        super().__init__(shell)
        self._context = context

    @no_var_expand
    @cell_magic("worker")
    def worker_cell(self, line: str, cell: str) -> Any:
        """Define a worker: %%worker NAME [--when FLAG] [--env K=V] [--shared] [--restart] [--quiet].

        The body is an ordinary cell in which `worker`, `EventEnvelope` and `RuntimeClient` are bound. When
        the cell succeeds, its handlers are the worker's next generation; when it fails, nothing changes.
        Running it again replaces what it registered. %%worker --help lists the options.

        %%worker NAME --command CMD [--file PATH] runs a program in any language; the body is its file.
        %%worker NAME --test keeps an event and what handlers should do with it; the export has it as a test.

        Examples:
            >>> %%worker greeter --quiet
            ... @worker.on_event("demo.met")
            ... async def on_met(event: EventEnvelope, client: RuntimeClient) -> None:
            ...     await client.publish("demo.greeted", {"name": event.payload["name"]})
        """
        from dnworker_jupyter.magics.worker import run_worker_cell

        options = read_worker_line(line)
        if not options.test and options.command is None:
            # The input transformer takes every %%worker at the top of a cell; here come only the others.
            raise UsageError("%%worker must be the first line of its cell, below only comments", code="DN104")
        return self._start("%%worker", lambda: run_worker_cell(self._context, options, cell))

    @no_var_expand
    @line_magic("worker")
    def worker_line(self, line: str) -> Any:
        """See and control workers: %worker [list], %worker NAME, %worker VERB NAME.

        The verbs are start, stop, restart, remove, undo, topology, state and more: %worker --help lists them
        all.

        Examples:
            >>> %worker list
            worker ...
        """
        from dnworker_jupyter.magics.worker import WorkerOptions, run_worker_line, worker_line_parser

        return self._run(worker_line_parser(), WorkerOptions, line, run_worker_line)

    @no_var_expand
    @cell_magic("agent")
    def agent_cell(self, line: str, cell: str) -> Any:
        """Define how an agent answers turns: %%agent NAME [--model M [--base-url URL]].

        The body has one function of the turn; it returns text, or yields pieces of it. With a model the body
        is its system prompt. The agent `default` answers for all that have no script.

        Examples:
            >>> %%agent triage
            ... async def reply(turn):
            ...     yield f"You said: {turn.message}"
            agent triage answers by reply
        """
        from dnworker_jupyter.magics.agent import AgentOptions, agent_parser, run_agent

        options = agent_parser().read_as(AgentOptions, split(line))
        if not options.model:
            raise UsageError("%%agent must be the first line of its cell, below only comments", code="DN104")
        return self._start("%%agent", lambda: run_agent(self._context, options, cell))

    @no_var_expand
    @line_cell_magic("fire")
    def fire(self, line: str, cell: str | None = None) -> Any:
        """Fire an event and show what it caused: %fire KIND [key=value ...] [options]; %%fire takes a body.

        Values are JSON, Python literals, or {name} for a variable of the notebook. Without a payload a kind
        that the runtime knows gets a realistic one; any other what was fired last, or what its handlers read.
        --timeout is in seconds, 30 by default. %fire --help lists the options.

        Examples:
            >>> %%worker notes --quiet
            ... @worker.on_event("demo.noted")
            ... async def on_noted(event, client):
            ...     print(event.payload["text"])
            >>> %fire demo.noted text=hello count=3
            demo.noted  #...
              + ...:notes.on_noted  ok  ... ms
                  | hello
        """
        from dnworker_jupyter.magics.fire import FireOptions, fire_parser, run_fire

        parser = fire_parser(is_cell=cell is not None)
        return self._run(parser, FireOptions, line, lambda context, options: run_fire(context, options, cell))

    @no_var_expand
    @line_magic("replay")
    def replay(self, line: str) -> Any:
        """Fire recorded events again: %replay #12 | ID | last [N] | FILE [--edit k=v] [--speed X].

        After a restart of the kernel too: the journal keeps them. %replay last 20 --compare runs the
        previous and the present generation of a worker on the same events, in shadow, and shows where
        they differ. %replay last 50 --score fn calls a function with each trace, and shows the numbers.

        Examples:
            >>> trace = await dn.fire("demo.left", {"text": "hello"})
            >>> %replay last --edit text=goodbye
            demo.left  #...
        """
        from dnworker_jupyter.magics.replay import ReplayOptions, replay_parser, run_replay

        return self._run(replay_parser(), ReplayOptions, line, run_replay)

    @line_magic("clock")
    def clock(self, line: str) -> Any:
        """Move time, for schedules, backoff and sleeps: %clock [virtual | real | advance 1h30m | next [N]].

        A virtual clock stands still until it is advanced: a day of schedules runs in milliseconds.

        Examples:
            >>> %clock virtual
            the clock is virtual: ... UTC...
            >>> %clock advance 1h30m
            nothing was due
            it is ... UTC
            >>> %clock real
            the clock is real: ...
        """
        from dnworker_jupyter.magics.clock import ClockOptions, clock_parser, run_clock

        return self._run(clock_parser(), ClockOptions, line, run_clock)

    @line_magic("dead")
    def dead(self, line: str) -> Any:
        """Show what was given up: %dead [list | show ID | retry ID | drop ID] [--all] [--worker NAME].

        A worker with --retry gives up an event that it has tried often enough, or that failed by an error its
        policy does not name.

        Examples:
            >>> %dead
            no dead letters
        """
        from dnworker_jupyter.magics.dead import DeadOptions, dead_parser, run_dead

        return self._run(dead_parser(), DeadOptions, line, run_dead)

    @line_magic("explain")
    def explain(self, line: str) -> Any:
        """Show what the code at the end of a message means: %explain [DN104 | WORDS].

        Without a code it lists all of them, with words those whose pages have the words.

        Examples:
            >>> %explain DN104
            DN104: a cell magic below the first line...
        """
        from dnworker_jupyter.magics.explain import ExplainOptions, explain_parser, run_explain

        return self._run(explain_parser(), ExplainOptions, line, run_explain)

    @line_magic("panel")
    def panel(self, line: str) -> Any:
        """Show the panel: %panel [NAME] [--dock right | bottom | tab], %panel --open.

        Every worker's state and handlers, the latest events, and the tail of the log: below the cell,
        beside the notebook (in JupyterLab, with the package sidecar), or as a page in the browser.

        Examples:
            >>> %panel
            worker ...
        """
        from dnworker_jupyter.magics.panel import PanelOptions, panel_parser, run_panel

        running = self._context.cells.running  # by the thread of the cell, which is not always the loop's

        def act(context: MagicContext, options: PanelOptions) -> Coroutine[Any, Any, object]:
            return run_panel(context, options, running)

        return self._run(panel_parser(), PanelOptions, line, act)

    @no_var_expand
    @line_magic("map")
    def map(self, line: str) -> Any:
        """Show what flows where: %map [NAME] [--minutes N] [--mermaid | --svg | --json] [-o FILE].

        Which kinds workers hear and publish, how often, what fails, and what nobody hears: as a picture, as
        text to copy, or in a file. Before anything ran it is read from the handlers. N is at most 15.

        Examples:
            >>> %map --mermaid
            flowchart LR...
        """
        from dnworker_jupyter.magics.map import MapOptions, map_parser, run_map

        return self._run(map_parser(), MapOptions, line, run_map)

    @line_magic("runtime")
    def runtime(self, line: str) -> Any:
        """Show, examine or attach the runtime: %runtime [status | doctor | attach URL | detach | stop].

        Examples:
            >>> %runtime url
            http://127.0.0.1:...
        """
        from dnworker_jupyter.magics.runtime import RuntimeOptions, run_runtime, runtime_parser

        return self._run(runtime_parser(), RuntimeOptions, line, run_runtime)

    @line_magic("events")
    def events(self, line: str) -> Any:
        """Show the latest events, or save them: %events [--kind K] [--last N] [--all], %events save FILE.

        `%events pull URL --last 100` copies recorded events of a running runtime into this notebook.

        Examples:
            >>> trace = await dn.fire("demo.noted", {"text": "hello"})
            >>> %events --kind demo.noted --last 1
            event  id  at  kind  session  payload
            #...demo.noted  {'text': 'hello'}
        """
        from dnworker_jupyter.magics.events import EventsOptions, events_parser, run_events

        return self._run(events_parser(), EventsOptions, line, run_events)

    @no_var_expand
    @cell_magic("capability")
    def capability_cell(self, line: str, cell: str) -> Any:
        """Write the head of the manifest, as YAML: name, version, description, flags, ...

        Live workers belong to the capability that it names, and its directory's agents and skills are loaded:
        the notebook's, or that of --dir PATH.

        Examples:
            >>> %%capability
            ... name: greetings
            ... version: 1.0.0
            ... description: Greets whom it meets
            capability greetings 1.0.0...
        """
        from dnworker_jupyter.magics.head import HeadOptions, head_parser, run_head

        running = self._context.cells.running  # by the thread of the cell, which is not always the loop's

        def act(context: MagicContext, options: HeadOptions) -> Coroutine[Any, Any, object]:
            return run_head(context, options, cell, running)

        return self._run(head_parser(), HeadOptions, line, act)

    @no_var_expand
    @line_magic("capability")
    def capability_line(self, line: str) -> Any:
        """Export the notebook's workers: %capability export PATH | check [PATH] | diff PATH.

        Run others here: %capability load PATH [--replace | --beside] | reload NAME | unload NAME.
        Show flags, and set one: %capability flag [NAME [on | off]].

        check runs what an export would write, in a clean environment, and fires recorded events at it and at
        the notebook; export --check writes nothing unless that passes, export --lock has uv lock the scripts.

        Examples:
            >>> %%worker notes --quiet
            ... @worker.on_event("demo.noted")
            ... async def on_noted(event, client):
            ...     print(event.payload["text"])
            >>> %capability export exported
            %capability export: ...
            capability ... is in exported...
        """
        from dnworker_jupyter.magics.capability import CapabilityOptions, capability_parser, run_capability

        return self._run(capability_parser(), CapabilityOptions, line, run_capability)

    def _run(
        self,
        parser: Parser,
        kind: type[T],
        line: str,
        act: Callable[[MagicContext, T], Coroutine[Any, Any, object]],
    ) -> object:
        """Read the line into options of a `kind`, and begin to act on them; a line may also ask for help."""
        if asks_help(line):
            return self._context.pending.begin(parser.prog, lambda: _help(parser))
        options = parser.read_as(kind, split(line))
        steps = bool(getattr(options, "debug", False))
        waits = bool(getattr(options, "needs_runtime", True))
        return self._start(parser.prog, lambda: act(self._context, options), steps=steps, waits=waits)

    def _start(
        self,
        magic: str,
        act: Callable[[], Coroutine[Any, Any, object]],
        *,
        steps: bool = False,
        waits: bool = True,
    ) -> object:
        return self._context.pending.begin(
            magic, lambda: self._until_done(magic, act, steps=steps, waits=waits)
        )

    async def _until_done(
        self, magic: str, act: Callable[[], Coroutine[Any, Any, object]], *, steps: bool, waits: bool
    ) -> object:
        try:
            if waits:
                await self._context.transactions.ready()
            return await self._context.debugging.waiting.during(_WAITS_FOR.get(magic, LIFE), act, steps=steps)
        except asyncio.CancelledError:  # the cell was interrupted: no traceback of ours for that
            is_of_workers = magic in ("%worker", "%capability", "%%capability")
            rest = "%worker shows what runs now" if is_of_workers else "what it began goes on"
            raise Interrupted(f"{magic} was interrupted; {rest}") from None


async def _help(parser: Parser) -> Note:
    return Note(parser.format_help())
