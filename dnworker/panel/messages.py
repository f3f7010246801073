"""The messages that views send, as structs that name their view and number requests; `feed` reads them."""

from __future__ import annotations

from typing import Any, Literal

import msgspec

from dnworker.core.errors import UsageError
from dnworker.core.topology import Topology
from dnworker.panel.log_rows import LogFilter
from dnworker.sessions.prompts import Decision, QuestionAnswer

Part = Literal["log", "logbar"]
"""What is sent piece by piece, or by the view itself; `parts.PARTS` has the others."""


class FromView(msgspec.Struct, kw_only=True, tag=str.lower, tag_field="type"):
    """The base of all messages."""

    view: str


class Hello(FromView):
    """Send everything: the view is new, was away, or missed something."""

    parts: list[Part] = msgspec.field(default_factory=list)
    log: LogFilter = LogFilter()
    looks: dict[str, dict[str, Any]] = msgspec.field(default_factory=dict)
    visible: bool = True


class Parts(FromView):
    """Only these parts are looked at."""

    parts: list[Part]


class Ack(FromView):
    """The update of this number has arrived."""

    seq: int


class Visibility(FromView):
    """The view is visible, or not any more."""

    visible: bool


class Bye(FromView):
    """The view is gone."""


class Look(FromView):
    """Look at one of `parts.PARTS`, again as it changes; `wanted` says what of it, None ends it."""

    part: str
    wanted: dict[str, Any] | None


class Request(FromView):
    """The base of what is answered, by its number."""

    id: int


class Ping(Request):
    """Answer, to show that the kernel is there."""


class Log(Request):
    """Filter the log."""

    filter: LogFilter


class Lines(Request):
    """Send entries from a position on; `whole` as the text of a file."""

    position: int
    count: int
    whole: bool = False


class Line(Request):
    """Send one entry in full, by the number of its first line."""

    number: int


class Find(Request):
    """Send the position of the next entry, or the one before, that has the text of the filter."""

    position: int
    backward: bool = False


class Older(Request):
    """Send older rows of the list of runs that is looked at, before a number."""

    before: int


class Diagram(Request):
    """Send the run of an event as a sequence diagram in Mermaid's language."""

    event: str


class MapText(Request):
    """Send the flow map as text; `wanted` says what of it, as in a look at it."""

    form: Literal["mermaid", "svg"]
    wanted: dict[str, Any] = msgspec.field(default_factory=dict)


class EventPayload(Request):
    """Send the payload of an event as text."""

    event: str


class Control(Request):
    """Start, stop, restart a worker, roll it back, deliver what a storm holds, or undo an agent's change."""

    verb: Literal["start", "stop", "restart", "rollback", "resume", "undo"]
    worker: str
    generation: int | None = None
    """The one to go back to; by default the one before."""
    change: str = ""
    """With undo: the agent's change."""


class Remove(Request):
    """Take one handler of a cell out."""

    worker: str
    key: list[str]


class Run(Request):
    """Run a schedule now."""

    worker: str
    key: list[str]


class Dismiss(Request):
    """Take a row out of what fails now, by its id, until that fails again."""

    row: int


class Dead(Request):
    """Have a dead letter delivered again, send its payload, drop it, or put back one that was dropped."""

    verb: Literal["retry", "payload", "drop", "restore"]
    event: str
    worker: str


class Restore(Request):
    """Bring back a row that was dismissed, if that still fails."""

    row: int


class Suggest(Request):
    """Send a payload for a kind."""

    kind: str


class Draft(Request):
    """Send what would be fired as a cell that fires it."""

    kind: str
    payload: str
    session: str | None = None
    worker: str | None = None


class Fire(Request):
    """Fire an event; the payload is JSON text, since a browser would round its numbers."""

    kind: str
    payload: str
    session: str | None = None
    worker: str | None = None


class Replay(Request):
    """Fire a recorded event again."""

    event: str


class Payload(Request):
    """Send a piece of an event's payload as text, from a character on."""

    event: str
    start: int = 0


class Alike(Request):
    """Send the newest events of the kind of an event, to compare it with."""

    event: str


class Compare(Request):
    """Send what differs between the payloads of two events."""

    left: str
    right: str


class Copy(Request):
    """Send an event as a cell that fires it, as a test, or as a cell that keeps the test in the notebook."""

    event: str
    form: Literal["fire", "test", "test-cell", "debug"]
    worker: str | None = None


class Locate(Request):
    """Send the id of the cell that had this number when it ran."""

    number: int


class Flag(Request):
    """Set a flag."""

    capability: str
    flag: str
    value: bool


class Checks(Request):
    """Run a capability's checks."""

    capability: str


class Reconnect(Request):
    """Connect to an MCP server again."""

    capability: str
    server: str


class Export(Request):
    """Export the notebook."""

    path: str
    target: Literal["dreadnode", "dnworker"] = "dreadnode"
    topology: Topology = "uv"
    force: bool = False


class Respond(Request):
    """Answer a prompt of a session."""

    session: str
    request: str
    answers: list[QuestionAnswer] | None = None
    decision: Decision | None = None


class Cancel(Request):
    """Cancel a turn."""

    session: str
    turn: str


Message = (
    Hello | Parts | Ack | Visibility | Bye | Look | Ping | Log | Lines | Line
    | Find | Control | Remove | Run | Dismiss | Restore | Dead | Suggest | Draft | Fire
    | Older | Diagram | MapText | EventPayload | Replay
    | Copy | Locate | Flag | Checks | Reconnect | Export | Respond | Cancel | Payload | Alike | Compare
)  # fmt: skip


def read(content: object) -> Message:
    """Return a message of a view as its struct.

    Raises:
        UsageError: it is malformed; says how.
    """
    try:
        found: Message = msgspec.convert(content, Message)
    except msgspec.ValidationError as exc:
        raise UsageError(f"not a message of the panel: {exc}", code="DN915") from None
    return found
