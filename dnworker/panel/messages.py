"""What a view may say. Each message names its view; what wants an answer has a number of the view's."""

from __future__ import annotations

from typing import Literal

import msgspec

from dnworker.core.errors import UsageError
from dnworker.panel.event_rows import EventFilter
from dnworker.panel.log_rows import LogFilter
from dnworker.sessions.prompts import Decision, QuestionAnswer

Part = Literal["events", "log", "capabilities", "sessions", "fire"]


class Said(msgspec.Struct, kw_only=True, tag=str.lower, tag_field="type"):
    """The base of all messages."""

    view: str


class Hello(Said):
    """Send everything: the view is new, was away, or missed something."""

    parts: list[Part] = msgspec.field(default_factory=list)
    log: LogFilter = LogFilter()
    events: EventFilter = EventFilter()
    session: str | None = None
    trace: str | None = None
    visible: bool = True


class Parts(Said):
    """Only these parts are looked at."""

    parts: list[Part]


class Seen(Said):
    """The update of this number has arrived."""

    seq: int


class Sight(Said):
    """The view is in sight, or not any more."""

    visible: bool


class Bye(Said):
    """The view is gone."""


class Trace(Said):
    """Show this event's trace, and what becomes of it; None for none."""

    event: str | None


class Session(Said):
    """Show this session; None for none."""

    session: str | None


class Asked(Said):
    """The base of what wants an answer."""

    id: int


class Ping(Asked):
    """Tell whether anybody is there."""


class Log(Asked):
    """Filter the log."""

    filter: LogFilter


class Lines(Asked):
    """Send lines from a place on; `whole` as the text of a file."""

    place: int
    count: int
    whole: bool = False


class Line(Asked):
    """Send one line in full."""

    number: int


class Events(Asked):
    """Filter the timeline, or send older events, before a number."""

    filter: EventFilter
    before: int | None = None


class Drive(Asked):
    """Start, stop, restart a worker, or roll it back."""

    verb: Literal["start", "stop", "restart", "rollback"]
    worker: str


class Run(Asked):
    """Run a schedule now."""

    worker: str
    key: list[str]


class Suggest(Asked):
    """Send a payload for a kind."""

    kind: str


class Fire(Asked):
    """Fire an event; the payload is JSON text, since a browser would round its numbers."""

    kind: str
    payload: str
    session: str | None = None
    worker: str | None = None


class Replay(Asked):
    """Fire a recorded event again."""

    event: str


class Copy(Asked):
    """Send an event as a cell that fires it, as a test, or as a cell that keeps the test in the notebook."""

    event: str
    form: Literal["fire", "test", "test-cell"]
    worker: str | None = None


class Locate(Asked):
    """Tell which cell of the notebook had this number when it ran."""

    number: int


class Flag(Asked):
    """Set a flag."""

    capability: str
    flag: str
    value: bool


class Checks(Asked):
    """Run a capability's checks."""

    capability: str


class Export(Asked):
    """Export the notebook."""

    path: str
    target: Literal["dreadnode", "dnworker"] = "dreadnode"
    topology: Literal["uv", "python", "in-process"] = "uv"
    force: bool = False


class Respond(Asked):
    """Answer what a session asks."""

    session: str
    request: str
    answers: list[QuestionAnswer] | None = None
    decision: Decision | None = None


class Cancel(Asked):
    """Cancel a turn."""

    session: str
    turn: str


Message = (
    Hello | Parts | Seen | Sight | Bye | Trace | Session | Ping | Log | Lines | Line | Events | Drive | Run
    | Suggest | Fire | Replay | Copy | Locate | Flag | Checks | Export | Respond | Cancel
)  # fmt: skip


def read(content: object) -> Message:
    """Return a message as its struct.

    Raises:
        UsageError: it is none; says what is wrong with it.
    """
    try:
        found: Message = msgspec.convert(content, Message)
    except msgspec.ValidationError as exc:
        raise UsageError(f"not a message of the panel: {exc}") from None
    return found
