"""`Cluster`: this node tells others what runs on it, and hears of theirs; a part of the engine.

It does so only over a broker that several runtimes share; else nothing is noted, and nothing costs.
"""

from __future__ import annotations

import asyncio
import contextvars
import logging
import uuid
from collections.abc import Callable, Coroutine
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

import msgspec

from dnworker.core.clock import Clock, RealClock, SwitchClock
from dnworker.core.errors import BrokerError, NotStored
from dnworker.core.task_ends import end_tasks
from dnworker.core.text import clip
from dnworker.events.brokers.messages import Messages, Unreachable, subject_token
from dnworker.events.bus import EventBus
from dnworker.events.history import History

if TYPE_CHECKING:
    from dnworker.engine.elsewhere import Elsewhere
    from dnworker.engine.reporter import Reporter

log = logging.getLogger("dnworker.cluster")

LOOK_SECONDS = 1.0
"""How often it is looked who is gone."""

ANSWER_SECONDS = 1.0
"""How long another node may take to say why none of its workers has heard an event."""

TEXTS_TAKEN, TEXT_TAKEN, ANSWER_BYTES = 5, 300, 64_000

WhyUnheard = Callable[[str, str | None], list[str]]


class _Question(msgspec.Struct, array_like=True):
    kind: str
    only: str | None = None


class Cluster:
    """The reports of this node and of others, while the runtime runs over a broker that is shared.

    Args:
        node: the name of this node.
        bus, history: of this node.
        clock: the runtime's; where somebody can set that, the machine's is used.
        why_unheard: returns why no worker here would hear an event of a kind, for others that ask.
    """

    def __init__(
        self, node: str, bus: EventBus, history: History, clock: Clock, why_unheard: WhyUnheard
    ) -> None:
        self.node = node
        self._bus, self._history, self._why_unheard = bus, history, why_unheard
        self._clock = RealClock() if isinstance(clock, SwitchClock) else clock
        self.elsewhere: Elsewhere | None = None
        """What happens on other nodes; None while there can be none."""
        self.reporter: Reporter | None = None
        self._undo = ExitStack()
        self._tasks: set[asyncio.Task[None]] = set()
        self._is_posted = False

    async def open(self) -> None:
        """Report and listen from now on, where the broker is shared."""
        broker, history = self._bus.broker, self._history
        if not broker.capabilities.is_shared or broker.reports is None:
            return
        from dnworker.engine.elsewhere import Elsewhere  # only where there are other nodes
        from dnworker.engine.reporter import Reporter

        instance = uuid.uuid4().hex
        elsewhere = self.elsewhere = Elsewhere(self._bus, history, self._clock, instance)
        reporter = self.reporter = Reporter(
            self._bus, history, self._clock, self.node, instance, broker.reports
        )
        history.node, history.elsewhere = self.node, _Both(elsewhere, reporter)
        undo = self._undo.callback
        undo(self._bus.submitted.add(elsewhere.note_submitted))
        undo(self._bus.tap(lambda envelope: self._note_event()))
        undo(self._bus.tap(elsewhere.note_event))
        undo(broker.reports.follow(self._take))
        if broker.messages is not None:
            undo(broker.messages.serve(_subject(instance), self._answer))
        reporter.open(self._spawn)
        self._spawn(self._look(), name="dnworker nodes that are gone")

    async def close(self) -> None:
        """Say that this node ends, and forget the others; may be called again."""
        self._undo.close()
        if self.reporter is not None:
            await self.reporter.close()
        await end_tasks(*self._tasks)
        if self.elsewhere is not None:
            self.elsewhere.close()
        self._history.node = self._history.elsewhere = None
        self.elsewhere = self.reporter = None
        self._history.look_again()

    def _spawn(self, coroutine: Coroutine[Any, Any, None], name: str) -> asyncio.Task[None]:
        """Start a task that lasts until the close, of no invocation; its failure is said."""
        task = asyncio.get_running_loop().create_task(coroutine, name=name, context=contextvars.Context())
        self._tasks.add(task)
        task.add_done_callback(self._note_done)
        return task

    def _note_done(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (exc := task.exception()) is not None:
            log.error(
                "%s ended: other nodes and this one see no more of each other", task.get_name(), exc_info=exc
            )

    async def _look(self) -> None:
        while True:
            await self._clock.sleep(LOOK_SECONDS)
            if self.elsewhere is not None:
                self.elsewhere.look_for_gone()

    # -- reports ---------------------------------------------------------------------------------------

    def _take(self, data: bytes) -> None:
        if self.elsewhere is None or self.reporter is None:
            return
        self.elsewhere.take(data)
        if self.elsewhere.is_asked:
            self.elsewhere.is_asked = False
            self.reporter.tell_standing()

    def _note_event(self) -> None:
        """Read the reports that waited for an event, once that has been delivered here."""
        if not self._is_posted and self.elsewhere is not None and self.elsewhere.is_waiting:
            self._is_posted = True
            asyncio.get_running_loop().call_soon(self._read_waiting, context=contextvars.Context())

    def _read_waiting(self) -> None:
        self._is_posted = False
        if self.elsewhere is not None:
            self.elsewhere.read_what_waits()

    # -- why nobody has heard an event -----------------------------------------------------------------

    async def why_unheard(self, kind: str, only: str | None) -> list[str]:
        """Return why no worker of other nodes has heard an event of a kind, with the way out.

        Args:
            kind: of the event.
            only: the qualified name of the one worker that was to get it.
        """
        messages = self._bus.broker.messages
        if self.elsewhere is None or messages is None:
            return []
        peers = self.elsewhere.peers()
        question = msgspec.msgpack.encode(_Question(kind, only))
        asked = [self._ask(messages, kind, peer.node, peer.instance, question) for peer in peers]
        return [text for texts in await asyncio.gather(*asked) for text in texts]

    async def _ask(
        self, messages: Messages, kind: str, node: str, instance: str, question: bytes
    ) -> list[str]:
        try:
            answer = await messages.request(_subject(instance), question, ANSWER_SECONDS)
            texts = msgspec.msgpack.decode(answer, type=list[str]) if len(answer) <= ANSWER_BYTES else []
        except (Unreachable, NotStored, BrokerError):
            return [f"node {node} does not say whether a worker of it listens to {kind}"]
        except (msgspec.MsgspecError, UnicodeDecodeError) as exc:
            log.warning("an answer of node %s cannot be read: %s", node, exc)
            return []
        return [f"on node {node}: {clip(text, TEXT_TAKEN)}" for text in texts[:TEXTS_TAKEN]]

    async def _answer(self, data: bytes) -> bytes:
        question = msgspec.msgpack.decode(data, type=_Question)
        texts = self._why_unheard(question.kind, question.only)
        return msgspec.msgpack.encode([clip(text, TEXT_TAKEN) for text in texts[:TEXTS_TAKEN]])


class _Both:
    """What the history asks, answered by what others report and by what is not accepted here yet."""

    def __init__(self, elsewhere: Elsewhere, reporter: Reporter) -> None:
        self.is_pending = elsewhere.is_pending
        self.counts = elsewhere.counts
        self.is_busy = elsewhere.is_busy
        self._elsewhere, self._reporter = elsewhere, reporter

    def has_coming(self, invocation: Any) -> bool:
        """Return whether an invocation has published events that have not arrived yet."""
        if invocation.is_elsewhere:
            return self._elsewhere.has_coming(invocation)
        return self._reporter.has_coming(invocation)


def _subject(instance: str) -> str:
    return f"unheard.{subject_token(instance)}"
