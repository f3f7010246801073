"""Files of events: JSON Lines of envelopes or CloudEvents, and batches; written whole or not at all."""

from __future__ import annotations

import os
import stat
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC
from hashlib import blake2s
from pathlib import Path
from shutil import copyfileobj
from typing import IO, Any, BinaryIO

import msgspec

from dnworker.core.envelope import EventEnvelope, decode_stored, encode
from dnworker.core.errors import Invalid, UsageError, code_of
from dnworker.core.text import shorten
from dnworker.events.cloud_events import SOURCE, from_cloud_event, is_cloud_event, to_cloud_event

FILE_BYTES = 256 * 1024 * 1024
LINE_BYTES = 8_000_000
"""Bytes that a file has at most that is read, and a line of it: a payload has 1,000,000 at most."""

SPOOL_BYTES = 10_000_000
"""Bytes of events for standard output that are collected in memory; more are on disk until the end."""

_BROKEN = (msgspec.MsgspecError, UnicodeDecodeError, RecursionError)
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"
_LONGEST_WHY = 300


# -- reading ---------------------------------------------------------------------------------------------


def read_events(path: Path) -> list[EventEnvelope]:
    """Read a file of events: JSON Lines, an array, or one object; envelopes and CloudEvents 1.0 in each.

    What it is, is seen by its content. Of an envelope, `kind` is needed and the rest may be left out.

    Raises:
        UsageError: the file cannot be read, is too large, or something in it is no event; names the line, or
            the item of an array.
    """
    try:
        if not stat.S_ISREG(path.stat().st_mode):
            what = (
                "is a directory" if path.is_dir() else "is no file; `dnworker events import -` reads a pipe"
            )
            raise UsageError(f"{path} cannot be read: it {what}", code="DN211")
        with path.open("rb") as stream:
            return [*events_of(stream, str(path))]
    except OSError as exc:
        raise UsageError(f"{path} cannot be read: {exc.strerror or exc}", code="DN211") from exc


def events_of(stream: BinaryIO, name: str) -> Iterator[EventEnvelope]:
    """Read events as `read_events` does, of a stream that may have no end.

    Raises:
        UsageError: as there.
        OSError: the stream cannot be read.
    """
    lines = _lines(stream, name)
    for number, line in lines:
        text = line.removeprefix(_BYTE_ORDER_MARK) if number == 1 else line
        if not text.strip():
            continue
        if text.lstrip().startswith(b"["):
            yield from _of_array(text + _rest(stream, name, len(text)), name)
            return
        try:
            value = msgspec.json.decode(text)
        except _BROKEN as exc:
            value = _whole(text + _rest(stream, name, len(text)))
            if value is None:
                raise _no_event(f"{name}, line {number}", exc) from None
        yield _event(value, number, f"{name}, line {number}")
        break
    for number, line in lines:
        if line.strip():
            try:
                value = msgspec.json.decode(line)
            except _BROKEN as exc:
                raise _no_event(f"{name}, line {number}", exc) from None
            yield _event(value, number, f"{name}, line {number}")


def _lines(stream: BinaryIO, name: str) -> Iterator[tuple[int, bytes]]:
    number = size = 0
    while line := stream.readline(LINE_BYTES + 1):
        number, size = number + 1, size + len(line)
        if size > FILE_BYTES:
            raise _too_large(name)
        if len(line) > LINE_BYTES:
            if line.lstrip(_BYTE_ORDER_MARK + b" \t").startswith(b"["):
                yield number, line
                continue
            raise UsageError(f"{name}, line {number}: it has over {LINE_BYTES:,} bytes", code="DN211")
        yield number, line


def _rest(stream: BinaryIO, name: str, size: int) -> bytes:
    """Return what is left of a file of which `size` bytes were read."""
    rest = stream.read(max(1, FILE_BYTES + 1 - size))
    if size + len(rest) > FILE_BYTES:
        raise _too_large(name)
    return rest


def _too_large(name: str) -> UsageError:
    return UsageError(
        f"{name} has over {FILE_BYTES // 1024 // 1024} MB, which is more than is read at once; split it",
        code="DN211",
    )


def _whole(text: bytes) -> object:
    """Return the one object that a file has in several lines; None where it is none."""
    with suppress(*_BROKEN):
        return msgspec.json.decode(text)
    return None


def _of_array(text: bytes, name: str) -> Iterator[EventEnvelope]:
    try:
        items = msgspec.json.decode(text, type=list[msgspec.Raw])
    except _BROKEN as exc:
        raise UsageError(
            f"{name}, line 1: not an event, nor a list of them: {_why(exc)}", code="DN211"
        ) from None
    for number, item in enumerate(items, start=1):
        place = f"{name}, item {number}"
        try:
            value = msgspec.json.decode(item)
        except _BROKEN as exc:
            raise _no_event(place, exc) from None
        yield _event(value, number, place)


