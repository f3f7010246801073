"""`Drain`: lets what runs and waits end before a runtime stops; `serve` takes its steps and prints its lines.

First it only says that it is not ready (`announce`). Then no schedule is due any more, and what handlers and
turns have under way may end (`work_off`). A broker that survives a kill keeps what waits for the next
runtime. In memory it is worked off, publishers that are no workers are refused, and what is left is named.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections import Counter
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

from dnworker.core.errors import Stopping
from dnworker.core.invocation import Invocation, current_invocation
from dnworker.core.lifecycle import WorkerState
from dnworker.events.causes import publisher

if TYPE_CHECKING:
    from dnworker.core.envelope import EventEnvelope
    from dnworker.engine.progress import Progress
    from dnworker.events.bus import EventBus
    from dnworker.events.history import History
    from dnworker.sessions.store import SessionStore
    from dnworker.sessions.turns import Turns
    from dnworker.workers.managed import ManagedWorker

LOOK = 0.02
"""Seconds between two looks whether all has ended."""

TELL_AFTER = 0.5
"""Seconds after which it is said what is waited for."""

NAMED = 8
"""Handlers, workers or kinds that one line names."""

_CAUSES = ("event", "schedule", "turn")
"""What is waited for; tasks run until they are cancelled, and startups are of no use any more."""

Say = Callable[[str], None]


class Drain:
    """The last work of a runtime.

    Args:
        bus: whose events are worked off.
        history: knows what runs.
        sessions, turns: what they have under way.
        progress: says that the runtime stops.
        workers: returns those that there are.
        leave: has this node take no worker more from others.
    """

    def __init__(
        self,
        bus: EventBus,
        history: History,
        sessions: SessionStore,
        turns: Turns,
        progress: Progress,
        workers: Callable[[], Iterable[ManagedWorker]],
        leave: Callable[[], None],
    ) -> None:
        self._bus = bus
        self._history = history
        self._sessions = sessions
        self._turns = turns
        self._progress = progress
        self._workers = workers
        self._leave = leave
        self._until = 0.0
        self._is_refusing = False
        self._heard: frozenset[str] | None = frozenset()
        self._unheard: Counter[str] = Counter()
        self._end_tap: Callable[[], None] = lambda: None

    @property
    def retry_after(self) -> int:
        """Seconds after which another runtime may be there, as `Retry-After` has it."""
        return max(1, math.ceil(self._until - time.monotonic()))

    def announce(self, seconds: float) -> None:
        """Say that the runtime is not ready any more, and is gone in so many seconds; it works on."""
        self._until = time.monotonic() + seconds
        self._progress.stop()

    def check_open(self) -> None:
        """Check that an event that no worker publishes would be handled or kept.

        Raises:
            Stopping: it would be lost.
        """
        if self._is_refusing:
            raise Stopping(
                "the runtime stops, and would lose the event; publish it again when there is another",
                retry_after=self.retry_after,
            )

    def reopen(self) -> None:
        """Be as before the first stop, for a runtime that is started again."""
        self._is_refusing = False
        self._end_tap()
        self._progress.begin_anew()
        self._unheard.clear()

    # -- the last work ---------------------------------------------------------------------------------

    async def work_off(self, within: float, say: Say) -> None:
        """Return when nothing runs and nothing waits, `within` seconds later at most.

        Args:
            within: seconds.
            say: told in one line each what is waited for, what is cut off, and which events no worker gets.
        """
        keeps = self._bus.broker.capabilities.survives_kill
        self._is_refusing = not keeps
        self._leave()
        if keeps:
            self._turns.is_stopping = True
        for worker in self._workers():
            worker.hold(events=keeps)
        began = time.monotonic()
        is_told = False
        while self._is_busy(keeps=keeps) and (spent := time.monotonic() - began) < within:
            if spent >= TELL_AFTER and not is_told:
                is_told = True
                say(f"waiting up to {within:g} s for {self._what_is_left(keeps=keeps)}")
            await asyncio.sleep(min(LOOK, within - spent))
        self._tell_left(say, within, keeps=keeps)

    def _running(self) -> list[Invocation]:
        """Return what runs and would end by itself; not what a worker that is down has left behind."""
        asleep = self._turns_that_wait()
        down = {w.qualified_name for w in self._workers() if w.state is not WorkerState.RUNNING}
        return [
            one
            for one in self._history.running()
            if one.cause in _CAUSES
            and one.worker not in down
            and one not in asleep
            and not self._history.waits_for_sleeper(one, asleep)
        ]

    def _turns_that_wait(self) -> set[Invocation]:
        """Return the turns that do not go on by themselves: they ask a person, or wait for the next start."""
        found: set[Invocation] = set()
        for session in self._sessions.list():
            queue = self._turns.queue(session)
            if queue.active is not None and queue.prompts:
                found |= {turn.invocation for turn in queue.turns}
            elif self._turns.is_stopping:
                found |= {turn.invocation for turn in queue.waiting}
        return found

    def _is_busy(self, *, keeps: bool) -> bool:
        return bool(self._running()) or (not keeps and any(w.owed for w in self._up()))

    def _up(self) -> list[ManagedWorker]:
        return [one for one in self._workers() if one.state is WorkerState.RUNNING]

    def _what_is_left(self, *, keeps: bool) -> str:
        running = Counter(one.label for one in self._running())
        waiting = 0 if keeps else sum(one.owed for one in self._up())
        parts = [f"{counted(running.total(), 'handler')} ({listed(running)})"] if running else []
        return " and ".join([*parts, *([counted(waiting, "event")] if waiting else [])])

    def _tell_left(self, say: Say, within: float, *, keeps: bool) -> None:
        """Say what is cut off, and count from now on what handlers publish that no worker gets."""
        if running := Counter(one.label for one in self._running()):
            again = "; their events come again at the next start" if keeps else ""
            has = f"{counted(running.total(), 'handler')} had not ended after {within:g} s and"
            say(f"{has} {'is' if running.total() == 1 else 'are'} cancelled: {listed(running)}{again}")
        if keeps:
            return
        owed = {one.qualified_name: kinds for one in self._up() if (kinds := one.owed_kinds())}
        if owed:
            total = sum(kinds.total() for kinds in owed.values())
            each = "; ".join(f"{name}: {listed(kinds)}" for name, kinds in [*owed.items()][:NAMED])
            more = f"; and of {len(owed) - NAMED} more workers" if len(owed) > NAMED else ""
            say(f"{counted(total, 'event')} that waited for handlers {_are(total)} lost: {each}{more}")
        listening = self._bus.listening().values()
        self._heard = None if None in listening else frozenset().union(*filter(None, listening))
        self._end_tap = self._bus.tap(self._note)

    def _note(self, envelope: EventEnvelope) -> None:
        """Count an event of a handler that comes when all workers stop."""
        is_ours = current_invocation.get() is not None or publisher() is not None
        if is_ours and (self._heard is None or envelope.kind in self._heard):
            self._unheard[envelope.kind] += 1

    def tell_unheard(self, say: Say) -> None:
        """Say how many events were published, while the workers stopped, that none of them got."""
        if total := self._unheard.total():
            what = f"{counted(total, 'event')} {'was' if total == 1 else 'were'} published"
            say(f"{what} that no worker got: {listed(self._unheard)}")


def counted(number: int, what: str) -> str:
    """Return a number with its word, as `1 event` or `3 events`."""
    return f"{number:,} {what}{'' if number == 1 else 's'}"


def listed(count: Counter[str]) -> str:
    """Return names, the most frequent first, each with how often it came, as `2 demo.a, 1 demo.b`."""
    names = [f"{number:,} {name}" for name, number in count.most_common(NAMED)]
    return ", ".join([*names, *([f"{len(count) - NAMED} more"] if len(count) > NAMED else [])])


def _are(number: int) -> str:
    return "is" if number == 1 else "are"
