"""The pages of the Python API: the docstrings of public names, in the order in which people meet them."""

from __future__ import annotations

from dataclasses import dataclass

from .markdown import page

ERRORS = ("inherited_members: false", "members: false")
RUNTIME = (
    "inherited_members: true",
    "members: [start, stop, serve, url, token, add, load, discover, reload, unload, remove, fire, publish, settle, "
    "client, worker, workers, set_flag, advance, map, info, reload_nodes, make_target]",
)
INHERITED = ("inherited_members: true",)
WIDGET = ("members: [fire]",)
DATA = ("show_if_no_docstring: true", "filters: ['!^_']")
TURN = ("members: [message, agent, model, session, history, say, call_tool, ask, sleep, fail]",)
TRACE = (
    "members: [event, ok, is_under_way, invocations, events, errors, losses, storm, held, spans, mermaid]",
)
CLIENT_METHODS = ("filters: ['!^_', '!^(connection|over|is_started|groups_sessions|workflow)$']",)


@dataclass(frozen=True)
class Group:
    """Names that belong together, with one or two sentences about them; `code` is run by the tests."""

    title: str
    about: str
    names: tuple[tuple[str, tuple[str, ...]], ...]
    code: str = ""

    def __str__(self) -> str:
        parts = [
            f"## {self.title}",
            self.about,
            *([f"```python\n{self.code.strip()}\n```"] if self.code else []),
        ]
        return "\n\n".join([*parts, *(_directive(name, options) for name, options in self.names)])


def _directive(name: str, options: tuple[str, ...]) -> str:
    lines = [f"::: {name}"]
    if options:
        lines += ["    options:", *(f"      {option}" for option in options)]
    return "\n".join(lines)


def _plain(*names: str) -> tuple[tuple[str, tuple[str, ...]], ...]:
    return tuple((name, ()) for name in names)


def python() -> str:
    """Return the page of `dnworker`."""
    return page("the docstrings of `dnworker`", "Python API", PYTHON_ABOUT, *map(str, PYTHON))


def client() -> str:
    """Return the page of the client."""
    return page("the docstrings of `dnworker`", "The client", CLIENT_ABOUT, *map(str, CLIENT))


def patterns() -> str:
    """Return the page of `dnworker.patterns`."""
    return page(
        "the docstrings of `dnworker.patterns`", "Rules for handlers", PATTERNS_ABOUT, *map(str, PATTERNS)
    )


def testing() -> str:
    """Return the page of `dnworker.testing`."""
    return page("the docstrings of `dnworker.testing`", "Testing API", TESTING_ABOUT, *map(str, TESTING))


def notebook() -> str:
    """Return the page of what `dn` is in a notebook."""
    return page("the docstrings of `dnworker_jupyter`", "Notebook API", NOTEBOOK_ABOUT, *map(str, NOTEBOOK))


PYTHON_ABOUT = """
`from dnworker import ...` gives you these names. What a handler does is on [Worker](worker.md), what `client` can do on [The client](client.md).

Public are these names, those of [`dnworker.patterns`](patterns.md), [`dnworker.testing`](testing.md), [`dn`](notebook-api.md) and [`dnworker.compat`](#an-sdk-that-is-not-installed),
the [magics](magics.md), the [command line](command-line.md), the [HTTP API](http-api.md), the [manifest](manifest.md), and the files of exports and journals. Other modules move without notice.
"""

PYTHON = (
    Group(
        "Write a worker",
        "A `Worker` holds handlers. A handler gets an `EventEnvelope` and a [client](client.md).",
        (("dnworker.Worker", INHERITED), ("dnworker.EventEnvelope", DATA), *_plain("dnworker.sleep")),
    ),
    Group(
        "Answer turns",
        "A scripted agent is a function that gets a `Turn` and returns or yields text. [Turns](turns.md) has what clients see of it.",
        (("dnworker.Turn", TURN),),
    ),
    Group(
        "Run workers",
        "A `Runtime` runs workers, in your program or for `dnworker serve`.",
        (("dnworker.Runtime", RUNTIME), ("dnworker.WorkerState", DATA), ("dnworker.RestartPolicy", DATA)),
        code="""
from dnworker import Runtime, Worker

worker = Worker(name="bridge")


@worker.on_event("demo.greeting")
async def on_greeting(event, client):
    await client.publish("demo.answer", {"text": f"hello {event.payload['name']}"})


async with Runtime(port=None) as runtime:
    await runtime.add(worker)
    trace = await runtime.fire("demo.greeting", {"name": "Ada"})
    print([event.kind for event in trace.events()])
""",
    ),
    Group(
        "See what happened",
        "`Runtime.fire` returns a `Trace`. A `JournalReader` reads what a runtime with `journal=` wrote.",
        (("dnworker.Trace", TRACE), *_plain("dnworker.JournalReader")),
    ),
    Group(
        "Time",
        "A runtime's clock moves its schedules, retries and `sleep`.",
        (
            ("dnworker.RealClock", ()),
            ("dnworker.VirtualClock", ()),
            ("dnworker.SwitchClock", INHERITED),
        ),
    ),
    Group(
        "Errors",
        "Each refusal of dnworker is a `DnworkerError`. Those of turns are on [The client](client.md#errors).",
        tuple(
            (f"dnworker.{name}", ERRORS)
            for name in (
                "DnworkerError",
                "HandlerFailed",
                "ApiError",
                "ManifestError",
                "JournalError",
                "RuntimeUnavailable",
                "UsageError",
            )
        ),
    ),
    Group(
        "An SDK that is not installed",
        "`dnworker.compat` lets files that import the `dreadnode` SDK run where it is not installed.",
        _plain("dnworker.compat.install", "dnworker.compat.uninstall"),
    ),
)

