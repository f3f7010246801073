"""The standard streams of `serve`: who prints never waits for a reader, and `--json` prints JSON alone."""

from __future__ import annotations

import io
import os
import stat
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress

from dnworker.cli.captured import Captured
from dnworker.cli.json_lines import Entry, JsonOutlet, current_entry, line_of
from dnworker.cli.outlet import Outlet
from dnworker.cli.text import json_goes_to, printable


class Streams:
    """Standard output and standard error on outlets.

    Attributes: `out` and `err`, what is written to standard output and standard error; `answers`, where JSON
    goes: `out`, or with `--json` an outlet that nothing else has; `has_json_lines`, whether each line of both
    is a JSON object; `last_words`, a descriptor of standard error that never waits.
    """

    def __init__(self, out: Outlet, err: Outlet, answers: Outlet, *, has_json_lines: bool = False) -> None:
        self.out = out
        self.err = err
        self.answers = answers
        self.has_json_lines = has_json_lines
        self.last_words = last_words_fd()
        self.splitters: list[Captured | JsonOutlet] = []
        """What makes JSON lines of text of others, and may have a line that is not complete."""

    def say(self, text: str, level: str = "warning") -> None:
        """Write a line on standard error, from any thread."""
        line = line_of(Entry(text, level)) if self.has_json_lines else f"{printable(text)}\n".encode()
        self.err.write(line)

    def close(self, timeout: float) -> None:
        """Write what is queued for up to `timeout` seconds, and say on standard error what was dropped."""
        for one in self.splitters:
            one.close()
        outlets = dict.fromkeys((self.answers, self.out, self.err))
        for outlet in outlets:
            outlet.close(timeout / len(outlets))
            if (said := outlet.take_loss()) is not None:
                self.say(said)


class _Raw(io.BufferedIOBase):
    """The `buffer` of a standard stream: bytes go to the outlet, all else is as the descriptor has it."""

    def __init__(self, outlet: Outlet, fd: int) -> None:
        self.raw = self  # libraries look below `buffer`
        self._outlet = outlet
        self._fd = fd

    @property
    def name(self) -> str:
        return f"<{self._outlet.name}>"

    @property
    def mode(self) -> str:
        return "wb"

    def writable(self) -> bool:
        return True

    def write(self, data: object) -> int:
        copied = bytes(memoryview(data))  # type: ignore[arg-type]  # whatever has the buffer protocol
        self._outlet.write(copied)
        return len(copied)

    def fileno(self) -> int:
        return self._fd

    def isatty(self) -> bool:
        return os.isatty(self._fd)

    def close(self) -> None:
        """Stay open: a library that closes a standard stream must not silence all others."""


class _Text(io.TextIOWrapper):
    """A standard stream: whole lines go to the outlet at once, and a flush waits for them, within bounds."""

    def __init__(self, outlet: Outlet, fd: int, like: object) -> None:
        encoding = getattr(like, "encoding", None) or "utf-8"
        errors = "backslashreplace" if fd == 2 else getattr(like, "errors", None) or "strict"
        super().__init__(_Raw(outlet, fd), encoding, errors, line_buffering=True)
        self.outlet = outlet

    def write(self, text: str) -> int:
        entry, outlet = current_entry(), self.outlet
        if entry is None or not isinstance(outlet, JsonOutlet):
            return super().write(text)
        outlet.say(entry)
        return len(text)

    def flush(self) -> None:
        super().flush()
        if outlet := getattr(self, "outlet", None):  # it is called while it is made
            outlet.flush()

    def close(self) -> None:
        """Stay open, as above."""
        with suppress(ValueError):
            self.flush()


@contextmanager
def streams(*, as_json: bool, json_lines: bool = False) -> Iterator[Streams]:
    """Put `sys.stdout` and `sys.stderr` on outlets while the block runs.

    With `as_json`, what is printed, also by C code and child processes, goes to standard error, and standard
    output is for JSON alone. With `json_lines`, each line of both is a JSON object, whoever writes it.
    Streams that were closed, as by `>&-`, are opened on nothing.
    """
    open_standard_descriptors()
    with ExitStack() as undo:
        made = _made(undo, as_json=as_json, json_lines=json_lines)
        undo.callback(made.close, 1.0)
        outlets = dict.fromkeys((made.answers, made.out, made.err))
        for outlet in outlets:
            outlet.start()
        out, err = made.out, made.err
        if json_lines:
            out, err = JsonOutlet(out, "stdout"), JsonOutlet(err, "stderr")
            made.splitters = [out, err, Captured(1, "stdout", made.out), Captured(2, "stderr", made.err)]
        undo.enter_context(_standing_in("stdout", _Text(out, 1, sys.stdout)))
        undo.enter_context(_standing_in("stderr", _Text(err, 2, sys.stderr)))
        undo.enter_context(json_goes_to(lambda line: made.answers.write(line.encode() + b"\n")))
        yield made


def _made(undo: ExitStack, *, as_json: bool, json_lines: bool) -> Streams:
    """Return outlets on the standard descriptors, or on copies where the descriptors will lead elsewhere."""

    def said(text: str) -> None:
        made.say(text)

    err = Outlet(_copy(undo, 2) if json_lines else 2, "standard error", on_loss=said if json_lines else None)
    if as_json:
        apart = os.dup(1)
        os.dup2(2, 1)
        undo.callback(_put_back, apart)
        answers, out = Outlet(apart, "standard output", on_loss=said), err
    else:
        answers = out = Outlet(_copy(undo, 1) if json_lines else 1, "standard output", on_loss=said)
    made = Streams(out, err, answers, has_json_lines=json_lines)
    return made


def _copy(undo: ExitStack, fd: int) -> int:
    copied = os.dup(fd)
    undo.callback(os.close, copied)
    return copied


@contextmanager
def _standing_in(name: str, stream: _Text) -> Iterator[None]:
    """Have `sys.NAME` and `sys.__NAME__` be another stream while the block runs."""
    before = {each: getattr(sys, each) for each in (name, f"__{name}__")}
    for each, present in before.items():
        if present is not None:
            with suppress(OSError, ValueError):
                present.flush()
        setattr(sys, each, stream)
    try:
        yield
    finally:
        stream.flush()
        for each, present in before.items():
            setattr(sys, each, present)


def _put_back(apart: int) -> None:
    """Make descriptor 1 what it was."""
    sys.stdout.flush()
    os.dup2(apart, 1)
    os.close(apart)


def open_standard_descriptors() -> None:
    """Open those of the descriptors 0, 1 and 2 that are closed on nothing.

    Else the next file or socket gets the number, and what is printed goes there.
    """
    for fd in (0, 1, 2):
        try:
            os.fstat(fd)
        except OSError:
            opened = os.open(os.devnull, os.O_RDWR)  # the lowest number that is free: this one
            if opened != fd:
                os.dup2(opened, fd)
                os.close(opened)
            os.set_inheritable(fd, True)


def last_words_fd() -> int:
    """Return a descriptor of standard error that never waits, for last words.

    It is opened anew, so that those who share standard error are not affected. Where that cannot be, such as
    with a socket, it leads nowhere; a regular file never waits.
    """
    if stat.S_ISREG(os.fstat(2).st_mode):
        return os.dup(2)
    for path in ("/proc/self/fd/2", "/dev/fd/2", os.devnull):
        with suppress(OSError):
            return os.open(path, os.O_WRONLY | os.O_NONBLOCK | os.O_NOCTTY)
    raise OSError(f"{os.devnull} cannot be opened")
