"""Runs two generations of a worker on the same events without side effects, and compares what they do.

Handlers run for real, and what they would do through their client is written down instead of done. Only that:
a socket or a file that a handler opens by itself is opened.
"""

from __future__ import annotations

import asyncio
import contextvars
import difflib
from collections.abc import Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import msgspec

from dnworker.core.envelope import EventEnvelope, check_publishable, snapshot
from dnworker.core.handler_error import describe
from dnworker.core.handlers import HandlerKey
from dnworker.core.invocation import Cause, Invocation, current_invocation
from dnworker.core.keys import check_key
from dnworker.core.samples import sample
from dnworker.workers.effects import effect_line, published_line
from dnworker.workers.registry import handlers_of

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from dnworker.client.client import RuntimeClient
    from dnworker.workers.worker import Worker

DIFFERED_WITHIN = 200
"""Lines up to which similar ones are looked for, so that they stand together; that takes ever longer."""

LIMIT = 30.0
"""Seconds that a handler may take."""

_READING = ("fetch_", "list_", "browse_", "get_", "read_", "query_")

current_shadow: contextvars.ContextVar[Worker | None] = contextvars.ContextVar(
    "dnworker_shadow", default=None
)
"""The worker whose handler runs as a shadow here; a notebook's `worker` means this one then."""


class ShadowClient:
    """What a shadow's handlers get: calls that change something are written down, others are made."""

    groups_sessions = False

    def __init__(self, real: RuntimeClient | None) -> None:
        self.effects: list[str] = []
        self._real = real

    async def publish(
        self,
        kind: str,
        payload: dict[str, Any] | None = None,
        *,
        session_id: str | None = None,
        dedupe: str | None = None,
    ) -> dict[str, Any]:
        """Record an event, after the checks of the real client."""
        check_publishable(kind)
        copy, _ = snapshot(payload)
        self.effects.append(published_line(kind, copy, session_id, dedupe))
        return {"event_id": "0" * 32, "seq": 0}

    @asynccontextmanager
    async def once(self, key: str) -> AsyncIterator[bool]:
        """Run the body, and remember nothing: what the worker itself has done is not asked."""
        self._note("once", check_key(key))
        yield True

    async def notify(self, title: str, *, session_id: str | None = None, **fields: Any) -> dict[str, Any]:
        """Record a notification."""
        return await self.publish("notify", {"title": title, **fields}, session_id=session_id)

    async def create_session(self, **fields: Any) -> Any:
        """Record a new session, and return one that the handler can use."""
        from dnworker.core.models import SessionInfo

        self._note("create_session", **fields)
        return SessionInfo(session_id=fields.get("session_id") or "shadow-session", created_at="")

    async def run_turn(self, **fields: Any) -> dict[str, Any]:
        """Record a turn, and return the sample of a completed one."""
        self._note("run_turn", **fields)
        return sample("turn.completed")

    async def stream_chat(self, **fields: Any) -> AsyncIterator[dict[str, Any]]:
        """Record a message; no agent answers it."""
        self._note("stream_chat", **fields)
        nothing: list[dict[str, Any]] = []
        for raw in nothing:
            yield raw

    @asynccontextmanager
    async def session_group(self, title: str, **fields: Any) -> AsyncIterator[None]:
        """Run the body without a group: a shadow reports to nobody."""
        yield None

    workflow = session_group

    async def subscribe(self, *kinds: str) -> AsyncIterator[EventEnvelope]:
        """Give nothing, and end: a shadow hears the events of the comparison alone."""
        nothing: list[EventEnvelope] = []
        for event in nothing:
            yield event

    def __getattr__(self, method: str) -> Any:
        if method.startswith("_"):
            raise AttributeError(method)
        if method.startswith(_READING) and self._real is not None:
            return getattr(self._real, method)

        async def note(*args: Any, **fields: Any) -> None:
            self._note(method, *args, **fields)

        return note

    def _note(self, what: str, *args: Any, **fields: Any) -> None:
        self.effects.append(effect_line(what, *args, **fields))


class Observation(msgspec.Struct):
    """What one generation did with one event, as lines; `event` is None for its startup."""

    event: EventEnvelope | None
    lines: list[str] = msgspec.field(default_factory=list)


@dataclass(repr=False)
class Comparison:
    """What two generations did with the same events."""

    before: list[Observation]
    after: list[Observation]
    labels: tuple[str, str]

    @cached_property
    def differing(self) -> list[tuple[str, Observation, Observation]]:
        """What the pairs are called in which they differ, and the pairs."""
        pairs = enumerate(zip(self.before, self.after, strict=True))
        return [(_title(n, a.event), a, b) for n, (a, b) in pairs if a.lines != b.lines]

    @cached_property
    def diffs(self) -> list[list[str]]:
        """The lines of each pair that differs, each with `- `, `+ ` or two spaces before it."""
        return [_diff(old.lines, new.lines) for _, old, new in self.differing]

    def lines(self) -> list[str]:
        """Return the differences as text; `-` is the generation before, `+` the one of now."""
        events = len(self.before) - 2
        differing = self.differing
        if not differing:
            return [f"{events} events: no difference between {self.labels[0]} and {self.labels[1]}"]
        shown = [f"--- {self.labels[0]}", f"+++ {self.labels[1]}"]
        for (title, _, _), diff in zip(differing, self.diffs, strict=True):
            shown += ["", title, *diff]
        count = sum(1 for _, old, _ in differing if old.event is not None)
        return [*shown, "", f"{count} of {events} events differ"]

    def __repr__(self) -> str:
        return "\n".join(self.lines())


