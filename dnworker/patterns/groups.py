"""`Groups`: events that wait together until one run handles them all; `debounce` and `batch` use it.

A handler does not end before the run of its group has: whoever acknowledges an event when its handler ends
does not do so too early.
"""

from __future__ import annotations

import asyncio
import contextvars
from collections import deque
from collections.abc import Awaitable, Callable, Hashable, Sequence
from functools import partial
from typing import Any

from dnworker.core.errors import RuleFull
from dnworker.patterns.parts import MOST, ROUNDING, PerLoop, asleep_here, log, name_of, note_of, time_here

STOP_SECONDS = 4.0
"""Seconds that the runs of waiting events get when their worker stops, which itself waits for 5."""

ENDED_ALONE = "ended alone"
"""With this a runtime cancels one handler, and not all because their worker stops."""

NAMED = 20
"""Events of a run that its note names."""


class Member:
    """One event that waits, and its handler."""

    def __init__(self, args: tuple[Any, ...], fields: dict[str, Any]) -> None:
        loop = asyncio.get_running_loop()
        self.args = args
        self.fields = fields
        self.context = contextvars.copy_context()
        self.task = asyncio.current_task()
        self.awake: asyncio.Future[None] = loop.create_future()
        """Done once its handler does something itself: the run goes by its name, or is over."""
        self.done: asyncio.Future[Any] = loop.create_future()
        """What the run has returned or raised."""

    @property
    def event(self) -> Any:
        """What the handler was given first."""
        return self.args[0] if self.args else None

    @property
    def number(self) -> int:
        """The number that its runtime has given the event; -1 where it has none."""
        seq = getattr(self.event, "seq", None)
        return seq if isinstance(seq, int) else -1

    def wake(self) -> None:
        """Say that its handler does something itself."""
        if not self.awake.done():
            self.awake.set_result(None)

    def end(self, returned: Any, raised: BaseException | None) -> None:
        """Give its handler what became of the run."""
        if not self.done.done():
            if raised is None:
                self.done.set_result(returned)
            else:
                self.done.set_exception(raised)
                self.done.exception()  # the handler may be gone: then nobody else is to complain
        self.wake()


class Group:
    """The events of one key that one run handles."""

    def __init__(self, key: Hashable, now: float) -> None:
        self.key = key
        self.first = now
        self.last = now
        self.members: list[Member] = []
        self.timer: asyncio.Task[None] | None = None
        self.run: asyncio.Task[Any] | None = None
        self.led_by = ""
        """The event whose handler the run goes by; empty before that."""
        self.is_closed = False
        self.failed = False

    @property
    def is_running(self) -> bool:
        """Whether its run has begun and not ended."""
        return self.run is not None and not self.run.done()


class Waiting:
    """The groups of one event loop."""

    def __init__(self) -> None:
        self.open: dict[Hashable, Group] = {}
        """Those that more events may join, by key, oldest first."""
        self.lines: dict[Hashable, deque[Group]] = {}
        """Those that are closed, by key: the first runs, the others follow it."""
        self.events = 0
        """Events in groups that are open."""
        self.in_line = 0
        """Events in groups that are closed and wait for the run before."""
        self.early = 0
        """Groups that were closed before their time, as too many events waited."""


