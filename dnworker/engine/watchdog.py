"""`Watchdog`: a thread that notices when the event loop is blocked, and finds whose code blocks it.

Everything in-process runs on one loop: a cell or handler that blocks stops every worker. What is missing then
is not speed but an explanation, which only another thread can give.
"""

from __future__ import annotations

import asyncio
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from types import FrameType
from typing import Any

import msgspec

from dnworker.core.invocation import Invocation, current_invocation
from dnworker.core.locations import known_location, location_of
from dnworker.core.threads import untraced
from dnworker.core.time_limits import extend_time_limits
from dnworker.core.user_code import is_library
from dnworker.engine.stopped import is_stopped_by_debugger
from dnworker.sessions.turns import turn_run_by
from dnworker.workers.invoker import invocation_run_by

THRESHOLD = 1.0
LONG = 5.0
"""Seconds of a block after which the cell that waits for it is told."""

INTERVAL = 0.25
"""Seconds between looks; a look costs the loop a few dozen microseconds."""

BLOCKS_KEPT = 50


class Block(msgspec.Struct):
    """One time that the loop stood still: since when, where, and in which handler, if in one.

    `seconds` grows until it is over.
    """

    location: str
    source: str
    invocation: Invocation | None
    began: float = msgspec.field(default_factory=time.monotonic)
    seconds: float = 0.0
    over: bool = False
    is_long: bool = False
    """Whether it has lasted for `LONG` seconds."""
    file: str = ""
    """Of the line that holds it; empty where that is not known."""
    cpu_seconds: float = 0.0
    """Processor time of the process meanwhile, once it is over; little where the machine had none for it."""

    @property
    def is_known(self) -> bool:
        """Whether a line of the user's is known to hold it."""
        return bool(self.file)

    @property
    def who(self) -> str:
        """Who holds the loop: a handler, or the location of other code."""
        return self.invocation.label if self.invocation is not None else self.location


class Watchdog:
    """Watches one loop from a thread of its own.

    Args:
        loop: to be watched.
        on_blocked: called once a block, on the watchdog's thread, while it lasts.
        on_released: called on the loop, once it turns again.
        on_long: called once a block, on the watchdog's thread, when it has lasted for `LONG` seconds.
        on_debugger: called at every look, on the watchdog's thread, while a debugger holds the loop.
        threshold: seconds of standing still that are a block.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        *,
        on_blocked: Callable[[Block], None],
        on_released: Callable[[Block], None],
        on_long: Callable[[Block], None] = lambda block: None,
        on_debugger: Callable[[], None] = lambda: None,
        threshold: float = THRESHOLD,
        interval: float = INTERVAL,
    ) -> None:
        self.blocks: deque[Block] = deque(maxlen=BLOCKS_KEPT)
        self._loop = loop
        self._on_blocked = on_blocked
        self._on_released = on_released
        self._on_long = on_long
        self._on_debugger = on_debugger
        self._threshold = threshold
        self._interval = interval
        self._ending = threading.Event()
        self._lock = threading.Lock()
        self._pinged: float | None = None
        self._cpu_before = 0.0  # processor time when it was pinged
        self._block: Block | None = None
        self._stops = 0  # of those who hold the loop on purpose
        self._loop_thread = threading.get_ident()
        self._thread = untraced(threading.Thread(target=self._watch, name="dnworker watchdog", daemon=True))

    def start(self) -> None:
        """Begin; call it on the loop's thread."""
        self._loop_thread = threading.get_ident()
        self._thread.start()

    def stop(self) -> None:
        """End the thread; may be called again."""
        self._ending.set()

    @property
    def blocked_for(self) -> float:
        """Seconds since the loop was pinged without an answer; 0.0 once it has answered."""
        pinged = self._pinged
        return 0.0 if pinged is None else time.monotonic() - pinged

    @property
    def block(self) -> Block | None:
        """The block that lasts now."""
        return self._block

    @contextmanager
    def stopped_on_purpose(self) -> Iterator[None]:
        """Report no block while the body holds the loop, on the loop's thread, as a debugger does."""
        self._answer()  # what came before may have been a block
        with self._lock:
            self._stops += 1
        try:
            yield
        finally:
            with self._lock:
                self._stops -= 1
                if self._pinged is not None:
                    self._pinged = time.monotonic()

    def _watch(self) -> None:
        while not self._ending.wait(self._interval):
            pinged = self._pinged
            if pinged is None:
                self._cpu_before = time.process_time()
                self._pinged = time.monotonic()
                try:
                    self._loop.call_soon_threadsafe(self._answer)
                except RuntimeError:  # the loop was closed
                    return
            elif is_stopped_by_debugger(frame := sys._current_frames().get(self._loop_thread)):
                self._pass_over(pinged, frame)
                self._on_debugger()
            elif not self._stops and self._block is None and self.blocked_for >= self._threshold:
                self._look(pinged)
            if (block := self._block) is not None:
                block.seconds = time.monotonic() - block.began
                if block.seconds >= LONG and not block.is_long:
                    block.is_long = True
                    self._on_long(block)

    def _pass_over(self, pinged: float, frame: FrameType | None) -> None:
        """Count none of the time for which a debugger holds the loop on purpose, at `frame`."""
        with self._lock:
            if self._pinged != pinged:
                return
            self._pinged = time.monotonic()
            if self._block is not None:
                self._block.began = self._pinged - self._block.seconds
            seconds = self._pinged - pinged
        if (invocation := running_invocation(frame)) is not None:
            invocation.stopped_for += seconds
        with suppress(RuntimeError):  # the loop was closed
            self._loop.call_soon_threadsafe(extend_time_limits, seconds, self._loop)

    def _look(self, pinged: float) -> None:
        block = explain(sys._current_frames().get(self._loop_thread), self._loop)
        block.began = pinged
        with self._lock:
            if self._pinged != pinged or self._stops:
                return  # it turned while we looked
            self._block = block
            self.blocks.append(block)
        self._on_blocked(block)

    def _answer(self) -> None:
        """Note, on the loop, that it runs: a block is over.

        One that nobody could look at is a block too: C code may keep all threads from running.
        """
        with self._lock:
            pinged, self._pinged = self._pinged, None
            block, self._block = self._block, None
            if block is None and pinged is not None and time.monotonic() - pinged >= self._threshold:
                block = Block("code that no other thread could look at", "", None, began=pinged)
                self.blocks.append(block)
        if block is not None:
            block.seconds = time.monotonic() - block.began
            block.cpu_seconds = time.process_time() - self._cpu_before
            block.over = True
            self._on_released(block)


