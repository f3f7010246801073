"""The endpoints of files and of the shell on the runtime's machine (contract 6.7)."""

from __future__ import annotations

import asyncio
import errno
import os
import re
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import msgspec
from msgspec import Meta
from starlette.responses import Response

from dnworker.core.errors import ApiError, NotFound, TooLarge
from dnworker.core.text import valid_text
from dnworker.server import uploads
from dnworker.server.api import ApiCall, Fields, endpoint
from dnworker.server.responses import JSONResponse
from dnworker.server.rights import Right
from dnworker.workers.subprocess_runner import end_at_once

SKIPPED = frozenset(
    {"node_modules", "__pycache__", "venv", "env", "dist", "build", "target", "site-packages", "coverage"}
)
ENTRIES_SHOWN = 20_000
LARGEST_READ = 25 * 1024 * 1024
DEEPEST = 32
OUTPUT_KEPT = 1_000_000
"""Bytes of each stream of a shell command that are kept; the rest is counted."""

_BATCH = re.compile(r"[A-Za-z0-9_-]{1,64}")


class ListQuery(Fields):
    """What to list."""

    path: str | None = None
    depth: Annotated[int, Meta(ge=0, le=100)] = 10


class PathQuery(Fields):
    """The file to read, by its path below the working directory."""

    path: str


class UploadQuery(Fields):
    """Where an uploaded file goes: below the directory of its batch."""

    batch: str
    path: str


class ShellQuery(Fields):
    """What to run, for how long."""

    command: str
    cwd: str | None = None
    timeout: Annotated[float, Meta(gt=0, le=3600)] = 30


class Entry(msgspec.Struct, rename={"is_dir": "isDir"}):
    """One file or directory."""

    name: str
    path: str
    is_dir: bool
    size: int | None


class Listing(msgspec.Struct, omit_defaults=True):
    """What is below a directory."""

    path: str
    entries: list[Entry]
    error: str | None = None


@endpoint("GET", "/api/files", right=Right.FILES, query=ListQuery, answer=Listing, errors=(400,))
async def files(call: ApiCall) -> object:
    """List what is below a directory, depth first; hidden names and build folders are left out."""
    fixed = os.environ.get("DREADNODE_PROJECT_ROOT")
    if _has_nul(call.query.path):
        return _refused(400, "a path cannot hold a NUL character")
    root = Path(fixed or call.query.path or ".").absolute()
    return await asyncio.to_thread(_list, root, call.query.depth)


def _list(root: Path, depth: int) -> Listing:
    try:
        entries: list[Entry] = []
        for entry in _walk(root, root, depth):
            if len(entries) == ENTRIES_SHOWN:
                return Listing(str(root), entries, f"only the first {ENTRIES_SHOWN:,} entries are listed")
            entries.append(entry)
        return Listing(str(root), entries)
    except OSError as exc:
        return Listing(str(root), [], f"{root}: {exc.strerror or exc}")


def _walk(directory: Path, root: Path, depth: int) -> Iterator[Entry]:
    with os.scandir(directory) as found:
        entries = sorted(found, key=lambda e: e.name)
    for entry in entries:
        if entry.name.startswith(".") or entry.name in SKIPPED:
            continue
        is_dir = entry.is_dir(follow_symlinks=False)
        try:
            size = None if is_dir else entry.stat(follow_symlinks=False).st_size
        except FileNotFoundError:
            continue  # gone since
        path = Path(entry.path)
        yield Entry(valid_text(entry.name), valid_text(str(path.relative_to(root))), is_dir, size)
        if is_dir and depth > 0:
            try:
                yield from _walk(path, root, depth - 1)
            except PermissionError:
                continue  # listed itself; what is in it is not ours to see


@endpoint("GET", "/api/files/read", right=Right.FILES, query=PathQuery, errors=(400, 404, 413))
async def read(call: ApiCall) -> object:
    """Return a file's text; bytes that are no UTF-8 are replaced."""
    path = call.query.path
    empty = {"path": path, "content": ""}
    if _has_nul(path):
        return _refused(400, "a path cannot hold a NUL character", **empty)
    try:
        content = await asyncio.to_thread(_read_text, Path(path))
    except ApiError as exc:
        return _refused(exc.status, str(exc), **empty)
    except OSError as exc:
        missing = isinstance(exc, FileNotFoundError) or exc.errno in (errno.ENAMETOOLONG, errno.ELOOP)
        return _refused(404 if missing else 400, f"{path}: {exc.strerror or exc}", **empty)
    return {"path": path, "content": content}