class Groups:
    """Groups events by key, and runs the handler once for each group; those of one key one after another.

    Args:
        rule: as people write it.
        due: returns the second at which a group is handled.
        run: handles a group.
        leader: whose name the run goes by, of a group's members.
        size: the events with which a group is handled at once; None for no bound.
        on_end: told of a group that was run.
    """

    def __init__(
        self,
        rule: str,
        due: Callable[[Group], float],
        run: Callable[[Sequence[Member]], Awaitable[Any]],
        leader: Callable[[Sequence[Member]], Member],
        size: int | None = None,
        on_end: Callable[[Group], object] = lambda group: None,
    ) -> None:
        self._rule = rule
        self._due = due
        self._run = run
        self._leader = leader
        self._size = size
        self._on_end = on_end
        self._waiting = PerLoop(Waiting)

    async def join(self, key: Hashable, member: Member) -> Any:
        """Wait for the run of an event's group, and return what it returns.

        Raises:
            RuleFull: too many events wait for runs before theirs.
        """
        waiting, now = self._waiting.here(), time_here().monotonic()
        if waiting.in_line >= MOST:
            raise RuleFull(
                f"{self._rule}: {MOST:,} events wait for slower runs before them; make the handler faster, "
                "or have it tried again later by --retry"
            )
        group = waiting.open.get(key)
        if group is None:
            group = waiting.open[key] = Group(key, now)
        group.last = now
        group.members.append(member)
        waiting.events += 1
        if len(group.members) == self._size:
            self.close(group)
        elif group.timer is None:
            group.timer = asyncio.create_task(self._time(group), name=f"{self._rule} timer")
        self._keep_bound(waiting)
        return await self.wait(group, member)

    def begin_with(self, key: Hashable, member: Member) -> Group:
        """Return a group of one event, which is run at once."""
        waiting = self._waiting.here()
        group = waiting.open[key] = Group(key, time_here().monotonic())
        group.members.append(member)
        waiting.events += 1
        self.close(group)
        return group

    async def wait(self, group: Group, member: Member) -> Any:
        """Wait for the run of a group with one of its events, and return what it returns."""
        try:
            with asleep_here():
                await asyncio.wait({member.awake})
            await asyncio.wait({member.done})
        except asyncio.CancelledError as exc:
            if _is_alone(group, member, exc):
                self._leave(group, member)
                raise
            await self._finish(group, member)
        return member.done.result()

    # -- time and bounds -------------------------------------------------------------------------------

    async def _time(self, group: Group) -> None:
        clock = time_here()
        while (left := self._due(group) - clock.monotonic()) > ROUNDING:
            await clock.sleep(left)
        self.close(group)

    def _keep_bound(self, waiting: Waiting) -> None:
        while waiting.events > MOST:
            waiting.early += 1
            if waiting.early == 1:
                log.warning("%s: more than %d events wait, so the oldest are handled now", self._rule, MOST)
            self.close(next(iter(waiting.open.values())))

    # -- runs ------------------------------------------------------------------------------------------

    def close(self, group: Group) -> None:
        """Let no more events join a group, and run it after those of its key that are before it."""
        if group.is_closed:
            return
        group.is_closed = True
        # Handlers may begin in another order than that of their events, as those of the reference do.
        group.members.sort(key=lambda member: member.number)
        waiting = self._waiting.here()
        waiting.open.pop(group.key, None)
        waiting.events -= len(group.members)
        if group.timer is not None and group.timer is not asyncio.current_task():
            group.timer.cancel()
        line = waiting.lines.setdefault(group.key, deque())
        line.append(group)
        if line[0] is group:
            self._begin(group)
        else:
            waiting.in_line += len(group.members)

    def _begin(self, group: Group) -> None:
        leader = self._leader(group.members)
        members = tuple(group.members)
        group.led_by = name_of(leader.event)
        run = self._outcome(members)
        loop = asyncio.get_running_loop()
        group.run = loop.create_task(run, name=f"{self._rule} run", context=leader.context)
        group.run.add_done_callback(partial(self._ended, group))
        if len(members) > 1:
            self._note(leader, members)
        leader.wake()

    def _note(self, leader: Member, members: Sequence[Member]) -> None:
        """Say in log and traces which events are handled together."""
        names = ", ".join(name_of(member.event) for member in members[:NAMED])
        more = f" and {len(members) - NAMED} more" if len(members) > NAMED else ""
        text = (
            f"{self._rule} handles {len(members)} events in the run of {name_of(leader.event)}: {names}{more}"
        )
        leader.context.run(log.info, "%s", text)
        for member in members:
            note_of(member.context, text)

    async def _outcome(self, members: Sequence[Member]) -> tuple[Any, BaseException | None]:
        """Run the handler; what it raises is raised in the handlers of the events, and nowhere else."""
        try:
            return await self._run(members), None
        except GeneratorExit:
            raise
        except BaseException as exc:  # a SystemExit would end the loop here
            return None, exc

    def _ended(self, group: Group, run: asyncio.Task[Any]) -> None:
        returned, raised = (None, asyncio.CancelledError()) if run.cancelled() else run.result()
        group.failed = raised is not None
        for member in group.members:
            member.end(returned, raised)
        self._on_end(group)
        waiting = self._waiting.here()
        line = waiting.lines[group.key]
        line.popleft()
        if not line:
            del waiting.lines[group.key]
            return
        waiting.in_line -= len(line[0].members)
        self._begin(line[0])

    # -- ends ------------------------------------------------------------------------------------------

    def _leave(self, group: Group, member: Member) -> None:
        """Take out an event whose handler was ended alone; the others go on without it."""
        group.members.remove(member)
        waiting = self._waiting.here()
        if not group.is_closed:
            waiting.events -= 1
            if not group.members:
                group.is_closed = True
                del waiting.open[group.key]
                if group.timer is not None:
                    group.timer.cancel()
        elif group.run is None:
            waiting.in_line -= 1
            if not group.members:
                waiting.lines[group.key].remove(group)
        elif not group.members:
            group.run.cancel()

    async def _finish(self, group: Group, member: Member) -> None:
        """Handle what waits now, as the worker stops; what takes longer than `STOP_SECONDS` is cancelled."""
        self.close(group)
        with asleep_here():
            await asyncio.wait({member.done}, timeout=STOP_SECONDS)
        if not member.done.done():
            self._give_up(group.key)

    def _give_up(self, key: Hashable) -> None:
        """Cancel the run of a key and those that follow it, and say of which events nothing came."""
        line = self._waiting.here().lines.get(key, deque())
        for group in line:
            for member in group.members:
                log.warning(
                    "%s: %s is not handled: its worker ends before", self._rule, name_of(member.event)
                )
                member.end(None, asyncio.CancelledError())
        while len(line) > 1:
            self._waiting.here().in_line -= len(line.pop().members)
        if line and line[0].run is not None:
            line[0].run.cancel()


def _is_alone(group: Group, member: Member, exc: asyncio.CancelledError) -> bool:
    """Return whether one handler is ended, and not its worker, which ends all of them in one step."""
    others = [other.task for other in group.members if other is not member and not other.done.done()]
    return ENDED_ALONE in exc.args or any(task is not None and not task.cancelling() for task in others)
