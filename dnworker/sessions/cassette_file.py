"""`CassetteFile`: the file of a cassette, which grows by one entry at a time; used by `Cassette`.

It is JSON, an entry a block of lines. An entry is written over the last lines of the file, and these again
after it: what is written is what is added. A process that ends amid that leaves half an entry, which readers
leave out.
"""

from __future__ import annotations

import fcntl
import json
import logging
import os
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from dnworker.core.errors import Invalid
from dnworker.core.files import write_atomically

log = logging.getLogger("dnworker.agents")

FORMAT = 1
"""Written into each file; a later version reads earlier ones."""

LARGEST = 50_000_000
"""Bytes of a file that is read or written."""

TIDY = 262_144
"""Bytes of a file that is written whole where an entry replaces another; a larger one has `replaces`."""

_HEAD = b'{\n "cassette": %d,\n "entries": [\n' % FORMAT
_TAIL = b"\n ]\n}\n"
_END_OF_ENTRY = b"\n  }"

Request = dict[str, Any]
"""What was asked, as JSON; two are the same where all of it is."""


class Entry(msgspec.Struct, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """One request and what came of it.

    Attributes:
        request: of a script the `message`; of a model `model`, `messages`, `tools`, `parameters`, `output`.
        answer: what came, as JSON; for a turn that failed `failure` with `type` and `message`.
        replaces: whether entries above that ask the same count no more.
    """

    request: Request
    answer: dict[str, Any]
    replaces: bool = False


class _Whole(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    cassette: int
    entries: list[Entry]


class Full(Exception):
    """The file would be larger than what is read."""


def key_of(request: Request) -> str:
    """Return a text that two requests have in common where they ask the same."""
    return json.dumps(request, sort_keys=True)


class _Stamp(NamedTuple):
    """By what a file is known to have only grown since we wrote it."""

    inode: int
    size: int


class CassetteFile:
    """The file, as one recorder writes it; others may add to it at the same time."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._ours: list[Entry] = []
        """What we have written."""
        self._earlier: dict[str, list[tuple[int, Entry]]] = {}
        """By request, those of earlier recordings with their place, until the same is asked again."""
        self._stamp: _Stamp | None = None
        self._superseded = 0
        """Bytes of entries that are in the file and count no more."""

    def begin(self) -> None:
        """Make the file, or read what earlier recordings have left in it.

        Raises:
            Full: it is too large already.
            Invalid: it is there and something else.
            OSError: it cannot be written.
        """
        with self._held():
            there = read(self.path) if self.path.exists() else []
            self._write(there)
            for number, entry in enumerate(there):
                self._earlier.setdefault(key_of(entry.request), []).append((number, entry))

    def add(self, entries: list[Entry]) -> None:
        """Write entries, which replace those of earlier recordings that ask the same.

        Raises:
            Full: the file would be too large; it is as it was.
            Invalid: it is something else by now.
            OSError: it cannot be written, and is as it was.
        """
        with self._held():
            replaced = [key for entry in entries if (key := key_of(entry.request)) in self._earlier]
            if not self._append(entries, replaced):
                there = read(self.path) if self.path.exists() else []
                others = _without(there, [*self._ours, *self._left(())])
                self._write([*self._left(replaced), *others, *self._ours, *entries])
            for key in replaced:
                self._earlier.pop(key, None)
            self._ours += entries

    def _left(self, replaced: Iterable[str]) -> list[Entry]:
        """Return the entries of earlier recordings, without those whose requests are asked again."""
        out = set(replaced)
        placed = [one for key, same in self._earlier.items() if key not in out for one in same]
        return [entry for _, entry in sorted(placed, key=lambda one: one[0])]

    def _append(self, entries: list[Entry], replaced: list[str]) -> bool:
        """Write entries at the end; returns False where the file must be written anew."""
        gone = sum(len(_text(one)) for key in set(replaced) for _, one in self._earlier[key])
        with self._opened() as descriptor:
            if descriptor is None:
                return False
            size = os.fstat(descriptor).st_size
            if replaced and (size <= TIDY or (self._superseded + gone) * 2 > size):
                return False
            if os.pread(descriptor, len(_TAIL) + 1, size - len(_TAIL) - 1) != b"}" + _TAIL:
                return False
            first = set(replaced)
            texts = []
            for entry in entries:
                key = key_of(entry.request)
                texts.append(_text(msgspec.structs.replace(entry, replaces=key in first)))
                first.discard(key)
            addition = b"".join(b",\n" + text for text in texts) + _TAIL
            if size - len(_TAIL) + len(addition) > LARGEST:
                raise Full
            _write_over(descriptor, addition, size)
            self._superseded += gone
            self._stamp = _Stamp(os.fstat(descriptor).st_ino, size - len(_TAIL) + len(addition))
        return True

    @contextmanager
    def _opened(self) -> Iterator[int | None]:
        """Yield the file, opened, if it has only grown since we wrote it; else None."""
        try:
            descriptor = os.open(self.path, os.O_RDWR | os.O_CLOEXEC)
        except OSError:  # it is gone, or may not be written to, only replaced
            yield None
            return
        try:
            found = os.fstat(descriptor)
            has_grown = self._stamp is not None and found.st_ino == self._stamp.inode
            yield descriptor if has_grown and self._stamp and found.st_size >= self._stamp.size else None
        finally:
            os.close(descriptor)

    def _write(self, entries: Iterable[Entry]) -> None:
        """Write the file anew, whole or not at all.

        Raises:
            Full: it would be too large.
        """
        texts = [_text(msgspec.structs.replace(entry, replaces=False)) for entry in entries]
        whole = _HEAD + b",\n".join(texts) + _TAIL if texts else _HEAD.rstrip(b"\n") + b"]\n}\n"
        if len(whole) > LARGEST:
            raise Full
        write_atomically(self.path, whole.decode(), mode=0o644)
        found = self.path.stat()
        self._stamp, self._superseded = _Stamp(found.st_ino, found.st_size), 0

    @contextmanager
    def _held(self) -> Iterator[None]:
        directory = Path(os.path.realpath(self.path)).parent
        directory.mkdir(parents=True, exist_ok=True)
        with held(directory):
            yield


def _write_over(descriptor: int, addition: bytes, size: int) -> None:
    """Write over the tail of a file; where that fails, the tail is put back.

    Raises:
        OSError: it failed.
    """
    at = size - len(_TAIL)
    written = 0
    try:
        while written < len(addition):
            written += os.pwrite(descriptor, addition[written:], at + written)
        os.fsync(descriptor)
    except OSError:
        os.pwrite(descriptor, _TAIL, at)
        os.ftruncate(descriptor, size)
        raise


@contextmanager
def held(directory: Path) -> Iterator[None]:
    """Let nobody else write a cassette of a directory meanwhile: the lock is on that, and leaves no file.

    Raises:
        OSError: it cannot be opened.
    """
    descriptor = os.open(directory, os.O_RDONLY | os.O_CLOEXEC)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        except OSError as exc:  # a file system without locks: one records at a time there, as mostly
            log.debug("%s cannot be locked: %s", directory, exc)
        yield
    finally:
        os.close(descriptor)


def _text(entry: Entry) -> bytes:
    """Return an entry as the lines that it has in the file.

    Raises:
        TypeError, ValueError: it is no JSON.
    """
    text = json.dumps(msgspec.to_builtins(entry), indent=1, ensure_ascii=False, allow_nan=False)
    return ("  " + text.replace("\n", "\n  ")).encode()


def check(entry: Entry) -> int:
    """Return how many bytes an entry has in the file.

    Raises:
        TypeError, ValueError, RecursionError: it is no JSON, or nested too deeply.
    """
    key_of(entry.request)
    return len(_text(entry))


def _without(there: list[Entry], known: Iterable[Entry]) -> list[Entry]:
    """Return the entries of a file that somebody else has written."""
    left, found = Counter(map(_compared, known)), []
    for entry in there:
        if left[text := _compared(entry)]:
            left[text] -= 1
        else:
            found.append(entry)
    return found


def _compared(entry: Entry) -> str:
    return json.dumps([entry.request, entry.answer], sort_keys=True)


# -- reading -----------------------------------------------------------------------------------------------


def read_whole(path: Path) -> list[Entry]:
    """Return the entries of a file that others may be writing.

    Raises:
        Invalid: as of `read`.
    """
    with ExitStack() as stack:
        with suppress(OSError):  # no such directory, or one that may only be searched
            stack.enter_context(held(Path(os.path.realpath(path)).parent))
        return read(path)


def read(path: Path) -> list[Entry]:
    """Return the entries of a file that count; half an entry at its end is left out, and the log says so.

    Raises:
        Invalid: it cannot be read, or is something else; names the place.
    """
    try:
        if (size := path.stat().st_size) > LARGEST:
            raise Invalid(f"cassette {path} has {size:,} bytes; at most {LARGEST:,} are read", code="DN994")
        found = _decode(path, path.read_bytes())
    except OSError as exc:
        way_out = "; record one: %%agent NAME --record FILE" if isinstance(exc, FileNotFoundError) else ""
        raise Invalid(
            f"cassette {path} cannot be read: {exc.strerror or exc}{way_out}", code="DN994"
        ) from exc
    except (msgspec.MsgspecError, RecursionError) as exc:
        raise Invalid(f"{path} is no cassette: {exc}", code="DN994") from exc
    if found.cassette > FORMAT:
        raise Invalid(
            f"cassette {path} was written by a later version of dnworker: it is of format {found.cassette}, "
            f"and this one knows {FORMAT}; update",
            code="DN994",
        )
    return _counting(found.entries)


def _decode(path: Path, data: bytes) -> _Whole:
    try:
        return msgspec.json.decode(data, type=_Whole)
    except msgspec.DecodeError:
        end = data.rfind(_END_OF_ENTRY)
        if not data.startswith(_HEAD) or end < 0:
            raise
        found = msgspec.json.decode(data[:end] + _END_OF_ENTRY + _TAIL, type=_Whole)
        log.warning("cassette %s ends amid an entry, which is left out; record it again", path)
        return found


def _counting(entries: list[Entry]) -> list[Entry]:
    """Return the entries that no later one replaces, none of which says that it does."""
    if not any(entry.replaces for entry in entries):
        return entries
    same: dict[str, list[tuple[int, Entry]]] = {}
    for number, entry in enumerate(entries):
        key = key_of(entry.request)
        if entry.replaces:
            same[key] = []
        same.setdefault(key, []).append((number, msgspec.structs.replace(entry, replaces=False)))
    return [
        entry for _, entry in sorted((one for each in same.values() for one in each), key=lambda one: one[0])
    ]