def _event(value: object, number: int, place: str) -> EventEnvelope:
    try:
        if is_cloud_event(value):
            cloud: Any = value
            return from_cloud_event(cloud, number)
        raw = msgspec.convert(value, dict[str, Any])
        if raw.get("event_id") is None:
            raw["event_id"] = _made_id(raw, number)
        event = decode_stored(msgspec.json.encode({"seq": number, "payload": {}, **raw}))
        if event.timestamp.tzinfo is None:
            event = msgspec.structs.replace(event, timestamp=event.timestamp.replace(tzinfo=UTC))
        return event
    except Invalid as exc:
        if code_of(exc) == "DN222":
            raise UsageError(f"{place}: {exc}", code="DN222") from None
        raise _no_event(place, exc) from None
    except (*_BROKEN, ValueError, OverflowError) as exc:
        raise _no_event(place, exc) from None


def _made_id(raw: dict[str, Any], number: int) -> str:
    """Return the id of an event that has none: the same one whenever the file is read."""
    return blake2s(msgspec.json.encode([number, raw]), digest_size=16).hexdigest()


def _no_event(place: str, exc: Exception) -> UsageError:
    return UsageError(f"{place}: not an event: {_why(exc)}", code="DN211")


def _why(exc: Exception) -> str:
    return shorten(str(exc).partition("\n")[0], _LONGEST_WHY)


# -- writing ---------------------------------------------------------------------------------------------


class EventWriter:
    """Writes events into a file that is not in its place yet."""

    def __init__(self, stream: IO[bytes], name: str, *, cloud: bool, source: str) -> None:
        self._stream = stream
        self._name = name
        self._is_cloud = cloud
        self._source = source
        self.count = 0
        """How many events were written."""

    def write(self, event: EventEnvelope) -> None:
        """Write one event.

        Raises:
            UsageError: the disk is full, or fails; or a CloudEvent cannot have its kind or session.
        """
        if self._is_cloud:
            try:
                line = to_cloud_event(event, self._source)
            except Invalid as exc:
                raise UsageError(f"event #{event.seq}: {exc}", code=code_of(exc)) from None
            line = (b",\n" if self.count else b"[\n") + line
        else:
            line = encode(event) + b"\n"
        with _writing(self._name):
            self._stream.write(line)
        self.count += 1

    def end(self) -> None:
        """Write what comes behind the last event."""
        if self._is_cloud:
            self._stream.write(b"\n]\n" if self.count else b"[]\n")
        self._stream.flush()


@contextmanager
def _writing(name: str) -> Iterator[None]:
    try:
        yield
    except OSError as exc:
        raise UsageError(
            f"{name} cannot be written: {exc.strerror or exc}; nothing was changed", code="DN211"
        ) from exc


@contextmanager
def new_file(path: Path, *, cloud: bool = False, source: str = SOURCE) -> Iterator[EventWriter]:
    """Make a file of events that is put into its place at the end of the block, if that raises nothing.

    Args:
        path: the file; a link to one stays.
        cloud: whether it is a batch of CloudEvents, with one event a line; else JSON Lines of envelopes.
        source: the `source` of CloudEvents.

    Raises:
        UsageError: it cannot be written; nothing was changed.
    """
    name, place = str(path), Path(os.path.realpath(path))
    if place.exists() and not place.is_file():
        raise UsageError(f"{name} cannot be written: it is no file; nothing was changed", code="DN211")
    with _writing(name):
        handle, temporary = tempfile.mkstemp(dir=place.parent, prefix=f".{place.name[:200]}.")
    try:
        with os.fdopen(handle, "wb") as stream:
            writer = EventWriter(stream, name, cloud=cloud, source=source)
            yield writer
            with _writing(name):
                writer.end()
                os.fsync(stream.fileno())
        with _writing(name):
            Path(temporary).replace(place)
    except BaseException:
        with suppress(OSError):
            Path(temporary).unlink()
        raise


@contextmanager
def new_output(output: IO[bytes], *, cloud: bool = False, source: str = SOURCE) -> Iterator[EventWriter]:
    """Collect events that are written to a stream at the end of the block, if that raises nothing.

    Raises:
        UsageError: they cannot be kept until then.
        OSError: the stream cannot be written.
    """
    with tempfile.SpooledTemporaryFile(SPOOL_BYTES) as spool:
        writer = EventWriter(spool, "a temporary file", cloud=cloud, source=source)
        yield writer
        with _writing("a temporary file"):
            writer.end()
            spool.seek(0)
        copyfileobj(spool, output)
        output.flush()


def write_events(path: Path, events: Iterable[EventEnvelope], *, cloud: bool = False) -> int:
    """Write events to a file, whole or not at all; returns how many.

    Raises:
        UsageError: the file cannot be written.
    """
    with new_file(path, cloud=cloud) as writer:
        for event in events:
            writer.write(event)
    return writer.count