def _diff(old: list[str], new: list[str]) -> list[str]:
    if max(len(old), len(new)) <= DIFFERED_WITHIN:
        return [line for line in difflib.ndiff(old, new) if not line.startswith("? ")]
    found: list[str] = []
    for what, i, j, k, m in difflib.SequenceMatcher(None, old, new).get_opcodes():
        if what == "equal":
            found += [f"  {line}" for line in old[i:j]]
        else:
            found += [*(f"- {line}" for line in old[i:j]), *(f"+ {line}" for line in new[k:m])]
    return found


def _title(index: int, event: EventEnvelope | None) -> str:
    if event is not None:
        return f"{event.kind}  #{event.seq}"
    return "startup" if index == 0 else "state at the end"


async def compare(
    before: Callable[[], Worker],
    after: Callable[[], Worker],
    events: Sequence[EventEnvelope],
    client: RuntimeClient | None,
    labels: tuple[str, str] = ("before", "after"),
    *,
    has_started: bool = False,
) -> Comparison:
    """Run two generations, one after the other, each from a fresh start, on the same events.

    Where `has_started`, what is made has the state of a worker that runs: its startup handlers do not.
    """
    first = await _observe(before, events, client, has_started=has_started)
    return Comparison(first, await _observe(after, events, client, has_started=has_started), labels)


async def _observe(
    make: Callable[[], Worker],
    events: Sequence[EventEnvelope],
    client: RuntimeClient | None,
    *,
    has_started: bool,
) -> list[Observation]:
    worker, recorder = make(), ShadowClient(client)
    seen = [Observation(None)]
    for key, starting, _ in [*handlers_of(worker)] if not has_started else ():
        if key.decorator == "on_startup":
            await _run(worker, key, starting, (recorder,), recorder, seen[0], "startup")
    listening: dict[str, list[tuple[HandlerKey, Any]]] = {}  # listed now: startup may have registered more
    for key, handler, _ in handlers_of(worker):
        if key.decorator == "on_event":
            listening.setdefault(key.trigger, []).append((key, handler))
    for event in events:
        seen.append(Observation(event))
        for key, handler in listening.get(event.kind, ()):
            await _run(worker, key, handler, (event, recorder), recorder, seen[-1], "event")
    seen.append(Observation(None, [f"{key} = {value!r:.200}" for key, value in _plain(worker.state)]))
    return seen


async def _run(
    worker: Worker,
    key: HandlerKey,
    handler: Any,
    args: tuple[Any, ...],
    recorder: ShadowClient,
    seen: Observation,
    cause: Cause,
) -> None:
    invocation = Invocation(f"shadow:{worker.name}", key.name, cause, muted=True)
    context = contextvars.Context()
    context.run(current_invocation.set, invocation)
    context.run(current_shadow.set, worker)
    task = asyncio.create_task(_raised_by(handler, args), name=f"shadow {invocation.label}", context=context)
    name = invocation.handler
    try:
        done, _ = await asyncio.wait({task}, timeout=LIMIT)
    finally:
        task.cancel()  # harmless when it is done
    if not done:
        await asyncio.wait({task}, timeout=1)  # one that ignores it is left behind
        seen.lines.append(f"{name} took longer than {LIMIT:g} s")
    elif task.cancelled():
        seen.lines.append(f"{name} was cancelled")
    elif (exc := task.result()) is not None:
        error = describe(exc)
        seen.lines.append(f"{name} raised {error.type}: {error.message}")
    seen.lines += [f"{name} prints {line.text}" for line in invocation.logs]
    seen.lines += [f"{name} {effect}" for effect in recorder.effects]
    recorder.effects.clear()


async def _raised_by(handler: Any, args: tuple[Any, ...]) -> BaseException | None:
    """Run a handler and return what it raised: a SystemExit of a task would end the loop."""
    try:
        await handler(*args)
    except (asyncio.CancelledError, GeneratorExit):
        raise
    except BaseException as exc:
        return exc
    return None


def _plain(state: dict[str, Any]) -> list[tuple[str, Any]]:
    """Return what of a state says the same in two runs: not objects whose repr is an address."""
    kinds = (str, bytes, int, float, bool, type(None), list, tuple, dict, set, frozenset)
    return [(key, value) for key, value in state.items() if isinstance(value, kinds)]
