"""What one side of a check did, as plain data, and `Recorder`, which takes it down while workers run.

Everything that handlers do is in the runtime's own history: invocations, and the events that each published.
The recorder keeps both, however many there are, and finds for each what began it: a fired event, a startup, a
schedule, a task, a shutdown.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import re
from collections.abc import Collection, Iterator
from typing import TYPE_CHECKING, Any, Literal

import msgspec

from dnworker.core.envelope import EventEnvelope, is_noise, is_reserved
from dnworker.core.invocation import Invocation, current_invocation
from dnworker.sessions.session import Message

if TYPE_CHECKING:
    from dnworker.core.logs import LogLine
    from dnworker.runtime import Runtime

Root = Literal["event", "startup", "schedule", "task", "shutdown", "unknown"]
"""What began something: a fired event, or a handler without one; `unknown` where nothing says so."""

Effect = tuple[str, Any]
"""One thing that a handler did: the action, and its value as JSON has it."""

NO_EVENT = -1

RAISES = "raises "
"""The beginning of the action of a handler that failed."""

EVENTS_LIMIT = 1_000
"""Events that one fired event may cause until the check stops looking: two handlers may feed each other."""

LONGEST_TEXT = 2_000
"""Characters of a text in a payload that travel; of a longer one it is the beginning and a hash."""

LONGEST_LIST = 500

UNHANDLED = "Task exception was never retrieved"
"""What asyncio logs before the traceback."""

_ERROR = re.compile(r"(?:\w+\.)*([A-Z]\w*(?::.*)?)")
_ADDRESS = re.compile(r"\b0x[0-9a-f]{6,}\b")


class HandlerRun(msgspec.Struct):
    """One run of one handler."""

    who: str
    """Such as `bridge.on_turn`; empty where nobody can say whose it is."""
    root: Root
    event: int
    """Which of the fired events caused it, by its place; NO_EVENT for none."""
    effects: list[tuple[str, Any]] = []
    lanes: list[int] = []
    """Which of the handler's tasks did each of them; those of one task have an order. Empty if unknown."""
    ended: bool = True

    @property
    def errors(self) -> list[Effect]:
        """What it raised."""
        return [effect for effect in self.effects if effect[0].startswith(RAISES)]


class Answer(msgspec.Struct):
    """How an agent answered one turn, step by step."""

    agent: str
    message: str
    event: int
    steps: list[tuple[str, dict[str, Any]]] = []
    """`say`, `call`, `ask`, `sleep` or `fail`, with what each takes."""
    stand_in: bool = False
    """Whether a stand-in answered, because nothing of the notebook could."""


class WorkerStart(msgspec.Struct):
    """Whether a worker came up."""

    state: str
    error: str | None = None


class SessionFacts(msgspec.Struct):
    """A session of the notebook that events name: who answers in it, and what was said."""

    session_id: str
    agent: str | None = None
    model: str | None = None
    policy: str | None = None
    messages: list[Message] = []


class CheckRun(msgspec.Struct):
    """What workers did in one run of one side."""

    runs: list[HandlerRun] = []
    prints: list[tuple[int, str, str]] = []
    """Event, worker and text of each line that handlers printed."""
    unattributed: list[tuple[int, str, str]] = []
    """The same of lines of processes that do not say who printed them, logging among them."""
    answers: list[Answer] = []
    prompts: int = 0
    """Questions to a person that a stand-in answered."""
    endless: list[int] = []
    """The fired events that caused more than EVENTS_LIMIT events."""
    fired: int = 0
    """How many events were fired: none after one that never ended causing others."""
    waited: list[float] = []
    """Seconds until each fired event, and all that it caused, was done with, or its time was up."""
    unhandled: list[str] = []
    """Errors of tasks that handlers started and nobody awaited, such as `NameError: ...`."""
    starts: dict[str, WorkerStart] = {}
    sessions: list[SessionFacts] = []
    """Sessions of the notebook that its side began with."""
    changed: list[str] = []
    """Names of the notebook whose values handlers have changed meanwhile."""
    seconds: float = 0.0
    """From the start of the workers to their stop."""