def explain(frame: FrameType | None, loop: asyncio.AbstractEventLoop | None) -> Block:
    """Find out what a stack is about: the user's line, and the handler that it runs in.

    Args:
        frame: the innermost.
        loop: that the stack's thread runs; None where it runs none.
    """
    invocation = running_invocation(frame) if loop is None else invocation_of(frame, loop)
    block = explain_frames(_outwards(frame))
    block.invocation = invocation
    return block


def explain_frames(frames: Iterable[FrameType]) -> Block:
    """Find the user's line in frames, innermost first."""
    best: FrameType | None = None
    for frame in frames:
        file = frame.f_code.co_filename
        if known_location(file, frame.f_lineno) is not None:
            best = frame
            break
        if best is None and not is_library(file) and not _is_ours(frame):
            best = frame
    if best is None:
        return Block("code of a library", "", None)
    import linecache

    file, line = best.f_code.co_filename, best.f_lineno
    return Block(location_of(file, line), linecache.getline(file, line).strip(), None, file=file)


def _outwards(frame: FrameType | None) -> Iterator[FrameType]:
    while frame is not None:
        yield frame
        frame = frame.f_back


def invocation_of(frame: FrameType | None, loop: asyncio.AbstractEventLoop) -> Invocation | None:
    """Return the invocation whose handler a stack is in, directly or in a task that it started."""
    found = running_invocation(frame)
    if found is not None:
        return found
    task = asyncio.current_task(loop)
    get_context = getattr(task, "get_context", None)  # Python 3.12
    return get_context().get(current_invocation) if get_context is not None else None


def running_invocation(frame: FrameType | None) -> Invocation | None:
    """Return the invocation whose runner is on the stack: what is raised there ends that handler alone."""
    while frame is not None:
        if (found := invocation_run_by(frame)) is not None:
            return found
        if (turn := turn_run_by(frame)) is not None:
            return turn.invocation
        frame = frame.f_back
    return None


def frames_of_task(task: asyncio.Task[Any]) -> Iterator[FrameType]:
    """Yield the frames of a suspended task, outermost first."""
    inner: Any = task.get_coro()
    for _ in range(100):
        frame = next(
            (f for name in ("cr_frame", "gi_frame", "ag_frame") if (f := getattr(inner, name, None))), None
        )
        if frame is not None:
            yield frame
        inner = next(
            (
                i
                for name in ("cr_await", "gi_yieldfrom", "ag_await")
                if (i := getattr(inner, name, None)) is not None
            ),
            None,
        )
        if inner is None:
            return


def _is_ours(frame: FrameType) -> bool:
    name = str(frame.f_globals.get("__name__", ""))
    if name == "__main__" and frame.f_code.co_name == "<module>":
        return True  # the program itself, such as the command `dnworker`
    return name.partition(".")[0] in ("dnworker", "dnworker_jupyter")
