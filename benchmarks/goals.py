"""What is measured, beside what, and how near it is to come: one `Goal` a row of docs/performance.md."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, TypedDict

Rule = Literal["share", "times", "over", "most"]
"""`share`: at least this share of the bare rate. `times`: at most so many times the bare figure. `over`: at
most so much above the bare figure. `most`: at most this figure."""


class Measured(TypedDict):
    """One row as it is stored."""

    figure: float
    bare: float | None
    ratio: float | None
    """The median of the ratios of each turn, as both sides of a turn meet the same moment."""
    over: float | None
    """The median of the differences of each turn."""
    runs: int


@dataclass(frozen=True, slots=True)
class Goal:
    """What one row measures, and when its goal is met."""

    path: str
    bare: str
    unit: str
    rule: Rule
    value: float

    @property
    def text(self) -> str:
        """The goal in words, such as `at least 0.90` or `+ 20 ms`."""
        match self.rule:
            case "share":
                return f"at least {self.value:.2f}"
            case "times":
                return f"at most {self.value:g}"
            case "over":
                return f"+ {self.value:g} {self.unit}"
            case _:
                return f"at most {self.value:g} {self.unit}"

    def found(self, measured: Measured) -> float:
        """Return what is compared with the goal's value: a ratio, a difference or the figure itself."""
        chosen = {"most": "figure", "over": "over"}.get(self.rule, "ratio")
        value: Any = measured[chosen]  # type: ignore[literal-required]
        if value is None:
            raise ValueError(f"{self.path}: a goal of the rule {self.rule} needs what the bare thing took")
        return float(value)

    def is_met(self, measured: Measured) -> bool:
        """Tell whether the goal is met."""
        found = self.found(measured)
        return found >= self.value if self.rule == "share" else found <= self.value

    def nearness(self, measured: Measured) -> float:
        """Return how near a figure is to its goal: 1 and above is met, 0.5 is half of the way."""
        found = self.found(measured)
        if self.rule == "share":
            return found / self.value
        return self.value / found if found > 0 else 10.0


def _fan(count: int, events: str = "events") -> Goal:
    subscribers = "1 WebSocket subscriber" if count == 1 else f"{count:,} WebSocket subscribers"
    path = f"{events} to {subscribers}"
    return Goal(path, _BROADCAST, "deliveries/s", "share", 0.85)


_SINGLE = "one event a turn of the loop,"
_BROADCAST = "`websockets` broadcasts the same bytes"
_IMPORTS = "interpreter start, imports of httpx and websockets"
_HELLO = "uvicorn and Starlette, hello world"

GOALS: dict[str, Goal] = {
    "handler": Goal(
        "publish to in-process handler, tracing and stats on",
        "a bare task an event",
        "events/s",
        "share",
        0.90,
    ),
    "publish": Goal(
        "`client.publish` in-process",
        "an awaited coroutine that validates the same JSON",
        "events/s",
        "share",
        0.50,
    ),
    "post": Goal(
        "POST /api/events, 32 connections",
        "a bare ASGI application on the same server",
        "requests/s",
        "share",
        0.80,
    ),
    "post-uvloop": Goal(
        "POST /api/events, 32 connections, with `dnworker[speed]`",
        "a bare ASGI application on the same server and uvloop",
        "requests/s",
        "share",
        0.80,
    ),
    "subscribers-1": _fan(1),
    "subscribers-10": _fan(10),
    "subscribers-100": _fan(100),
    "subscribers-1000": _fan(1000),
    "single-1": _fan(1, _SINGLE),
    "single-10": _fan(10, _SINGLE),
    "single-100": _fan(100, _SINGLE),
    "single-1000": _fan(1000, _SINGLE),
    "child-answer": Goal(
        "event to Python child to answer",
        "one WebSocket message and one HTTP request",
        "ms",
        "times",
        1.3,
    ),
    "child-spawn": Goal("child spawn to first event, `python`", _IMPORTS, "s", "times", 1.2),
    "child-spawn-uv": Goal(
        "child spawn to first event, warm `uv run`", f"`uv run`, {_IMPORTS}", "s", "times", 1.2
    ),
    "serve": Goal("`dnworker serve` to ready", _HELLO, "s", "times", 1.3),
    "serve-memory": Goal("`dnworker serve`, resident", _HELLO, "MiB", "times", 1.2),
    "load": Goal("kernel start and `%load_ext` to listening", "the start of a bare kernel", "ms", "over", 90),
    "load-memory": Goal("kernel with `%load_ext`, resident", "a bare kernel", "MiB", "over", 10),
    "import": Goal("`from dnworker import Worker`", "a bare interpreter", "ms", "over", 20),
    "fire": Goal("`%fire`, trivial handler", "a cell that awaits one task", "ms", "times", 1.3),
    "cell-again": Goal(
        "`%%worker` cell run again, 5 handlers", "the same cell without the magic", "ms", "over", 3
    ),
    "export": Goal("export plan, 300 cells, 20 workers", "`ast.parse` of the same", "s", "times", 5),
    "export-again": Goal(
        "export plan of the same once more, nothing changed", "`ast.parse` of the same", "s", "times", 5
    ),
    "export-changed": Goal(
        "export plan of the same after a change of one cell", "`ast.parse` of the same", "s", "times", 5
    ),
    "trace": Goal("trace of 10,000 descendants: collect, draw as HTML", "", "s", "most", 0.3),
    "journal": Goal(
        "events into the journal, not durable",
        "sqlite3 executemany of the same rows",
        "events/s",
        "share",
        0.50,
    ),
    "journal-lag": Goal("loop lag meanwhile, 99th percentile", "the same without a journal", "ms", "most", 2),
    "memory": Goal("1,000,000 events through a runtime, peak", "10,000 events", "MiB", "most", 150),
    "growth-workers": Goal("event for one of 1,000 workers", "of 1 worker", "us", "times", 1.1),
    "growth-kinds": Goal("event of one of 1,000 kinds", "of 1 kind", "us", "times", 1.1),
    "growth-subscribers": Goal(
        "event for one of 1,000 subscribers, each of a kind", "of 1 subscriber", "us", "times", 1.1
    ),
    "growth-fan": Goal("delivery to each of 1,000 subscribers", "of 100 subscribers", "us", "times", 1.1),
    "growth-sessions": Goal("event of one of 1,000 sessions", "of 1 session", "us", "times", 1.1),
    "growth-lines": Goal(
        "line added to a log of 100,000, newest 10 read", "to a log of 10 lines", "us", "times", 1.1
    ),
    "tests": Goal("`make test`", "", "min", "most", 5),
}
"""All rows, in the order of the page."""

