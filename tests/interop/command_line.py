"""Runs the reference's own command line against a runtime: headless, or in a terminal with a stand-in of its platform."""

from __future__ import annotations

import asyncio
import fcntl
import json
import os
import pty
import struct
import termios
import threading
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from .environment import LIMIT, reference_python

NOW = "2030-01-01T00:00:00Z"
SECONDS = dict.fromkeys(
    (
        "effective_max_sandbox_runtime_seconds",
        "effective_default_sandbox_runtime_seconds",
        "platform_max_sandbox_runtime_seconds",
        "platform_default_sandbox_runtime_seconds",
    ),
    3600,
)
SOURCES = dict.fromkeys(
    ("max_sandbox_runtime_source_level", "default_sandbox_runtime_source_level"), "platform"
)
ORGANIZATION = {"id": "o", "name": "Org", "key": "org", "created_at": NOW, "updated_at": NOW}
WORKSPACE = {"id": "w", "name": "Ws", "key": "ws", "org_id": "o", "created_at": NOW, "updated_at": NOW}
USER = {"id": "u", "email_address": "ada@example.org", "username": "ada", "onboarding_complete": True}

PLATFORM = {
    "/api/v1/user": USER,
    "/api/v1/user/preferences": {},
    "/api/v1/org/org": ORGANIZATION | SECONDS | SOURCES,
    "/api/v1/org/org/ws": [WORKSPACE],
}
"""What the terminal's start asks of the platform: who is it, of which organization and workspace."""


class _Answers(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        found = PLATFORM.get(self.path.partition("?")[0])
        body = json.dumps({"detail": "not here"} if found is None else found).encode()
        self.send_response(404 if found is None else 200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Print nothing."""


@contextmanager
def platform() -> Iterator[str]:
    """Answer what the terminal asks of its platform as it starts; gives the URL."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Answers)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@dataclass(frozen=True)
class Printed:
    """What a headless run left: its exit code, and its lines without those that are blank."""

    code: int
    out: list[str]
    err: list[str]


def command(url: str, *options: str) -> list[str]:
    return [str(reference_python().parent / "dreadnode"), "--runtime-server", url, *options]


async def run_print(url: str, environ: Mapping[str, str], *options: str) -> Printed:
    """Run one prompt headlessly."""
    process = await asyncio.create_subprocess_exec(
        *command(url, "--print", *options),
        env={**environ, "COLUMNS": "400", "NO_COLOR": "1"},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        stdin=asyncio.subprocess.DEVNULL,
    )
    try:
        async with asyncio.timeout(LIMIT):
            out, err = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    assert process.returncode is not None
    return Printed(process.returncode, _lines(out), _lines(err))


def _lines(text: bytes) -> list[str]:
    return [line.strip() for line in text.decode().splitlines() if line.strip()]


@asynccontextmanager
async def terminal(url: str, environ: Mapping[str, str], home: Path, *options: str) -> AsyncIterator[None]:
    """Run the command line in a terminal, logged in at the stand-in of its platform, until the body ends."""
    master, slave = pty.openpty()
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 40, 120, 0, 0))
    home.mkdir(exist_ok=True)
    with platform() as address:
        logged_in = {
            "HOME": str(home),
            "TERM": "xterm-256color",
            "DREADNODE_SERVER": address,
            "DREADNODE_API_KEY": "dn_none",
            "DREADNODE_ORGANIZATION": "org",
            "DREADNODE_WORKSPACE": "ws",
        }
        process = await asyncio.create_subprocess_exec(
            *command(url, *options), env={**environ, **logged_in}, stdin=slave, stdout=slave, stderr=slave,
            start_new_session=True,
        )  # fmt: skip
        os.close(slave)
        reading = threading.Thread(target=_drain, args=(master,), daemon=True)
        reading.start()
        try:
            yield
        finally:
            if process.returncode is None:
                process.kill()
            await process.wait()
            await asyncio.to_thread(reading.join)
            os.close(master)


def _drain(master: int) -> None:
    """Read what the terminal shows, or it would stop at a full buffer."""
    try:
        while os.read(master, 65536):
            pass
    except OSError:
        return  # the other end is closed