CLIENT_ABOUT = """
A handler's second argument is a `RuntimeClient`: it publishes events, runs turns and changes sessions. It is the same in the runtime's process and over HTTP.

A refused call raises `httpx.HTTPStatusError`, a refused turn or answer `CommandError`. [Turns](turns.md) has what `stream_chat` yields.
"""

CLIENT = (
    Group(
        "Methods",
        "In a program of your own, `RuntimeClient()` finds the runtime by its [environment](environment.md).",
        (("dnworker.RuntimeClient", CLIENT_METHODS),),
    ),
    Group(
        "Errors",
        "`run_turn` raises the first two. `CommandError` is what a command of a session is refused with.",
        tuple(
            (f"dnworker.{name}", ("inherited_members: false",))
            for name in ("TurnFailedError", "TurnCancelledError", "CommandError")
        ),
    ),
)

PATTERNS_ABOUT = """
`dnworker.patterns` has rules for handlers, as decorators below `@worker.on_event(...)`. [Batches and limits](../how-to/batch-and-limit.md) shows them together.

They are plain Python over asyncio, go by the clock of the runtime, and are exported to both targets.
"""

PATTERNS = (
    Group(
        "Fewer runs",
        "One run for several events, or for one of them.",
        _plain(*(f"dnworker.patterns.{name}" for name in ("batch", "debounce", "once"))),
    ),
    Group(
        "Later runs",
        "So many at once, or in a time.",
        _plain("dnworker.patterns.limit", "dnworker.patterns.throttle"),
    ),
)

TESTING_ABOUT = """
`dnworker.testing` has what tests of workers need: events to hand to handlers, a client that records, a clock that you move, a model that says what you tell it.

The fixtures `runtime` (on a virtual clock), `fake_client`, `fake_ws` and `virtual_clock` come with the package, for `pytest`. Async tests need `pytest-asyncio`.
"""

TESTING = (
    Group(
        "Call a handler",
        "Make an event, hand it to the handler with a `FakeClient`, and look at what that recorded.",
        _plain(
            "dnworker.testing.make_envelope",
            "dnworker.testing.FakeClient",
            "dnworker.testing.Call",
            "dnworker.testing.FakeWebSocket",
            "dnworker.testing.load_worker",
            "dnworker.testing.assert_turn",
        ),
        code="""
from dnworker import Worker
from dnworker.testing import FakeClient, make_envelope

worker = Worker(name="bridge")


@worker.on_event("turn.completed")
async def on_turn(event, client):
    await client.publish("demo.done", {"turn": event.payload["turn_id"]})


client = FakeClient()
await on_turn(make_envelope("turn.completed", {"turn_id": "t1"}), client)
client.published
""",
    ),
    Group(
        "Move time",
        "`VirtualClock` stands still until you advance it; [Test with time](../how-to/test-with-time.md) uses it.",
        _plain("dnworker.testing.VirtualClock", "dnworker.testing.turn_loop"),
    ),
    Group(
        "Answer as a model",
        "`ModelServer` is an endpoint on loopback, OpenAI-compatible and in the forms of other providers, that gives the answers you list.",
        _plain(
            *(f"dnworker.testing.{n}" for n in ("ModelServer", "Says", "Calls", "Refuses", "Waits", "Breaks"))
        ),
    ),
    Group(
        "Share a broker",
        "Several runtimes of one test share a broker without servers.",
        (("dnworker.testing.SharedStore", ERRORS), ("dnworker.testing.SharedBroker", ERRORS)),
    ),
)

NOTEBOOK_ABOUT = """
`%load_ext dnworker` binds `dn`, which has the [magics](magics.md) as functions. Use them where an editor does not read magics, and in loops and functions.

`dn.fire` sends the payload that you give and adds no field. `%fire` makes up what is missing.
"""

NOTEBOOK = (
    Group(
        "Workers and agents",
        "A cell that uses these is a transaction, as a `%%worker` cell is: it takes effect when it has run to its end.",
        _plain("dnworker_jupyter.worker", "dnworker_jupyter.agent"),
    ),
    Group(
        "Events",
        "Each returns once everything that the event caused has ended.",
        _plain("dnworker_jupyter.fire", "dnworker_jupyter.events", "dnworker_jupyter.replay"),
        code="""
bridge = dn.worker("bridge")


@bridge.on_event("demo.greeting")
async def on_greeting(event, client):
    print("hello", event.payload["name"])


trace = await dn.fire("demo.greeting", {"name": "Ada"})
trace.ok
""",
    ),
    Group(
        "Time",
        "`advance` needs `%clock virtual`.",
        _plain("dnworker_jupyter.advance", "dnworker_jupyter.settle"),
    ),
    Group(
        "Events of another runtime",
        "See [Judge a change on live traffic](../how-to/judge-a-change.md).",
        _plain("dnworker_jupyter.attach", "dnworker_jupyter.detach"),
    ),
    Group(
        "See what runs",
        "`dn.last_failure` is the exception that a handler raised last, with its traceback; None where there is none.",
        _plain("dnworker_jupyter.panel", "dnworker_jupyter.map", "dnworker_jupyter.runtime"),
    ),
    Group(
        "Widgets",
        "`dn.widgets` has parts of the panel as ipywidgets. They go into `HBox`, `link`, `observe` and `interact`, and follow the runtime.",
        tuple(
            (f"dnworker_jupyter.display.widgets.{name}", WIDGET)
            for name in ("WorkerState", "LogTail", "Waterfall", "FlowMap", "Chart", "FireForm", "close_all")
        ),
    ),
)
