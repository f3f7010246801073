"""`KeptState`: writes a worker's state after invocations, where it is to be kept; in both topologies.

In the runtime's process it goes to the broker; in a worker's process to the runtime, over HTTP.
"""

from __future__ import annotations

import asyncio
import contextvars
import logging
import os
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

import msgspec

from dnworker.core.errors import RuntimeUnavailable
from dnworker.core.invocation import Invocation
from dnworker.core.plain_state import DEEPEST, LARGEST_STATE, PlainState, read_state
from dnworker.core.text import shorten

if TYPE_CHECKING:
    from dnworker.client.connection import Connection
    from dnworker.core.envelope import EventEnvelope
    from dnworker.events.brokers.base import Broker
    from dnworker.workers.recorders import Recorder
    from dnworker.workers.runner import WorkerRunner

log = logging.getLogger("dnworker.state")

VARIABLE = "DNWORKER_KEEP_STATE"
"""Set for worker processes whose state is kept."""

PATH = "/api/state"

SHARE = 20
"""A write is followed by a pause of so many times what it took the loop: at most 5 % go into writing."""


NAMED = 100
"""Keys that have no JSON, after which no more are named."""

_NOTHING = object()


class KeptState:
    """Writes a state soon after it has changed; many changes are one write.

    Args:
        save: writes its JSON; may raise whatever it likes.
        warn: tells the user: once of each mistake until the state is kept again, and of that.
    """

    def __init__(
        self,
        save: Callable[[bytes], Awaitable[object]],
        warn: Callable[[str], object],
    ) -> None:
        self.state: Callable[[], Mapping[Any, Any]] = dict
        """Returns the state as it is."""
        self._save = save
        self._warn = warn
        self._saved: bytes | None = None
        self._plain = PlainState()
        self._told: set[str] = set()
        self._named: set[str] = set()
        self._is_dirty = False
        self._is_unsaved = False
        """Whether the last state that was to be written could not be."""
        self._is_over = False
        self._is_pausing = self._is_dropped = False
        self._lock = asyncio.Lock()  # so that an older state never overtakes a newer one
        self._writing: asyncio.Task[None] | None = None

    def note(self) -> None:
        """Note that an invocation may have changed the state."""
        self._is_dirty = True
        if self._writing is None and not self._is_over:
            loop = asyncio.get_running_loop()
            self._writing = loop.create_task(
                self._write_all(), name="kept state", context=contextvars.Context()
            )

    async def close(self) -> None:
        """Write what has changed, and no more from then on."""
        self._is_over = True
        if self._writing is not None and self._is_pausing:
            self._writing.cancel()
        await self.flush()

    async def flush(self) -> None:
        """Write what has changed by now, and what could not be written before."""
        self._is_dirty = self._is_dirty or self._is_unsaved
        await self._write()

    def hold(self) -> None:
        """Write nothing until `go_on`."""
        self._is_over = True

    def go_on(self) -> None:
        """Write again, from now on."""
        self._is_over = False
        self.note()

    def drop(self) -> None:
        """Write no more, not even what has changed."""
        self._is_over, self._is_dirty, self._is_dropped = True, False, True

    async def _write_all(self) -> None:
        try:
            while self._is_dirty and not self._is_over:
                took = await self._write()
                self._is_pausing = True
                await asyncio.sleep(0 if self._is_over else took * SHARE)
                self._is_pausing = False
        finally:
            self._writing, self._is_pausing = None, False

    async def _write(self) -> float:
        """Write the state if it has changed; returns the seconds for which that held the loop."""
        async with self._lock:
            return 0.0 if not self._is_dirty or self._is_dropped else await self._write_now()

    async def _write_now(self) -> float:
        self._is_dirty, before = False, time.perf_counter()
        data = self._plain.write(self.state())
        took = time.perf_counter() - before
        if news := [key for key in self._plain.left_out if key not in self._named]:
            self._tell_left_out(news)
        if len(data) > LARGEST_STATE:
            largest = ", ".join(self._plain.largest())
            self._tell(
                "size",
                f"it is {len(data):,} bytes, over {LARGEST_STATE:,} (largest: {largest}); the last state "
                "that fitted stays; keep less in worker.state",
            )
            return took
        try:
            if data != self._saved:
                await self._save(data)
        except Exception as exc:  # a full disk, a runtime that is gone
            self._is_unsaved = True
            self._tell("save", f"{exc}; the next change and the stop of the worker try again")
        else:
            self._saved, self._is_unsaved = data, False
            self._tell_kept()
        return took

    def _tell(self, mistake: str, text: str) -> None:
        if mistake not in self._told:
            self._told.add(mistake)
            self._warn(f"worker.state is not kept: {text}")

    def _tell_kept(self) -> None:
        """Say it where the state was not kept, and is again."""
        if self._told:
            self._told.clear()
            self._warn("worker.state is kept again")

    def _tell_left_out(self, keys: list[str]) -> None:
        """Name keys that have no JSON; each once, and so many in all."""
        if len(self._named) < NAMED:
            shown = ", ".join(shorten(repr(key), 60) for key in keys[:10])
            more = f" and {len(keys) - 10} more" if len(keys) > 10 else ""
            verb, begin = ("is", "begins") if len(keys) == 1 else ("are", "begin")
            self._warn(
                f"worker.state is not kept in full: {shown}{more} {verb} no JSON and {begin} anew at the "
                f"next start; keep text, numbers, lists and dicts of these, at most {DEEPEST} deep"
            )
        self._named.update(keys[:NAMED])


