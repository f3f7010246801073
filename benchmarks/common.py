"""What the benchmarks share: real servers, ours and the reference's, and a client that is no bottleneck."""

from __future__ import annotations

import asyncio
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from uv import find_uv_bin

PROJECT = Path(__file__).parents[1]
REFERENCE = PROJECT / ".build" / "reference" / "bin"
TOKEN = "benchmark-token"
RUNS = 5


def report(**figures: object) -> None:
    """Print one line of JSON."""
    print(json.dumps({key: round(v, 3) if isinstance(v, float) else v for key, v in figures.items()}))


def median(values: list[float]) -> float:
    """Return the median."""
    return statistics.median(values)


def reference_python() -> Path:
    """Return the interpreter of the reference's environment, installing it the first time."""
    sys.path.insert(0, str(PROJECT))
    from tests.interop.environment import reference_python as install

    return install()


def free_port() -> int:
    """Return a port that nobody listens on."""
    import socket

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def serve_ours(*capabilities: Path) -> Iterator[tuple[str, subprocess.Popen[bytes], float]]:
    """Run `dnworker serve`; gives its URL, its process, and the seconds from launch to ready."""
    port = free_port()
    command = [sys.executable, "-m", "dnworker", "serve", "--port", str(port), *map(str, capabilities)]
    with tempfile.TemporaryDirectory() as home:
        environ = {
            **os.environ,
            "HOME": home,
            "DREADNODE_RUNTIME_TOKEN": TOKEN,
            "DREADNODE_PROJECT_ROOT": home,
        }
        yield from _serve(command, environ, port, Path(home))


@contextmanager
def serve_reference(*capabilities: Path) -> Iterator[tuple[str, subprocess.Popen[bytes], float]]:
    """Run the real runtime; gives the same."""
    port = free_port()
    reference_python()
    cache = subprocess.run(
        [find_uv_bin(), "cache", "dir"], capture_output=True, text=True, check=True
    ).stdout.strip()
    with tempfile.TemporaryDirectory() as home:
        for root in capabilities:
            (Path(home) / "caps").mkdir(exist_ok=True)
            (Path(home) / "caps" / root.name).symlink_to(root)
        environ = {
            **os.environ,
            "HOME": home,
            "DREADNODE_RUNTIME_TOKEN": TOKEN,
            "DREADNODE_CAPABILITY_DIRS": str(Path(home) / "caps"),
            "UV_CACHE_DIR": cache,
            "PATH": os.pathsep.join([str(Path(find_uv_bin()).parent), os.environ["PATH"]]),
        }
        command = [str(REFERENCE / "dreadnode"), "serve", "--port", str(port), "--working-dir", home]
        yield from _serve(command, environ, port, Path(home))


def _serve(
    command: list[str], environ: dict[str, str], port: int, cwd: Path
) -> Iterator[tuple[str, subprocess.Popen[bytes], float]]:
    url = f"http://127.0.0.1:{port}"
    started = time.perf_counter()
    process = subprocess.Popen(
        command,
        env=environ,
        cwd=cwd,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        stdin=subprocess.DEVNULL,
    )
    try:
        while not is_ready(url):
            if process.poll() is not None or time.perf_counter() - started > 120:
                raise RuntimeError(f"{command[:3]} did not become ready")
            time.sleep(0.01)
        yield url, process, time.perf_counter() - started
    finally:
        process.terminate()
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


@contextmanager
def serve_program(code: str) -> Iterator[str]:
    """Run a server written for a comparison, which takes its port as its argument; gives its URL."""
    port = free_port()
    process = subprocess.Popen([sys.executable, "-c", code, str(port)], stderr=subprocess.DEVNULL)
    url = f"http://127.0.0.1:{port}"
    try:
        while not is_ready(url):
            time.sleep(0.02)
        yield url
    finally:
        process.terminate()
        process.wait()


def is_ready(url: str) -> bool:
    """Tell whether `/api/ready` answers 200."""
    try:
        with urllib.request.urlopen(f"{url}/api/ready", timeout=5) as answer:
            return bool(answer.status == 200)
    except (urllib.error.URLError, ConnectionError, TimeoutError):
        return False


def resident(process: subprocess.Popen[bytes]) -> float:
    """Return the MiB that a process and its children hold in memory."""
    import psutil

    tree = [psutil.Process(process.pid)]
    return float(tree[0].memory_info().rss) / 2**20


async def read_answer(reader: asyncio.StreamReader) -> None:
    """Read one answer of HTTP, which must be a 200."""
    head = await reader.readuntil(b"\r\n\r\n")
    assert b" 200 " in head.split(b"\r\n", 1)[0] + b" ", head
    await reader.readexactly(int(head.lower().split(b"content-length:", 1)[1].split(b"\r\n", 1)[0]))


def post_request(url: str, path: str, body: dict[str, Any]) -> tuple[str, int, bytes]:
    """Return the host, the port and the bytes of a request."""
    host, _, port = url.removeprefix("http://").partition(":")
    content = json.dumps(body).encode()
    head = (
        f"POST {path} HTTP/1.1\r\nHost: {host}:{port}\r\nAuthorization: Bearer {TOKEN}\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(content)}\r\n\r\n"
    )
    return host, int(port), head.encode() + content


async def post_rate(
    url: str, path: str, body: dict[str, Any], *, connections: int = 32, seconds: float = 2.0
) -> float:
    """Return answered POSTs a second over keep-alive connections, one request at a time on each."""
    host, port, request = post_request(url, path, body)
    answered = 0
    deadline = time.perf_counter() + seconds

    async def one() -> None:
        nonlocal answered
        reader, writer = await asyncio.open_connection(host, port)
        while time.perf_counter() < deadline:
            writer.write(request)
            await read_answer(reader)
            answered += 1
        writer.close()

    started = time.perf_counter()
    await asyncio.gather(*(one() for _ in range(connections)))
    return answered / (time.perf_counter() - started)


def in_turn(runs: int, *measures: Callable[[], float]) -> list[float]:
    """Measure all in turn, several times, so that a slow moment meets every one; return the medians."""
    taken = [[measure() for measure in measures] for _ in range(runs)]
    return [median([row[n] for row in taken]) for n in range(len(measures))]
