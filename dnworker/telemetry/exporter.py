"""`Exporter`: a thread that makes requests of what the queues have, and sends them; it has a loop of its own.

No event wakes it: it looks once a second, or as often as it is told to. Whatever a collector does, the queues
are bounded, and the thread ends within the time that `close` gives it.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import logging
import os
import threading
from collections.abc import AsyncIterator, Callable, Mapping

from dnworker.core.threads import untraced
from dnworker.telemetry.metrics import metrics_of
from dnworker.telemetry.records import Measured, Queue
from dnworker.telemetry.requests import Batch, Requests, rejected
from dnworker.telemetry.sender import Sender
from dnworker.telemetry.settings import TelemetrySettings
from dnworker.telemetry.spans import SpanMaker, Times

log = logging.getLogger("dnworker.telemetry")

BATCH = 512
"""Records of a request."""

SPANS_WAITING, LINES_WAITING, MEASURES_WAITING = 8_192, 8_192, 2
"""Records that wait for the thread at most."""


class Exporter:
    """Sends what is put into its queues.

    Args:
        settings: where it goes.
        resource: what names the runtime.
    """

    def __init__(self, settings: TelemetrySettings, resource: Mapping[str, str]) -> None:
        self.spans, self.users = Queue(SPANS_WAITING), Queue(SPANS_WAITING)
        self.lines, self.measures = Queue(LINES_WAITING), Queue(MEASURES_WAITING)
        self.senders = {
            signal: Sender(signal, endpoint, rejected)
            for signal in ("traces", "metrics", "logs")
            if (endpoint := settings.endpoint(signal)) is not None
        }
        self._seconds = settings.batch_seconds
        self._requests = Requests(resource)
        self._times = Times()
        self._maker = SpanMaker(self._times)
        # The thread, its loop and how its end is asked for.
        self._pid = os.getpid()
        self._loop = asyncio.new_event_loop()
        self._ending = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []
        self._ended: concurrent.futures.Future[None] = concurrent.futures.Future()
        self._thread = untraced(threading.Thread(target=self._run, name="dnworker telemetry", daemon=True))

    def start(self) -> None:
        """Send from now on."""
        self._thread.start()

    @property
    def pieces_dropped(self) -> int:
        """How many pieces of turns there was no room for; their spans are missing."""
        return self._maker.dropped

    @property
    def is_failing(self) -> bool:
        """Whether a collector takes nothing now."""
        return any(sender.state.failing_since is not None for sender in self.senders.values())

    async def close(self, within: float) -> None:
        """End the thread: what waits is sent once, within so many seconds; waits a second longer at most."""
        if self._pid != os.getpid():  # a fork: the thread is its parent's
            return
        with contextlib.suppress(RuntimeError):  # it has ended by a mistake of its own
            self._loop.call_soon_threadsafe(self._end, within)
        async with _limit(within + 1):
            await asyncio.shield(asyncio.wrap_future(self._ended))
        self._thread.join(0.2)  # it has nothing to do any more

    @property
    def is_alive(self) -> bool:
        """Whether the thread runs."""
        return self._thread.is_alive()

    # -- on the thread ---------------------------------------------------------------------------------

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        try:
            self._loop.run_until_complete(self._send_all())
        except Exception:  # nothing is sent from now on, and it must be known why
            log.exception("telemetry ends by a mistake of its own")
        finally:
            for queue in (self.spans, self.users, self.lines):
                queue.clear()
            self._loop.close()
            self._ended.set_result(None)

    def _end(self, within: float) -> None:
        self._ending.set()
        for task in self._tasks:
            self._loop.call_later(within, task.cancel)

    async def _send_all(self) -> None:
        feeds = {"traces": self._traces, "metrics": self._metrics, "logs": self._logs}
        for signal, sender in self.senders.items():
            sender.ending = self._ending
            self._tasks.append(asyncio.create_task(self._feed(sender, feeds[signal])))
        try:
            await asyncio.gather(*self._tasks, return_exceptions=True)
        finally:
            for sender in self.senders.values():
                await sender.close()

    async def _feed(self, sender: Sender, next_request: Callable[[], Batch | None]) -> None:
        """Send requests of a signal until the end, and what waits then."""
        while True:
            try:
                request = next_request()
            except Exception:  # a record that cannot be written must not keep the others from it
                log.exception("%s could not be written", sender.state.signal)
                sender.state.dropped += 1
                continue
            if request is not None:
                await sender.send(request)
            elif self._ending.is_set():
                return
            else:
                async with _limit(self._seconds):
                    await self._ending.wait()

    def _traces(self) -> Batch | None:
        self._times.look()
        records, theirs = self.spans.take(BATCH), self.users.take(BATCH)
        spans = [span for record in records for span in self._maker.spans(record)]
        return Batch([*spans, *theirs], self._requests.traces) if spans or theirs else None

    def _metrics(self) -> Batch | None:
        found: list[Measured] = self.measures.take(1)
        if not found:
            return None
        counts = {
            signal: {"sent": sender.state.sent, "dropped": sender.state.dropped}
            for signal, sender in self.senders.items()
        }
        metrics = metrics_of(found[0].measure, self._times.of(found[0].at), counts)
        return Batch(metrics, self._requests.metrics)

    def _logs(self) -> Batch | None:
        lines = self.lines.take(BATCH)
        return Batch(lines, self._requests.logs) if lines else None


@contextlib.asynccontextmanager
async def _limit(seconds: float) -> AsyncIterator[None]:
    """Leave the block when the time is up."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            yield
