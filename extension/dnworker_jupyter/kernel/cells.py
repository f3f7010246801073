"""`CellBook`: the cells that ran in this kernel, the one that runs, and the names of locations in them."""

from __future__ import annotations

import re
import sys
import threading
from collections.abc import Callable
from contextvars import ContextVar
from dataclasses import dataclass
from functools import cached_property
from types import FrameType
from typing import Any

from msgspec.structs import replace

from dnworker_jupyter.syntax.cell import Cell

RUNS_KEPT = 5_000
"""Runs of cells that are kept; one whose text has not run again since is kept beyond."""

agent: ContextVar[str | None] = ContextVar("dnworker_agent", default=None)
"""The agent whose cell runs here; None where a person's does."""

_PROMPT = re.compile(r"In\s?\[(\d+)\]")
_LABEL = re.compile(r"cell \[(\d+)\]")
_OWN = ("<module>", "<cell line")
"""What the code of a cell itself is called, by the version of IPython; that of a lambda is not it."""
_AROUND = re.compile(r"(?:[ \t]*(?:#.*)?\n)*(?:%%(?:time|capture)\b.*\n)+")
"""The lines of a cell down to where the code of a magic around it begins."""


@dataclass(eq=False)
class RunningCell:
    """A cell while it runs.

    Code that runs within it, such as the body of `%%capture`, belongs to it: `depth` counts that.
    """

    source: str
    id: str | None
    count: Callable[[], int]
    """Gives its execution count, which IPython settles only after the cell has begun."""
    depth: int = 1
    broken: bool = False
    """Whether code within it failed, which the magic around that may keep to itself."""
    frame: FrameType | None = None
    """Where its own code runs, as far as a magic noted it: magics run beside it, in tasks."""
    by: str | None = None
    """The agent that runs it; None for a person."""

    @cached_property
    def cell(self) -> Cell:
        """The cell as it is known from now on; read it on the cell's own thread, once the cell runs."""
        return self.peek()

    def peek(self) -> Cell:
        """Return the cell as far as it is known."""
        return Cell(self.count(), self.source, self.id, by=self.by)


