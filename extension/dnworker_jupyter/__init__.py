"""dnworker in a notebook: `%load_ext dnworker`, and the same without magics.

After the extension is loaded, `dn` in the notebook is this module:

    bridge = dn.worker("bridge")
    trace = await dn.fire("turn.completed", {"turn_id": "t1"})
    await dn.settle()

`dn.last_failure` is what a handler raised last, an exception with its traceback, or None. `dn.widgets` has
the widgets that displays are made of.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterable, Mapping
    from os import PathLike

    from dnworker.core.envelope import EventEnvelope
    from dnworker.core.invocation import Cause
    from dnworker.events.trace import Trace
    from dnworker.flow.flow_map import FlowMap
    from dnworker.runtime import Runtime
    from dnworker_jupyter.display.attached_view import AttachedView
    from dnworker_jupyter.display.panel import Panel, StaticPanel
    from dnworker_jupyter.live.handles import LiveHandle
    from dnworker_jupyter.notebook import Notebook

T = TypeVar("T")

__all__ = [
    "advance",
    "agent",
    "attach",
    "detach",
    "events",
    "fire",
    "map",
    "panel",
    "replay",
    "runtime",
    "settle",
    "worker",
]


def runtime() -> Runtime:
    """Return the runtime of this notebook.

    Returns:
        A `Runtime`, which runs on the kernel's loop; in a terminal, on a thread.

    Raises:
        UsageError: the extension is not loaded.

    Examples:
        >>> dn.runtime().is_started
        True
    """
    return _active().runtime


def worker(
    name: str,
    *,
    when: Iterable[str] = (),
    env: Mapping[str, str] | None = None,
    restart: bool = False,
    quiet: bool = False,
    keep_state: bool = False,
    check_payloads: bool = False,
) -> LiveHandle:
    """Return a live worker, whose decorators register for the cell that runs: `%%worker` in plain Python.

    The cell is a transaction, as a `%%worker` cell is: when it fails, nothing changes.

    Args:
        name: lower-case letters, digits and dashes.
        when: flags, of which one must be on.
        env: variables of the exported worker, as texts by name.
        restart: start anew, with empty state.
        quiet: print nothing when all is well.
        keep_state: keep `worker.state` over restarts of worker and runtime.
        check_payloads: refuse what it publishes that breaks the type declared for its kind.

    Returns:
        A `LiveHandle`: a `Worker` with the `state` and the `generation` of the live one.

    Raises:
        BadName: a ValueError: the name breaks the rule.
        UsageError: a flag is not declared.

    Examples:
        >>> bridge = dn.worker("bridge", quiet=True)
        ... @bridge.on_event("demo.greeted")
        ... async def on_greeted(event, client):
        ...     bridge.state["last"] = event.payload["name"]
        >>> trace = await dn.fire("demo.greeted", {"name": "Ada"})
        >>> bridge.state["last"]
        'Ada'
    """
    from dnworker_jupyter.syntax.options import Options

    given = Options(tuple(when), dict(env or {}), keep_state=keep_state, check_payloads=check_payloads)
    options = given if given != Options() else None
    return _active().transactions.handle(name, options, restart=restart, quiet=quiet)


def agent(name: str) -> Callable[[Any], Any]:
    """Let the decorated function answer the turns of an agent: `%%agent` in plain Python.

    Args:
        name: the agent; `default` answers for every agent without a script.

    Returns:
        A decorator, which returns the function unchanged. The function takes a `Turn`, and returns text or
        yields pieces of it.

    Examples:
        >>> @dn.agent("parrot")
        ... async def reply(turn):
        ...     yield f"You said: {turn.message}"
        >>> client = dn.runtime().client()
        >>> end = await client.run_turn(session_id="s", agent="parrot", message="hello")
        >>> end["response_text"]
        'You said: hello'
    """
    from dnworker_jupyter.magics.agent import register_agent

    def register(reply: Any) -> Any:
        register_agent(_active().runtime, name, reply)
        return reply

    return register


async def fire(
    kind: str,
    payload: dict[str, Any] | None = None,
    *,
    session_id: str | None = None,
    timeout: float | None = 30,
    wait: bool = True,
    only: str | None = None,
    debug: bool = False,
) -> Trace:
    """Fire an event, wait for all that it causes, and return that as a trace.

    Without a payload a kind of your own gets `{}`, where `%fire` makes one up of what its handlers read.

    Args:
        kind: the event's name; the reference page of event kinds lists those of the runtime.
        payload: a JSON object as a dict; a kind of the runtime gets a realistic one when None.
        session_id: made live if it is not; kinds that belong to a session get one when None.
        timeout: seconds to wait for all it causes, None for ever; after it, the trace says so.
        wait: False to return at once.
        only: the name of the one worker that gets it; None for all that listen.
        debug: whether each handler stops at its first line, in the debugger of the cell that awaits this.

    Returns:
        A `Trace`: the runs of handlers, their logs and errors, and the events that they published. A notebook
        displays it as a tree.

    Raises:
        Invalid: the payload is not a JSON object, or another argument makes no sense.
        TooLarge: the payload is over 1,000,000 bytes of JSON.
        NotFound: there is no worker of the name `only`.
        UsageError: the extension is not loaded, or a handler would wait for itself.

    Examples:
        >>> trace = await dn.fire("demo.asked", {"question": "Who is there?"})
        >>> trace.ok, trace.event.payload
        (True, {'question': 'Who is there?'})
    """
    runtime = _active().runtime
    return await _on_loop(
        lambda: runtime.fire(
            kind,
            payload,
            session_id=session_id,
            timeout=timeout,
            wait=wait,
            only=only,
            on_wait=print,
        ),
        steps=debug,
    )


async def events(last: int = 20, *, kind: str | None = None) -> list[EventEnvelope]:
    """Return recorded events, oldest first, those of earlier runs of the notebook too.

    Args:
        last: how many at most.
        kind: only those of a kind, whoever published them; None for those that came from outside.

    Returns:
        A list of `EventEnvelope`.

    Raises:
        UsageError: the extension is not loaded.

    Examples:
        >>> trace = await dn.fire("demo.noted", {"text": "hello"})
        >>> [event.payload for event in await dn.events(1, kind="demo.noted")]
        [{'text': 'hello'}]
    """
    from dnworker.engine.replay import recorded

    runtime = _active().runtime
    return await _on_loop(lambda: recorded(runtime, last, kind=kind))


async def replay(
    what: EventEnvelope | Iterable[EventEnvelope] | str | PathLike[str] = "last",
    *,
    edit: Mapping[str, Any] | None = None,
    speed: float | None = None,
    only: str | None = None,
    timeout: float | None = 30,
    debug: bool = False,
) -> list[Trace]:
    """Fire recorded events again, as `%replay` does.

    Args:
        what: an event, several, or what `%replay` takes: `#12`, an id, `last`, `last 5`, a file.
        edit: new values of fields of the payload; dots lead down, as in `usage.tokens`.
        speed: 1 for the pace at which they came, 2 for twice that; None for one after the other.
        only: the name of the one worker that gets them; None for all that listen.
        timeout: seconds to wait for what each causes; None for ever.
        debug: whether each handler stops at its first line, in the debugger of the cell that awaits this.

    Returns:
        A list with a `Trace` for each event.

    Raises:
        UsageError: there is no such event or file, or the extension is not loaded.

    Examples:
        >>> trace = await dn.fire("demo.noted", {"text": "hello"})
        >>> again = await dn.replay(trace.event, edit={"text": "goodbye"})
        >>> again[0].event.payload
        {'text': 'goodbye'}
    """
    from os import PathLike, fspath

    from dnworker.core.envelope import EventEnvelope
    from dnworker.engine.replay import replay as fire_again
    from dnworker_jupyter.magics.replay import choose

    runtime = _active().runtime

    async def run() -> list[Trace]:
        if isinstance(what, EventEnvelope):
            chosen = [what]
        elif isinstance(what, str | PathLike):
            text = fspath(what)
            chosen = await choose(runtime, text.split() if text.startswith("last") else [text])
        else:
            chosen = list(what)
        edits = list((edit or {}).items())
        return await fire_again(runtime, chosen, edits=edits, speed=speed, only=only, timeout=timeout)

    return await _on_loop(run, steps=debug)


async def advance(seconds: float) -> int:
    """Move the virtual clock forward, and let the schedules and sleepers that wake run; see `%clock`.

    Args:
        seconds: how far to go, in virtual seconds; not negative.

    Returns:
        How many sleepers woke.

    Raises:
        UsageError: the clock is real; `%clock virtual` makes it virtual.
        ValueError: `seconds` is negative.

    Examples:
        >>> %clock virtual
        the clock is virtual: ...
        >>> await dn.advance(3600)
        0
        >>> %clock real
        the clock is real: ...
    """
    from dnworker.core.errors import UsageError

    runtime = _active().runtime
    await _active().transactions.ready()
    if not runtime.clock.can_advance:
        raise UsageError(
            "the clock is real, and goes by itself; make it virtual first: %clock virtual", code="DN212"
        )
    return await _on_loop(lambda: runtime.advance(seconds), _active().debugging.waiting.everything)


async def settle(timeout: float | None = 5) -> None:
    """Wait until nothing is in flight, and raise what handlers raised, so that a headless run fails.

    Args:
        timeout: seconds to wait; None for ever.

    Raises:
        HandlerFailed: handlers raised since the last call.
        TimeoutError: something still runs when the time is up; names it.
        UsageError: a handler calls it, and would wait for itself.

    Examples:
        >>> trace = await dn.fire("demo.noted", {"text": "hello"}, wait=False)
        >>> await dn.settle(timeout=10)
    """
    from dnworker.engine.waiting import check_settle

    notebook = _active()
    check_settle()
    await notebook.transactions.ready()
    await notebook.pending.wait(timeout)
    notebook.late_errors.raise_first()
    waiting = notebook.debugging.waiting
    await waiting.during(waiting.events, lambda: notebook.runtime.settle(timeout))


async def attach(
    url: str,
    *,
    token_file: str | PathLike[str] | None = None,
    ca: str | PathLike[str] | None = None,
    live: bool = False,
    counterparts: Mapping[str, str] | None = None,
) -> AttachedView:
    """Give the workers of this notebook the events of another runtime: `%runtime attach` in plain Python.

    Args:
        url: of the other runtime, without a token.
        token_file: has its token; None where it needs none, or the environment has it.
        ca: the authority of its certificate; None for those of the system.
        live: whether what workers publish, notify and start is done there; else it is written down.
        counterparts: names of deployed workers by those of workers here, where they differ, such as
            `{"bridge": "shop:pricing"}`.

    Returns:
        An `AttachedView`, which displays what both did side by side; `attachment` has the score and rows.

    Raises:
        UsageError: no runtime answers there, the token is wrong, or the notebook cannot be attached now.

    Examples:
        >>> try:
        ...     await dn.attach("http://127.0.0.1:9")
        ... except Exception as exc:
        ...     print(exc)
        %runtime attach: no runtime answers at http://127.0.0.1:9...
    """
    from os import fspath

    from dnworker_jupyter.magics.attach import attach_notebook, view_of

    context = _active().magics

    async def begin() -> AttachedView:
        files = {"token_file": token_file, "ca": ca}
        paths = {name: None if path is None else fspath(path) for name, path in files.items()}
        made = await attach_notebook(context, url, **paths, live=live, counterparts=counterparts)
        return view_of(context, made)

    return await _on_loop(begin)


async def detach() -> None:
    """Follow the other runtime no more: `%runtime detach` in plain Python; nothing where there is none.

    Handlers that run for its events end first, within bounds; then workers publish here again.

    Raises:
        UsageError: the extension is not loaded.

    Examples:
        >>> await dn.detach()
    """
    runtime = _active().runtime

    async def end() -> None:
        if runtime.attachment is not None:
            await runtime.attachment.detach()

    await _on_loop(end)


def panel() -> Panel | StaticPanel:
    """Return the panel, which shows workers, events and logs as they change: `%panel` in plain Python.

    Returns:
        A `Panel`, a widget, to be displayed as the last line of a cell; in a terminal, which can show none, a
        table of now.

    Raises:
        UsageError: the extension is not loaded.

    Examples:
        >>> dn.panel().is_closed
        False
    """
    return _active().panels.show()


def map(minutes: float = 15, *, only: str | None = None) -> FlowMap:  # noqa: A001  it is `dn.map()`
    """Return what flows where, as a picture: who publishes which kind, and who hears it.

    Args:
        minutes: of the counts that it shows, at most 15; 0 shows what handlers' sources say alone.
        only: the name of the worker to show, with its kinds; None for all.

    Returns:
        A `FlowMap`; `.svg` and `.mermaid` are its text.

    Raises:
        NotFound: there is no such worker.
        ValueError: minutes are not between 0 and 15.
        UsageError: the extension is not loaded.

    Examples:
        >>> dn.map(0).mermaid.splitlines()[0]
        'flowchart LR'
    """
    notebook = _active()
    import asyncio
    import threading

    if notebook.loop.thread_id in (None, threading.get_ident()):  # a handler runs on the loop itself
        return notebook.runtime.map(minutes, only=only)

    async def make() -> FlowMap:
        await notebook.startup.ready()
        return notebook.runtime.map(minutes, only=only)

    notebook.startup.begin()  # in a terminal, it makes the loop
    return asyncio.run_coroutine_threadsafe(make(), notebook.loop.loop or notebook.runtime.loop).result()


def __getattr__(name: str) -> Any:
    """Return `widgets`, or `last_failure`: what a handler raised last, with its traceback.

    It is None where none is kept.
    """
    if name == "widgets":
        return import_module("dnworker_jupyter.display.widgets")
    if name != "last_failure":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    entries = _active().debugging.post_mortem.entries()
    return entries[0].exception if entries else None


def __dir__() -> list[str]:
    return [*__all__, "last_failure", "widgets"]  # what Tab offers after `dn.`


def _active() -> Notebook:
    from dnworker_jupyter.notebook import active

    return active()


async def _on_loop(
    make: Callable[[], Coroutine[Any, Any, T]], takes: frozenset[Cause] | None = None, *, steps: bool = False
) -> T:
    """Run a coroutine on the runtime's loop, once the runtime and what earlier cells left to do are ready.

    The cell waits for the handlers that this causes, and for runs of the causes that it `takes`.
    """
    notebook = _active()
    await notebook.transactions.ready()
    waiting = notebook.debugging.waiting
    return await waiting.during(waiting.starts if takes is None else takes, make, steps=steps)


def _cell_help(magic: str) -> str:
    """What `%%worker --help` and that of other cell magics of ours print."""
    from dnworker_jupyter.magics.magics import parsers

    return parsers()[f"%%{magic}"].format_help()


async def _open_worker(line: str) -> None:
    """What `%%worker ...` becomes: the first statement of its cell."""
    await _active().transactions.open_worker(line)


async def _open_agent(line: str) -> None:
    """What `%%agent ...` becomes: the first statement of its cell."""
    from dnworker_jupyter.magics.agent import open_agent

    notebook = _active()
    await notebook.transactions.ready()
    open_agent(notebook.magics, line)


async def _close_cell() -> None:
    """The last statement of a cell that registers: its handlers become the new generation."""
    notebook = _active()
    with notebook.debugging.waiting.for_workers():
        await notebook.transactions.close_cell()


async def _answer(request: str) -> None:
    """What `dnworker export --execute` runs below the last cell."""
    from dnworker_jupyter.magics.command_line import answer

    await answer(_active().magics, request)


async def _around(magic: str, line: str, body: str | None = None) -> object:
    """What `%%time` or `%%capture` becomes around a magic of ours."""
    from dnworker_jupyter.magics.around import run_around

    __tracebackhide__ = True
    return await run_around(_active().shell, magic, line, body)


def _cannot_wait(magic: str, *code: str) -> None:
    """What `%timeit` becomes around a magic of ours."""
    from dnworker_jupyter.magics.around import refuse_around

    refuse_around(magic)


def _show_soon(result: object) -> None:
    """What a magic becomes where nothing can be awaited: its result is shown when it is done."""
    _active().pending.show_soon(result)


async def _show(awaitable: Any) -> None:
    """What a magic on a line of its own becomes: wait for it, and display what it returns."""
    await _active().pending.show(awaitable)
