"""Reads files and directories that nobody vouches for: regular files only, bounded, without waiting.

Whatever reads a manifest, a component, a worker's file or a kept file reads it by these functions. A named
pipe in its place would be waited for until somebody writes to it, for ever.
"""

from __future__ import annotations

import errno
import json
import math
import os
import re
import stat
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec

from dnworker.core.text import is_valid_text

LONGEST_FILE = 1_000_000
"""Bytes of a manifest, of front matter with its text, of a list of MCP servers, of a file of kept flags."""

LONGEST_MODULE = 16_000_000
"""Bytes of a worker's Python file and of files that are copied: those may hold data."""

MOST_NODES = 10_000
"""Values of one document, where the targets of aliases count as often as they are referred to."""

DEEPEST = 100
"""Levels of values within values."""

MOST_ENTRIES = 10_000
"""Files and directories that are looked at for one kind of component, or to find capabilities."""

MOST_BYTES = 4_000_000
"""Bytes that are read of all files of one kind of component."""

_LONGEST_SHOWN = 400
_MOST_NOTES = 20
_KINDS: tuple[tuple[Callable[[int], bool], str], ...] = (
    (stat.S_ISDIR, "a directory"),
    (stat.S_ISFIFO, "a named pipe"),
    (stat.S_ISSOCK, "a socket"),
    (stat.S_ISCHR, "a device"),
    (stat.S_ISBLK, "a device"),
)
_UNSHOWN = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")


class UnreadableFile(OSError):
    """A file is missing, is no regular file, is too large, or may not be read; `why` says which."""

    def __init__(self, file: Path, why: str, number: int | None = None) -> None:
        super().__init__(number, why)
        self.why = why
        self.file = shown(str(file))

    def __str__(self) -> str:
        return f"{self.file}: {self.why}"


class NotText(UnreadableFile):
    """A file is no UTF-8 text."""


class TooLarge(ValueError):
    """A value has too many parts, is nested too deep, or holds what no answer can carry; `part` does."""

    def __init__(self, message: str, part: Any = None) -> None:
        super().__init__(message)
        self.part = part


def shown(text: str, longest: int = _LONGEST_SHOWN) -> str:
    """Return a text for a line of a message: what cannot be shown is escaped, the middle of much left out."""
    if len(text) > longest:
        half = longest // 2
        text = f"{text[:half]}[... {len(text) - 2 * half:,} characters ...]{text[-half:]}"
    return _UNSHOWN.sub(lambda m: m[0].encode("unicode_escape", "surrogatepass").decode(), text)