APART = ("tests",)
"""Rows that are measured only when their program is named."""

FLOORS: dict[str, str] = {
    "handler": (
        "The id, the time, the envelope and the run take 1.4 us beside the 7.3 us of a bare task "
        "(`benchmarks/floors.py`): with a bus, a history and a dispatch that cost nothing it would be "
        "0.84. Python 3.11 has no eager tasks, so that each run waits for a turn of the loop."
    ),
    "publish": (
        "The bare thing reads JSON, 0.27 us. An event that is published gets an id, the time and an "
        "envelope, 1.0 us (0.2 at best), and is kept for replay and traces before its publisher goes "
        "on, 5 us in all."
    ),
    "post": (
        "The bare answer is uvicorn and the socket, 32 us of CPU where ours takes 53 in the same run. Ours "
        "adds the checks of sizes and times, the token, the body, and the event itself, which is kept."
    ),
    "post-uvloop": (
        "As on asyncio's loop, where uvicorn and the socket take less, and so does the bare thing."
    ),
    "subscribers-1": (
        "An event costs 5 us before anybody gets it: it is checked, numbered and kept. A broadcast "
        "takes 2.5 to 5 us in all."
    ),
    "child-answer": (
        "The child reports when its handler begins and ends, so that nothing is lost where it dies: "
        "three writes more."
    ),
    "serve": (
        "A bare server imports 330 modules in 93 ms; the libraries beside it, msgspec and PyYAML, take 12 ms "
        "(`benchmarks/floors_of_starts.py`), which is 1.13 x. 308 modules of the runtime are read in 56 ms, "
        "0.18 ms each: 1.3 x would be 85 of them. What a start does not use is imported when it is used."
    ),
    "serve-memory": (
        "The code of these modules: 9 MiB, 30 KiB each, and 2 MiB of libraries (`benchmarks/"
        "floors_of_starts.py`). The state of a runtime is under 1 MiB."
    ),
    "load": (
        "The same modules, those of the server among them, and 120 of the notebook: 420 of ours, and 130 of "
        "uvicorn, Starlette and others. The HTTP API must answer when the cell ends."
    ),
    "load-memory": ("As with `serve`: the code."),
    "import": (
        "`typing`, `inspect` and `re`, by which handlers are checked where they are written, are over "
        "half of it."
    ),
    "fire": (
        "A cell that awaits the same task and shows a value with as much HTML and text, and does nothing "
        "else, takes 1.3 times as long (`benchmarks/floors.py`). The rest are 0.25 ms of Python, most of "
        "it read once a cell, with cold caches: the line, the event and its run, the trace as HTML and text."
    ),
    "export": (
        "To parse the cells and keep the trees, and to compile what is written, takes 2.6 x in C alone "
        "(`floor_over_bare` of `benchmarks/bench_export.py`). A second plan of an unchanged notebook, "
        "which does neither, is 3 x: it follows names through 580 statements for each of 20 workers. "
        "What is left, about 4 x, goes through 110,000 nodes for what they read, change and share."
    ),
    "journal-lag": (
        "The writer's thread holds the interpreter for up to 0.4 ms at a time (`benchmarks/floors.py`), and "
        "the events themselves the loop for 0.3 ms. What is lost is nothing: 0 of 100,000 events."
    ),
}
"""Why a row may stay below its goal: what is measured to be left."""