def _read_text(file: Path) -> str:
    """Return the text of a regular file; nothing else is opened, for that may do or wait for something.

    Raises:
        NotFound: it is a directory.
        ApiError: it is a device, a pipe or a socket.
        TooLarge: it is over the limit, whatever size it claims.
        OSError: it cannot be read.
    """
    _check_regular(file.stat(), file)
    descriptor = os.open(file, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    with os.fdopen(descriptor, "rb", buffering=0) as stream:
        status = os.fstat(descriptor)
        _check_regular(status, file)  # it may be another one by now
        content = bytearray()
        while status.st_size <= LARGEST_READ and len(content) <= LARGEST_READ:  # /proc claims 0 bytes
            chunk = stream.read(1_000_000)
            if chunk is None:
                raise BlockingIOError(errno.EAGAIN, "nothing can be read from it now")
            if not chunk:
                return content.decode(errors="replace")
            content += chunk
    raise TooLarge(f"{file} is larger than {LARGEST_READ:,} bytes", code="DN911")


def _check_regular(status: os.stat_result, file: Path) -> None:
    if stat.S_ISDIR(status.st_mode):
        raise NotFound(f"there is no file {file}: it is a directory", code="DN911")
    if not stat.S_ISREG(status.st_mode):
        raise ApiError(f"{file} is no regular file", code="DN911")


@endpoint(
    "PUT",
    "/api/files/upload",
    right=Right.FILES,
    query=UploadQuery,
    raw="application/octet-stream",
    errors=(400, 409, 413),
)
async def upload(call: ApiCall) -> object:
    """Keep the request's body as a file of a batch, below the working directory."""
    batch, path = call.query.batch, call.query.path
    if not _BATCH.fullmatch(batch):
        raise ApiError("batch is 1 to 64 letters, digits, _ and -", code="DN911")
    parts = path.split("/")
    if _has_nul(path) or "\\" in path or len(parts) > DEEPEST or {"", ".", ".."} & set(parts):
        raise ApiError(
            f"path must be relative, with / between its parts, without .., at most {DEEPEST} deep",
            code="DN911",
        )
    try:
        with uploads.uploading(Path("uploads", batch), parts) as one:
            room = await asyncio.to_thread(uploads.room, one)
            await uploads.receive(call.receive, one.part, room)
            size = await asyncio.to_thread(uploads.place, one)
    except OSError as exc:
        raise ApiError(f"{path}: {exc.strerror or exc}", code="DN911") from exc
    return {"path": str(one.file), "size": size}


@endpoint("POST", "/api/shell", right=Right.SHELL, query=ShellQuery, errors=(400, 408))
async def shell(call: ApiCall) -> object:
    """Run a command by the shell, and return what it wrote and how it ended."""
    command: str = call.query.command
    if not command.strip() or _has_nul(command) or _has_nul(call.query.cwd):
        return _refused(400, "command must be text that is not blank, without NUL")
    try:
        process = await asyncio.create_subprocess_shell(
            command,
            cwd=call.query.cwd,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            start_new_session=True,
        )
    except (OSError, ValueError) as exc:
        return _refused(400, str(exc), command=command)  # a wrong cwd is the caller's
    reading = asyncio.gather(_read(process.stdout), _read(process.stderr), process.wait())
    try:
        async with asyncio.timeout(call.query.timeout):
            stdout, stderr, code = await reading
    except (TimeoutError, asyncio.CancelledError) as exc:
        await end_at_once(process)
        if isinstance(exc, asyncio.CancelledError):
            raise
        return _refused(408, f"the command took longer than {call.query.timeout:g} s", command=command)
    return {"stdout": stdout, "stderr": stderr, "exitCode": code, "command": command}


async def _read(stream: asyncio.StreamReader | None) -> str:
    """Read to the end, keeping a bounded beginning."""
    if stream is None:
        return ""
    kept, dropped = bytearray(), 0
    while chunk := await stream.read(65_536):
        room = OUTPUT_KEPT - len(kept)
        kept += chunk[:room]
        dropped += max(0, len(chunk) - room)
    note = f"\n[cut: {dropped:,} more bytes]" if dropped else ""
    return kept.decode(errors="replace") + note


def _refused(status: int, text: str, **fields: Any) -> Response:
    """Answer in the shape of these endpoints: `error` beside what was asked, no `detail`."""
    return JSONResponse({**{k: valid_text(v) for k, v in fields.items()}, "error": valid_text(text)}, status)


def _has_nul(text: str | None) -> bool:
    return text is not None and "\0" in text


endpoints = [files, read, upload, shell]