class KeepingRecorder:
    """A recorder that has the state written after each invocation."""

    def __init__(self, recorder: Recorder, note: Callable[[], None]) -> None:
        self._recorder = recorder
        self._note = note

    def begin(self, invocation: Invocation) -> None:
        """Pass it on."""
        self._recorder.begin(invocation)

    def end(
        self, invocation: Invocation, exc: BaseException | None = None, *, cancelled: bool = False
    ) -> None:
        """Pass it on, and have the state written."""
        try:
            self._recorder.end(invocation, exc, cancelled=cancelled)
        finally:
            self._note()

    def delivered(self, envelope: EventEnvelope) -> None:
        """Pass it on."""
        self._recorder.delivered(envelope)

    def hint(self, invocation: Invocation, text: str) -> None:
        """Pass it on."""
        self._recorder.hint(invocation, text)


class KeptRuns:
    """The state of a worker in this process, which each of its runs restores and writes.

    Args:
        broker: returns what keeps it.
        worker: its qualified name.
        warn: tells the user.
    """

    def __init__(self, broker: Callable[[], Broker], worker: str, warn: Callable[[str], object]) -> None:
        self._broker = broker
        self._worker = worker
        self._warn = warn
        self._json = b"{}"
        self._is_anew = False
        self._runs: WeakKeyDictionary[WorkerRunner, KeptState] = WeakKeyDictionary()

    async def load(self, *, anew: bool) -> None:
        """Read what is kept, for the start that follows; `anew` forgets it."""
        self._is_anew = anew
        if anew:
            await forget(self._broker(), self._worker)
        self._json = await load(self._broker(), self._worker)

    def restore(self, state: dict[str, Any]) -> None:
        """Put what was read into a state."""
        state.update(restored(self._json, self._warn))

    async def hand_over(self, former: WorkerRunner, runner: WorkerRunner) -> None:
        """Put what a run has changed since the last `load` into the state of one that was restored then.

        What both have changed stays as the new one has it, and is told.
        """
        if self._is_anew or runner not in self._runs or (kept := self.of(former)) is None:
            return
        await kept.flush()
        state = runner.worker.state
        before, now = (
            restored(data, self._warn) for data in (self._json, await load(self._broker(), self._worker))
        )
        both: list[str] = []
        for key in dict.fromkeys((*before, *now)):
            was, became, there = (one.get(key, _NOTHING) for one in (before, now, state))
            if was == became or there == became:
                continue
            if there != was:
                both.append(shorten(repr(key), 60))
            elif became is _NOTHING:
                del state[key]
            else:
                state[key] = became
        if both:
            self._warn(
                f"worker.state: {', '.join(both[:10])} {'was' if len(both) == 1 else 'were'} changed by the "
                "handlers before, too, while the new ones started; what the new ones have made of it stays"
            )

    def make(self) -> KeptState:
        """Return what writes the state of a run that is to come; `add` must follow."""
        broker, name = self._broker(), name_of(self._worker)
        return KeptState(lambda data: broker.put(name, data), self._warn)

    def add(self, runner: WorkerRunner, kept: KeptState) -> None:
        """Write the state of this run."""
        kept.state = lambda: runner.worker.state
        self._runs[runner] = kept

    def of(self, runner: WorkerRunner | None) -> KeptState | None:
        """Return what writes the state of a run; None where it is not kept."""
        return None if runner is None else self._runs.get(runner)


def name_of(worker: str) -> str:
    """Return the key of a worker's state in the broker's store."""
    return f"state/{worker}"


async def load(broker: Broker, worker: str) -> bytes:
    """Return the JSON that is kept of a worker's state; that of an empty one where there is none."""
    entry = await broker.get(name_of(worker))
    return b"{}" if entry is None else entry.value


async def forget(broker: Broker, worker: str) -> None:
    """Keep nothing of a worker's state."""
    await broker.delete(name_of(worker))


def restored(data: bytes, warn: Callable[[str], object]) -> dict[str, Any]:
    """Return a state of its JSON; one that cannot be read is told of, and is empty."""
    try:
        return read_state(data)
    except Exception as exc:  # whatever is kept: the worker starts
        warn(f"worker.state is not restored, and begins anew: what is kept of it cannot be read ({exc})")
        return {}


async def kept_by_runtime(
    connection: Connection, state: Callable[[], dict[str, Any]], recorder: Recorder | None
) -> tuple[KeptState, Recorder | None]:
    """Restore the state of a worker process from its runtime, where that keeps it.

    Returns what writes it there, and the recorder that has it written.

    Raises:
        RuntimeUnavailable: the runtime does not give it.
    """
    from dnworker.workers.recorders import LoggingRecorder

    async def save(data: bytes) -> None:
        await connection.request("PUT", PATH, body={"state": msgspec.Raw(data)})

    def warn(text: str) -> None:
        log.warning("%s", text)

    kept = KeptState(save, warn)
    if os.environ.pop(VARIABLE, None) is None:
        return kept, recorder
    try:
        data = msgspec.json.encode((await connection.request("GET", PATH))["state"])
    except Exception as exc:
        import httpx  # not before something fails

        if not isinstance(exc, httpx.HTTPError):
            raise
        raise RuntimeUnavailable(
            f"the runtime does not give the state that it keeps: {exc}", code="DN712"
        ) from exc
    state().update(restored(data, warn))
    kept.state = state
    return kept, KeepingRecorder(recorder or LoggingRecorder(), kept.note)