def read_bytes(file: Path, most: int = LONGEST_FILE) -> bytes:
    """Return the bytes of a regular file.

    Raises:
        UnreadableFile: there is none, it is something else, has more than `most` bytes, or may not be read.
    """
    try:
        _refuse_special(file, file.stat().st_mode)
        # The kind is looked at before, as opening a device may do something; and after, as it may be another.
        descriptor = os.open(file, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        try:
            _refuse_special(file, os.fstat(descriptor).st_mode)
            return _read(file, descriptor, most)
        finally:
            os.close(descriptor)
    except UnreadableFile:
        raise
    except OSError as exc:
        raise UnreadableFile(file, f"cannot be read: {exc.strerror or exc}", exc.errno) from exc
    except ValueError as exc:  # a NUL in the name, or a character that no file name can have
        raise UnreadableFile(file, f"cannot be read: no file has such a name ({exc})", errno.ENOENT) from exc


def read_text(file: Path, most: int = LONGEST_FILE, *, encoding: str = "utf-8") -> str:
    """Return the text of a regular file, with line ends as in `Path.read_text`.

    Raises:
        UnreadableFile: see `read_bytes`.
        NotText: it is not UTF-8; the message names the byte.
    """
    data = read_bytes(file, most)
    try:
        text = data.decode(encoding)
    except UnicodeDecodeError as exc:
        line = data.count(b"\n", 0, exc.start) + 1
        utf16 = "; it looks like UTF-16" if data[:2] in (b"\xff\xfe", b"\xfe\xff") else ""
        why = f"is not UTF-8 text (byte {exc.start}, line {line}){utf16}; save it as UTF-8"
        raise NotText(file, why) from exc
    return text.replace("\r\n", "\n").replace("\r", "\n")


def read_json(file: Path, most: int = LONGEST_FILE) -> Any:
    """Return what a JSON file holds, with at most `MOST_NODES` values.

    Raises:
        UnreadableFile: see `read_bytes` and `read_text`.
        ValueError: it is no JSON, or holds too much; the message has no file name.
    """
    text = read_text(file, most)
    try:
        value = json.loads(text, parse_constant=_no_constant)
    except json.JSONDecodeError as exc:
        raise ValueError(f"line {exc.lineno}, column {exc.colno}: {exc.msg}") from exc
    except RecursionError as exc:
        raise TooLarge(f"nested deeper than {DEEPEST} levels") from exc
    refuse_large(value)
    return value


def resolved(path: Path) -> Path:
    """Return a path without symbolic links; what does not exist stays as it is written.

    Raises:
        UnreadableFile: its links form a loop, or no file can have such a name.
    """
    try:
        # Not Path.resolve() alone: up to Python 3.12 it raises RuntimeError for a loop, and later nothing.
        path.stat()
    except OSError as exc:
        if exc.errno == errno.ELOOP:
            raise UnreadableFile(path, "is a loop of symbolic links", exc.errno) from exc
        if exc.errno == errno.ENAMETOOLONG:
            raise UnreadableFile(path, "is longer than a file name can be", exc.errno) from exc
    except ValueError as exc:
        raise UnreadableFile(path, f"no file has such a name ({exc})", errno.ENOENT) from exc
    try:
        return path.resolve()
    except (OSError, RuntimeError, ValueError) as exc:
        raise UnreadableFile(path, f"cannot be followed: {exc}") from exc


class Budget(msgspec.Struct):
    """What may be looked at for components of one kind; `problems` says what was left out, and why."""

    entries: int = MOST_ENTRIES
    size: int = MOST_BYTES
    problems: list[str] = msgspec.field(default_factory=list)

    def may_read(self, file: Path) -> bool:
        """Return whether the bytes of a file are within what is left; what is no file takes none."""
        try:
            size = file.stat().st_size
        except (OSError, ValueError):  # reading it says why
            return True
        if size <= LONGEST_FILE:  # a larger one is refused where it is read
            self.size -= size
        if self.size < 0:
            where = shown(str(file.parent))
            self._note(f"{where}: holds more than {MOST_BYTES:,} bytes in such files; not all are read")
        return self.size >= 0

    def files_below(self, directory: Path, wanted: Callable[[str], bool]) -> list[Path]:
        """Return the files below a directory whose names are wanted, sorted.

        Links to directories are not followed. What has a wanted name and is no regular file is among them, as
        reading it says what it is; not so a link to nothing, which the reference leaves out.
        """
        found: list[Path] = []
        waiting = [(directory, 0)]
        while waiting and self.entries:
            here, depth = waiting.pop()
            if depth > DEEPEST:
                self._note(
                    f"{shown(str(directory))}: what lies deeper than {DEEPEST} directories is not read"
                )
                continue
            for entry in self._scan(here):
                if entry.is_dir(follow_symlinks=False):
                    waiting.append((here / entry.name, depth + 1))
                elif wanted(entry.name) and _leads_to_a_file(here / entry.name):
                    found.append(here / entry.name)
        return sorted(found)

    def files_in(self, directory: Path, wanted: Callable[[str], bool]) -> list[Path]:
        """Return the regular files right in a directory whose names are wanted, sorted."""
        entries = self._scan(directory)
        return sorted(p for e in entries if wanted(e.name) and is_file(p := directory / e.name))

    def directories_in(self, directory: Path) -> list[Path]:
        """Return the directories right in a directory, and links to such, sorted."""
        return sorted(p for e in self._scan(directory) if is_directory(p := directory / e.name))

    def _scan(self, directory: Path) -> Iterator[os.DirEntry[str]]:
        try:
            with os.scandir(directory) as entries:
                for entry in entries:
                    if not self.entries:
                        where, most = shown(str(directory)), f"{MOST_ENTRIES:,} files and directories"
                        self._note(f"{where}: {most} were looked at by now; what follows is not read")
                        return
                    self.entries -= 1
                    yield entry
        except OSError as exc:
            self._note(f"{shown(str(directory))}: cannot be read: {exc.strerror or exc}")

    def _note(self, problem: str) -> None:
        if problem not in self.problems and len(self.problems) < _MOST_NOTES:
            self.problems.append(problem)


def _leads_to_a_file(path: Path) -> bool:
    try:
        return not stat.S_ISDIR(path.stat().st_mode)
    except FileNotFoundError:
        return False
    except OSError:  # a loop of links, or a directory that may not be read
        return True


def exists(path: Path) -> bool:
    """Return whether there is something at a path, after symbolic links; False for what is no path."""
    return os.path.exists(path)  # noqa: PTH110  Path.exists() raises for a name that is too long


def is_directory(path: Path) -> bool:
    """Return whether a path leads to a directory; False for what is no path."""
    return os.path.isdir(path)  # noqa: PTH112  as above


def is_file(path: Path) -> bool:
    """Return whether a path leads to a regular file; False for what is no path."""
    return os.path.isfile(path)  # noqa: PTH113  as above


def refuse_large(value: Any, parts: Callable[[Any], Iterator[Any] | None] | None = None) -> None:
    """Refuse a value that is large when it is written out: what occurs twice counts twice.

    Args:
        value: plain data, as JSON and YAML have it.
        parts: returns the parts of a container, and None for any other value; by default those of plain data.

    Raises:
        TooLarge: it has more than `MOST_NODES` values, more than `LONGEST_FILE` characters in them, more than
            `DEEPEST` levels, contains itself, or has text that UTF-8 has no form for.
    """
    parts = _parts if parts is None else parts
    if parts(value) is None:
        _length(value)
        return
    sizes: dict[int, tuple[int, int]] = {}
    """By identity of a container: its values and characters, with those of all within."""
    for container in _inner_first(value, parts):
        count, length = 1, 0
        for part in parts(container) or ():
            inner_count, inner_length = sizes.get(id(part)) or (1, _length(part))
            count, length = count + inner_count, length + inner_length
        if count > MOST_NODES:
            raise TooLarge(
                f"more than {MOST_NODES:,} values, counting what aliases repeat; split it", container
            )
        if length > LONGEST_FILE:
            raise TooLarge(
                f"more than {LONGEST_FILE:,} characters, counting what aliases repeat; split it", container
            )
        sizes[id(container)] = count, length


def _inner_first(value: Any, parts: Callable[[Any], Iterator[Any] | None]) -> Iterator[Any]:
    """Yield each container once, after those within it."""
    done: set[int] = set()
    path: list[tuple[Any, Iterator[Any]]] = [(value, parts(value) or iter(()))]
    within = {id(value)}
    while path:
        container, rest = path[-1]
        for part in rest:
            inner = None if id(part) in done else parts(part)
            if inner is None:
                continue
            if id(part) in within:
                raise TooLarge("an alias refers to what contains it; write the value out", part)
            if len(path) >= DEEPEST:
                raise TooLarge(f"nested deeper than {DEEPEST} levels", part)
            within.add(id(part))
            path.append((part, inner))
            break
        else:
            path.pop()
            within.discard(id(container))
            done.add(id(container))
            yield container


def _parts(value: Any) -> Iterator[Any] | None:
    if isinstance(value, dict):
        return (one for pair in value.items() for one in pair)
    return iter(value) if isinstance(value, list | tuple | set) else None


def _length(value: Any) -> int:
    text = getattr(value, "value", value)  # of a node of YAML
    if not isinstance(text, str):
        return len(text) if isinstance(text, bytes) else 0
    if not is_valid_text(text):
        raise TooLarge(f"text {shown(text, 60)!r} has a lone surrogate, which is no character", value)
    return len(text)


def _refuse_special(file: Path, mode: int) -> None:
    if not stat.S_ISREG(mode):
        kind = next((words for is_kind, words in _KINDS if is_kind(mode)), "no file")
        raise UnreadableFile(file, f"cannot be read: it is {kind}, and a regular file is wanted")


def _read(file: Path, descriptor: int, most: int) -> bytes:
    chunks: list[bytes] = []
    left = most + 1
    while left and (chunk := os.read(descriptor, min(left, 1 << 20))):
        chunks.append(chunk)
        left -= len(chunk)
    if not left:
        raise UnreadableFile(file, f"is larger than {most:,} bytes; make it smaller", errno.EFBIG)
    return b"".join(chunks)


def _no_constant(name: str) -> float:
    raise ValueError(f"{name} is no JSON")


def is_number(value: object) -> bool:
    """Return whether a value is a finite number of seconds or such, or text that is one."""
    try:
        return math.isfinite(float(value))  # type: ignore[arg-type]  # the errors say whether it is one
    except (TypeError, ValueError, OverflowError):
        return False
