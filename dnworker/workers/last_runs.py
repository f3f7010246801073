"""`LastRuns`: remembers over restarts when each schedule ran last, where the broker survives a kill.

Schedules ask it at the first start of their worker in a runtime what they have missed while none was there.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import NamedTuple

import msgspec

from dnworker.core.clock import Clock
from dnworker.core.handlers import HandlerKey
from dnworker.core.schedule import Catchup, ScheduleSpec, spec_of
from dnworker.events.brokers.base import Broker

log = logging.getLogger("dnworker.schedules")

KEPT_FOR = 400 * 24 * 3600.0
"""Seconds after which a schedule that has not run is forgotten: one of a year is not."""

COUNTED = 1_000
"""Missed runs that are counted at most."""


LONGEST_SKEW = timedelta(minutes=10)
"""How far clocks of nodes that share a broker may be apart for a tick to run once."""

CLAIM_AGAIN = 0.5
"""Seconds after which a tick that could not be claimed is claimed again."""


class Missed(NamedTuple):
    """How many runs of a schedule were missed, and when the last of them was due."""

    times: int
    due: datetime


class LastRuns:
    """The last runs of all schedules of a runtime, in the keys and values of its broker.

    Args:
        broker: gives the present one.
        clock: what schedules go by.
        log_line: writes to a worker's log.
        catchup: whether one of the missed runs is made up for.

    Raises:
        ValueError: `catchup` is another word.
    """

    def __init__(
        self,
        broker: Callable[[], Broker],
        clock: Clock,
        log_line: Callable[..., object],
        catchup: Catchup = "skip",
    ) -> None:
        if catchup not in ("once", "skip"):
            raise ValueError(f"catchup is {catchup!r}; once or skip is wanted")
        self.makes_up = catchup == "once"
        """Whether one of the missed runs is made up for."""
        self._broker = broker
        self._clock = clock
        self._log_line = log_line
        self._known: set[str] = set()
        self._newest: dict[str, datetime] = {}
        self._writing: dict[str, asyncio.Task[None]] = {}

    @property
    def is_on(self) -> bool:
        """Whether they are remembered."""
        return self._broker().capabilities.survives_kill

    def begin(self) -> None:
        """Begin anew: called at the start of the runtime, before any worker is."""
        self._known.clear()
        if self.makes_up and not self.is_on:
            log.warning(
                "catchup is 'once', and the broker in memory remembers no run of a schedule: nothing will be "
                "made up for; give the runtime a durable one"
            )

    async def missed(self, worker: str, key: HandlerKey, spec: ScheduleSpec) -> Missed | None:
        """Return what a schedule has missed since its last run; None where it has missed nothing.

        One that is new, that has another rhythm than before, or whose last run lies ahead because the clock
        was set back, has missed nothing; nor has one of a worker that was started before in this runtime.
        """
        name = _name(worker, key)
        if not self.is_on or name in self._known:
            return None
        entry = await self._broker().get(name)
        last = None if entry is None else msgspec.json.decode(entry.value, type=datetime)
        now = self._clock.now()
        missed = None if last is None or last > now else _missed(spec, last, now)
        is_others = last is not None and self._broker().capabilities.is_shared and _has_run(now, last)
        is_ahead = last is not None and last > now and not is_others
        self.begin_with(worker, key, is_new=last is None or is_ahead or missed is not None)
        return missed

    async def owed(self, worker: str) -> dict[HandlerKey, Missed | None]:
        """Return what each remembered schedule of a worker has missed, without those it had before.

        For a process, which says what its schedules are once it runs: `begin_with` follows then.
        """
        found: dict[HandlerKey, Missed | None] = {}
        prefix, now = _name(worker), self._clock.now()
        for name in await self._broker().keys(prefix) if self.is_on else ():
            handler, _, label = name.removeprefix(prefix).partition("/")
            entry, spec = await self._broker().get(name), spec_of(label)
            if name in self._known or entry is None or spec is None:
                continue
            last = msgspec.json.decode(entry.value, type=datetime)
            if last <= now:
                found[HandlerKey("every", label, handler)] = _missed(spec, last, now)
        return found

    def begin_with(self, worker: str, key: HandlerKey, *, is_new: bool) -> bool:
        """Note that a schedule is there from now on, and, where it `is_new`, that nothing is missed by now.

        False where it was there before in this runtime, or nothing is remembered.
        """
        name = _name(worker, key)
        if not self.is_on or name in self._known:
            return False
        self._known.add(name)
        if is_new:
            self.note(worker, key, self._clock.now())
        return True

    def leave(self, worker: str) -> None:
        """Forget what was known of a worker that runs on another node from now on."""
        prefix = _name(worker)
        self._known = {name for name in self._known if not name.startswith(prefix)}

    async def claim(self, worker: str, key: HandlerKey, due: datetime) -> bool:
        """Note a tick of cron text that is due; returns whether it may run here.

        Over a shared broker, it may once the note is where other nodes see it, and where none of them has run
        the tick by its clock. Until the broker answers, this waits: it is cancelled where the lease ends.
        """
        if not self.is_on or not self._broker().capabilities.is_shared:
            self.note(worker, key, due)
            return True
        name, value = _name(worker, key), msgspec.json.encode(due)
        is_told = is_in_doubt = is_putting = False
        while True:
            try:
                entry = await self._broker().get(name)
                if entry is not None and _has_run(due, msgspec.json.decode(entry.value, type=datetime)):
                    return is_in_doubt and entry.value == value
                revision, is_putting = 0 if entry is None else entry.revision, True
                if await self._broker().put(name, value, revision=revision, seconds=KEPT_FOR) is not None:
                    return True
                is_putting = False
            except OSError as exc:
                is_in_doubt |= is_putting  # NotStored says that it may have been written
                if not is_told:
                    log.warning("a run of %s waits until it is noted: %s", name, exc)
                is_told, is_putting = True, False
            await self._clock.sleep(CLAIM_AGAIN)

    def note_run(self, worker: str, key: HandlerKey) -> None:
        """Note that a schedule runs now."""
        self.note(worker, key, self._clock.now())

    def tell_made_up(self, worker: str, name: str, missed: Missed) -> None:
        """Write to a worker's log which of the runs is made up for."""
        due, skipped = missed.due, missed.times - 1
        day = "" if due.date() == self._clock.now().date() else f"{due:%Y-%m-%d} "
        more = f"; {skipped:,} before it were skipped" if skipped else ""
        text = f"a run of {name} that was due at {day}{due:%H:%M} is made up for{more}"
        self._log_line(worker, text, source="runtime")

    def note(self, worker: str, key: HandlerKey, when: datetime) -> None:
        """Note that a schedule runs; written as soon as what was noted before is."""
        if not self.is_on:
            return
        name = _name(worker, key)
        self._newest[name] = when
        if name not in self._writing:
            self._writing[name] = asyncio.create_task(self._write(name), name=f"note a run of {key.name}")

    async def _write(self, name: str) -> None:
        try:
            while (when := self._newest.pop(name, None)) is not None:
                await self._broker().put(name, msgspec.json.encode(when), seconds=KEPT_FOR)
        except OSError as exc:  # NotStored: of a full disk, or at the end of the runtime
            log.warning("%s cannot be noted: %s", name, exc)
        finally:
            del self._writing[name]


def _has_run(due: datetime, last: datetime) -> bool:
    """Return whether a tick was among the runs of a clock that is as far as `last`."""
    return due <= last <= due + LONGEST_SKEW


def _missed(spec: ScheduleSpec, last: datetime, now: datetime) -> Missed | None:
    """Return what a schedule has missed after its last run; None for nothing."""
    if spec.interval_seconds is None:
        times = spec.ticks_between(last, now, COUNTED)
        return Missed(times, spec.last_run(now)) if times else None
    times = int((now - last).total_seconds() / spec.interval_seconds + 1e-9)
    return Missed(times, last + timedelta(seconds=times * spec.interval_seconds)) if times else None


def _name(worker: str, key: HandlerKey | None = None) -> str:
    """Return the key of a schedule: with another rhythm it is another. Without one, how a worker's begin."""
    return f"schedules/{worker}/" + ("" if key is None else f"{key.name}/{key.trigger}")