class CellBook:
    """Keeps every cell that ran to its end, in the order in which cells ran last.

    Cells of a subshell run on a thread of their own, beside that of the kernel.
    """

    def __init__(self, shell: Any) -> None:
        self._shell = shell
        self._cells: dict[str, Cell] = {}
        self._latest: dict[str, tuple[Cell, bool]] = {}
        self.ids: dict[int, str] = {}
        """The front end's ids of cells, by the number that each had when it ran."""
        self._runs: list[Cell] = _before(shell)
        self._most_runs = RUNS_KEPT
        """How many runs there may be until the earliest are forgotten, which goes through all of them."""
        self.forgotten = 0
        """How many runs are forgotten."""
        self._here = threading.local()
        self._newest: RunningCell | None = None

    @property
    def now(self) -> RunningCell | None:
        """What runs on this thread."""
        return getattr(self._here, "running", None)

    @property
    def running(self) -> Cell | None:
        """The cell that runs on this thread."""
        return self.now.cell if self.now is not None else None

    def calling(self) -> Cell | None:
        """Return the cell whose own code calls now; None for a handler or a timer that runs meanwhile."""
        return self.running if self.now is not None and _own_frame(self._shell.user_ns) is not None else None

    @property
    def anywhere(self) -> Cell | None:
        """The cell that runs on any thread, the newest where there are several."""
        return self._newest.peek() if self._newest is not None else None

    def begin(self, info: Any) -> RunningCell | None:
        """`pre_run_cell`: note which cell runs now; returns it if it is not code within another."""
        if (outer := self.now) is not None:
            outer.depth += 1
            return None
        source = info.raw_cell if isinstance(info.raw_cell, str) else ""
        running = RunningCell(source, getattr(info, "cell_id", None), self._count, by=agent.get())
        self._here.running = self._newest = running
        return running

    def _count(self) -> int:
        # Not shell.execution_count: IPython 9 counts it up before the cell runs, 8 after.
        return len(self._shell.history_manager.input_hist_raw) - 1

    def end(self, succeeded: bool, error: BaseException | None = None) -> RunningCell | None:
        """`post_run_cell`: keep the cell if it ran to its end; returns what ended, if it was a cell.

        Args:
            succeeded: whether it ran to its end.
            error: what it raised while it ran; None also where it did not begin, as it is no Python.
        """
        running = self.now
        if running is None:
            return None
        running.depth -= 1
        if running.depth:
            running.broken |= not succeeded
            return None
        self._here.running = None
        if self._newest is running:
            self._newest = None
        cell = running.cell
        if cell.source.strip():
            if succeeded:
                self._note_run(cell)
            elif error is not None:
                self._note_run(replace(cell, failed_at=_line_of(error, self._shell.user_ns)))
            self._latest.pop(cell.key, None)  # run again: it moves to the end
            self._latest[cell.key] = cell, succeeded
            if cell.id is not None:
                self.ids[cell.number] = cell.id
            if succeeded:
                self._cells.pop(cell.key, None)  # run again: it moves to the end
                self._cells[cell.key] = cell
        return running

    def _note_run(self, run: Cell) -> None:
        self._runs.append(run)
        if len(self._runs) > self._most_runs:
            self._forget_runs()
            self._most_runs = max(RUNS_KEPT, len(self._runs)) + RUNS_KEPT // 10

    def _forget_runs(self) -> None:
        """Forget the earliest runs of texts that ran again since: what cells define stays known."""
        last = {(run.source, run.failed_at is None): n for n, run in enumerate(self._runs)}
        latest = {*last.values()}
        early = [n for n in range(len(self._runs)) if n not in latest][: len(self._runs) - RUNS_KEPT]
        for n in reversed(early):
            self.ids.pop(self._runs.pop(n).number, None)
        self.forgotten += len(early)

    def all(self) -> list[Cell]:
        """Return the cells in the order in which they ran last."""
        return list(self._cells.values())

    def runs(self) -> list[Cell]:
        """Return the runs of all cells, in the order in which they ended; one that failed has its line.

        Those that are forgotten are missing. The cell that runs on this thread comes last, up to the
        statement that runs now.
        """
        if self.now is None:
            return [*self._runs]
        frame = self.now.frame or _own_frame(self._shell.user_ns)
        if frame is None:
            return [*self._runs, self.now.cell]
        return [*self._runs, replace(self.now.cell, failed_at=_line_in(frame, self.now.source))]

    def note_frame(self) -> None:
        """Note where the cell that runs on this thread is, if its own code calls: `runs` asks from a task."""
        if self.now is not None and (frame := _own_frame(self._shell.user_ns)) is not None:
            self.now.frame = frame

    def tried(self) -> list[Cell]:
        """Return all cells that ran, those that failed among them, in the order in which they ran last."""
        return [cell for cell, _ in self._latest.values()]

    @property
    def newest(self) -> Cell | None:
        """The cell that ended last."""
        return next((cell for cell, _ in reversed(self._latest.values())), None)

    def line_of(self, error: BaseException) -> int:
        """Return the line of a cell, from 1, at which an error left it."""
        return _line_of(error, self._shell.user_ns)

    def latest(self, key: str) -> tuple[Cell, bool] | None:
        """Return a cell as it ran last, and whether it ran to its end."""
        return self._latest.get(key)

    def newest_of(self, number: int) -> Cell | None:
        """Return the newest run of the cell that had this number in one of its runs."""
        run = next((one for one in reversed(self._runs) if one.number == number), None)
        if run is None:
            return None
        latest = self._latest.get(run.key)
        return run if latest is None else latest[0]

    def text_of(self, label: str) -> str | None:
        """Return the text of the run that a label names, such as `cell [3]`."""
        match = _LABEL.fullmatch(label)
        number = int(match[1]) if match else 0
        if self._newest is not None and self._newest.peek().number == number:
            return self._newest.source
        return next((one.source for one in reversed(self._runs) if one.number == number), None)

    def locate(self, filename: str, line: int) -> str | None:
        """Return `cell [3], line 5` for code that came from a cell."""
        formatter: Callable[[str], tuple[str, str] | None] | None
        formatter = getattr(self._shell.compile, "format_code_name", None)
        named = formatter(filename) if formatter is not None else None
        match = _PROMPT.search(named[1]) if named else None
        return f"cell [{match[1]}], line {line}" if match else None


def _before(shell: Any) -> list[Cell]:
    """Return the cells that ran before the extension was loaded, and the one that loads it.

    IPython keeps their text only: whether one failed is not known. An export proves its values.
    """
    sources = shell.history_manager.input_hist_raw
    return [Cell(n, text) for n, text in enumerate(sources) if n and isinstance(text, str) and text.strip()]


def _own_frame(namespace: Any) -> FrameType | None:
    """Return the frame of a cell's own code that runs now; None where none is on the stack."""
    frame: FrameType | None = sys._getframe()
    while frame is not None:
        if frame.f_globals is namespace and frame.f_code.co_name.startswith(_OWN):
            return frame
        frame = frame.f_back
    return None


def _line_in(frame: FrameType, source: str) -> int:
    """Return the line of a cell that its code is at; code below `%%time` or `%%capture` counts its own."""
    above = _AROUND.match(source)
    return frame.f_lineno + (above[0].count("\n") if above is not None else 0)


def _line_of(error: BaseException, namespace: Any) -> int:
    """Return the line of a cell at which an error left it; 1 where its traceback does not say."""
    traceback = error.__traceback__
    while traceback is not None:
        frame = traceback.tb_frame
        if frame.f_globals is namespace and frame.f_code.co_name.startswith("<"):
            return traceback.tb_lineno
        traceback = traceback.tb_next
    return 1