class Recorder:
    """Takes down what the workers of a runtime do.

    Args:
        runtime: that runs them; not started, or without workers yet.
        workers: the names of those that count: others, such as programs, have no counterpart.
    """

    def __init__(self, runtime: Runtime, workers: Collection[str]) -> None:
        self.event = NO_EVENT
        """Which of the events is being fired, or was fired last."""
        self.overflow = asyncio.Event()
        """Set when the event has caused too many others."""
        self.asked: dict[str, tuple[str, dict[str, Any]]] = {}
        """The agent and the request of each turn, by the turn's id."""
        self._runtime = runtime
        self._workers = frozenset(workers)
        self._invocations: dict[Invocation, int] = {}
        self._causes: dict[str, Invocation | None] = {}
        self._fired: dict[str, int] = {}
        self._when: dict[str, int] = {}
        self._lanes: dict[str, int] = {}
        self._orphans: list[EventEnvelope] = []
        self._sessions: dict[str, dict[str, Any]] = {}
        self._lines: list[tuple[int, LogLine]] = []
        self._running: frozenset[Invocation] = frozenset()
        self.unhandled: list[str] = []
        """Errors that the loop of this process was told of."""
        self.count = 0
        """How many events the fired one has caused."""
        runtime.bus.tap(self._note_event)
        runtime.history.listen(self._note_invocation)
        runtime.logs.listen(lambda line: self._lines.append((self.event, line)))

    # -- while it runs ---------------------------------------------------------------------------------

    def begin_event(self, number: int) -> None:
        """Note that the next event of nobody is the fired one."""
        self.event, self.count = number, 0
        self.overflow.clear()

    def fire(self, envelope_id: str, number: int) -> None:
        """Note the event that was fired."""
        self._fired[envelope_id] = number
        self._orphans = [e for e in self._orphans if e.event_id != envelope_id]

    def freeze(self) -> None:
        """Note what still runs: it is cancelled when the workers stop, and that is none of its doing."""
        self._running = frozenset(i for i in self._invocations if i.outcome == "running")

    def has_tasks(self) -> bool:
        """Return whether a task has begun."""
        return any(invocation.cause == "task" for invocation in self._invocations)

    def _note_event(self, envelope: EventEnvelope) -> None:
        if is_noise(envelope.kind):
            return
        cause = current_invocation.get()
        self._causes[envelope.event_id] = cause
        self._when[envelope.event_id] = self.event
        task = asyncio.current_task()
        self._lanes[envelope.event_id] = 0 if task is None else id(task)
        if cause is None:
            self._orphans.append(envelope)
        if envelope.kind == "session.created" and envelope.session_id is not None:
            self._sessions[envelope.event_id] = self._facts(envelope.session_id)
        self.count += not is_reserved(envelope.kind) and self._root_of_event(envelope.event_id)[0] == "event"
        if self.count > EVENTS_LIMIT:
            self.overflow.set()

    def _facts(self, session_id: str) -> dict[str, Any]:
        session = self._runtime.sessions.get(session_id)
        facts = {"session_id": session_id, "agent": session.agent, "model": session.model}
        return {key: value for key, value in facts.items() if value is not None}

    def _note_invocation(self, invocation: Invocation) -> None:
        self._invocations.setdefault(invocation, self.event)

    # -- afterwards ------------------------------------------------------------------------------------

    def result(self) -> CheckRun:
        """Return what was done so far."""
        found = [run for i in sorted(self._invocations, key=lambda i: i.number) if (run := self._run(i))]
        for orphan in self._orphans:
            root, event = self._root_of_event(orphan.event_id)
            if (effect := self._effect(orphan)) is not None:
                found.append(HandlerRun("", root, event, [effect]))
        prints, unattributed = self._printed()
        return CheckRun(found, prints, unattributed, unhandled=[*dict.fromkeys(self._unhandled())])

    def _unhandled(self) -> Iterator[str]:
        for invocation in self._invocations:
            if _short(invocation.worker) in self._workers:
                yield from (f"{e.type}: {_ADDRESS.sub('0x...', e.message)}" for e in invocation.unhandled)
        yield from self.unhandled
        begun: set[str] = set()
        for _, line in self._lines:  # of a process, whose loop logs it
            if UNHANDLED in line.text:
                begun.add(line.worker)
            elif line.worker in begun and (error := _ERROR.fullmatch(line.text.strip())):
                begun.discard(line.worker)
                yield _ADDRESS.sub("0x...", error[1])

    def _run(self, invocation: Invocation) -> HandlerRun | None:
        worker = _short(invocation.worker)
        if worker not in self._workers or invocation.cause == "turn":
            return None
        root, event = self._root_of(invocation)
        run = HandlerRun(f"{worker}.{invocation.handler}", root, event)
        lanes: dict[int, int] = {}
        for envelope in [*invocation.published][:EVENTS_LIMIT]:
            if (effect := self._effect(envelope, invocation)) is not None:
                lane = self._lanes.get(envelope.event_id, 0)
                run.effects.append(effect)
                run.lanes.append(lanes.setdefault(lane, len(lanes)))
        if invocation.error is not None and invocation not in self._running:
            error = invocation.error
            run.effects.append((f"{RAISES}{error.type}", _ADDRESS.sub("0x...", digest(error.message))))
            run.lanes.append(0)
        run.ended = invocation not in self._running and invocation.outcome != "running"
        if invocation.outcome == "cancelled" and run.ended and invocation.cause != "task":
            run.effects.append(("is cancelled", None))
            run.lanes.append(0)
        return run

    def _effect(self, envelope: EventEnvelope, by: Invocation | None = None) -> Effect | None:
        """Return what publishing an event means; None where it is the runtime's own way to say something."""
        kind, payload = envelope.kind, digest(envelope.payload)
        if kind == "turn.accepted":
            agent, request = self.asked.get(envelope.turn_id or "", ("an agent", {}))
            return f"asks {agent}", digest(request)
        if kind == "session.created":
            return "creates a session", self._sessions.get(envelope.event_id, {})
        if is_reserved(kind):
            return None
        if kind == "notify" and by is not None:
            # Only an in-process client names its capability as the source (contract 1.4).
            own = ("", f"capability.{by.worker.partition(':')[0]}")
            payload = {k: v for k, v in payload.items() if k != "source" or v not in own}
        if envelope.session_id is not None:
            payload = {**payload, "(session)": envelope.session_id}
        return "notifies" if kind == "notify" else f"publishes {kind}", payload

    def _root_of(self, invocation: Invocation) -> tuple[Root, int]:
        if invocation.event is not None:
            return self._root_of_event(invocation.event.event_id)
        if invocation.cause in ("startup", "schedule", "task", "shutdown"):
            return invocation.cause, NO_EVENT  # type: ignore[return-value]
        return "unknown", NO_EVENT

    def _root_of_event(self, event_id: str) -> tuple[Root, int]:
        while event_id not in self._fired:
            cause = self._causes.get(event_id)
            if cause is None:  # while an event was fired; nothing says who published it
                when = self._when.get(event_id, NO_EVENT)
                return ("unknown" if when == NO_EVENT else "event"), when
            if cause.event is None:
                return self._root_of(cause)
            event_id = cause.event.event_id
        return "event", self._fired[event_id]

    def _printed(self) -> tuple[list[tuple[int, str, str]], list[tuple[int, str, str]]]:
        prints, unattributed = [], []
        for invocation in self._invocations:
            worker = _short(invocation.worker)
            root, event = self._root_of(invocation)
            if worker in self._workers and invocation.cause != "turn" and root not in ("task", "schedule"):
                prints += [(event, worker, t) for line in invocation.logs for t in _text_of(line)]
        for event, line in self._lines:
            worker = _short(line.worker)
            if worker in self._workers and line.invocation_id is None:
                unattributed += [(event, worker, text) for text in _text_of(line)]
        return prints, unattributed


def _text_of(line: LogLine) -> Iterator[str]:
    text = line.text.strip()
    if line.source == "stdout" and text:
        yield _ADDRESS.sub("0x...", digest(text))


def _short(worker: str) -> str:
    """Return a worker's name without that of its capability."""
    return worker.rpartition(":")[2]


def digest(value: Any) -> Any:
    """Return a value that is small: of long texts and lists it has the beginning and a hash of the whole."""
    if isinstance(value, str):
        if len(value) <= LONGEST_TEXT:
            return value
        return f"{value[:100]} ... ({len(value):,} characters, sha256 {_hash(value)})"
    if isinstance(value, dict):
        return {key: digest(part) for key, part in value.items()}
    if isinstance(value, list):
        if len(value) <= LONGEST_LIST:
            return [digest(part) for part in value]
        whole = json.dumps(value, sort_keys=True)
        return [*(digest(part) for part in value[:20]), f"({len(value):,} items, sha256 {_hash(whole)})"]
    return value


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode(errors="surrogatepass")).hexdigest()[:16]
