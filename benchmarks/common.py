"""What the benchmarks share: real servers, ours and the reference's, and a client that is no bottleneck."""

from __future__ import annotations

import asyncio
import http.client
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from goals import GOALS, Measured
from load import pin_server
from uv import find_uv_bin

PROJECT = Path(__file__).parents[1]
REFERENCE = PROJECT / ".build" / "reference" / "bin"
TOKEN = "benchmark-token"

QUICK = "--quick" in sys.argv
"""Whether a program only shows that it runs: few repetitions, small sizes, nothing of the reference."""

RUNS = 1 if QUICK else 7
"""Turns that a median is of."""

ATTEMPTS, START_LIMIT = 3, 120.0
"""How often a server is started, on another port each time, and seconds until it must be ready."""

Row = dict[str, Any]

T = TypeVar("T")


class Served(NamedTuple):
    """A server that runs."""

    url: str
    process: subprocess.Popen[bytes]
    seconds: float
    """From launch to ready."""


def sized(full: int) -> int:
    """Return a size, or a twentieth of it where the program only shows that it runs."""
    return max(1, full // 20) if QUICK else full


def report(*, rows: Sequence[Row] = (), **figures: object) -> None:
    """Print one line of JSON: the rows of docs/performance.md, and other figures."""
    rounded = {key: round(v, 3) if isinstance(v, float) else v for key, v in figures.items()}
    print(json.dumps(rounded | _lacks | {"rows": list(rows)}))


def row(key: str, ours: Sequence[float], bare: Sequence[float] | None = None) -> Row:
    """Return a row of docs/performance.md: medians of what both took in turns.

    Args:
        key: which one, of `GOALS`.
        ours, bare: what was measured, one value a turn; `bare` is None where nothing is compared.
    """
    goal, pairs = GOALS[key], list(zip(ours, bare, strict=True)) if bare else []
    measured: Measured = {
        "figure": median(ours),
        "bare": median(bare) if bare else None,
        "ratio": median([a / b for a, b in pairs]) if pairs else None,
        "over": median([a - b for a, b in pairs]) if pairs else None,
        "runs": len(ours),
    }
    return {
        "key": key,
        "path": goal.path,
        "unit": goal.unit,
        **measured,
        "goal": goal.text,
        "met": goal.is_met(measured),
    }


def median(values: Sequence[float]) -> float:
    """Return the median."""
    return statistics.median(values)


def reference_python() -> Path:
    """Return the interpreter of the reference's environment, installing it the first time."""
    sys.path.insert(0, str(PROJECT))
    from tests.interop.environment import reference_python as install

    return install()


_lacks: dict[str, str] = {}
"""What could not be compared with, and why; reports say it."""


def has_reference() -> bool:
    """Tell whether the reference can be compared with; where it cannot be installed, the report says so."""
    if QUICK:
        return False
    import pytest

    try:
        reference_python()
    except (OSError, subprocess.SubprocessError, pytest.skip.Exception) as exc:
        _lacks["reference"] = " ".join(f"not compared: {exc}".split())[:200]
        return False
    return True


def free_port() -> int:
    """Return a port that nobody listens on."""
    import socket

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def apart(**task: object) -> dict[str, float]:
    """Run `load.py` on its task; returns the `rate`, and how `busy` the load itself was."""
    command = [sys.executable, str(Path(__file__).with_name("load.py")), json.dumps(task)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    if done.returncode != 0:
        raise RuntimeError(f"the load ended with {done.returncode}: {done.stderr[-500:]}")
    measured: dict[str, float] = json.loads(done.stdout)
    return measured


@contextmanager
def serve_ours(*capabilities: Path, pinned: bool = False, options: Sequence[str] = ()) -> Iterator[Served]:
    """Run `dnworker serve` on asyncio's loop; with `pinned`, it keeps off the core of the load."""
    command = [sys.executable, "-m", "dnworker", "serve", "--loop", "asyncio", *options]
    command += [*map(str, capabilities), "--port"]
    with tempfile.TemporaryDirectory() as home:
        environ = {
            **os.environ,
            "HOME": home,
            "DREADNODE_RUNTIME_TOKEN": TOKEN,
            "DREADNODE_PROJECT_ROOT": home,
        }
        with _serving(command, environ=environ, cwd=home, pinned=pinned) as served:
            yield served


def uv_cache() -> str:
    """Return the directory of uv's cache, for programs that run in another home."""
    told = subprocess.run([find_uv_bin(), "cache", "dir"], capture_output=True, text=True, check=True)
    return told.stdout.strip()


@contextmanager
def serve_reference(*capabilities: Path, pinned: bool = False) -> Iterator[Served]:
    """Run the real runtime in the same way."""
    reference_python()
    with tempfile.TemporaryDirectory() as home:
        for root in capabilities:
            (Path(home) / "caps").mkdir(exist_ok=True)
            (Path(home) / "caps" / root.name).symlink_to(root)
        environ = {
            **os.environ,
            "HOME": home,
            "DREADNODE_RUNTIME_TOKEN": TOKEN,
            "DREADNODE_CAPABILITY_DIRS": str(Path(home) / "caps"),
            "UV_CACHE_DIR": uv_cache(),
            "PATH": os.pathsep.join([str(Path(find_uv_bin()).parent), os.environ["PATH"]]),
        }
        command = [str(REFERENCE / "dreadnode"), "serve", "--working-dir", home, "--port"]
        with _serving(command, environ=environ, cwd=home, pinned=pinned) as served:
            yield served


@contextmanager
def serve_program(code: str, *arguments: str, pinned: bool = False) -> Iterator[Served]:
    """Run a server written for a comparison, which takes its port as its last argument."""
    with _serving([sys.executable, "-c", code, *arguments], pinned=pinned) as served:
        yield served


@contextmanager
def _serving(
    command: Sequence[str],
    *,
    environ: Mapping[str, str] | None = None,
    cwd: str | None = None,
    pinned: bool = False,
) -> Iterator[Served]:
    """Start a server on a port, its last argument; on another one where somebody takes that meanwhile."""
    for _ in range(ATTEMPTS):
        port = free_port()
        started = time.perf_counter()
        process = subprocess.Popen(
            [*command, str(port)],
            env=environ,
            cwd=cwd,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            stdin=subprocess.DEVNULL,
        )
        try:
            if pinned:
                pin_server(process.pid)
            if _until_ready(f"http://127.0.0.1:{port}", process):
                yield Served(f"http://127.0.0.1:{port}", process, time.perf_counter() - started)
                return
        finally:
            _end(process)
    raise RuntimeError(f"no server became ready in {ATTEMPTS} attempts: {' '.join(command[:4])[:80]}")


def _until_ready(url: str, process: subprocess.Popen[bytes]) -> bool:
    """Wait until a server is ready; returns False where it ends before."""
    until = time.perf_counter() + START_LIMIT
    while not is_ready(url):
        if process.poll() is not None or time.perf_counter() > until:
            return False
        time.sleep(0.005)
    return process.poll() is None


def _end(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(20)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def is_ready(url: str) -> bool:
    """Tell whether `/api/ready` answers 200; what another program answers there is no answer."""
    try:
        with urllib.request.urlopen(f"{url}/api/ready", timeout=5) as answer:
            return bool(answer.status == 200)
    except (OSError, http.client.HTTPException):
        return False


def resident(process: subprocess.Popen[bytes]) -> float:
    """Return the MiB that a process holds in memory."""
    import psutil

    return float(psutil.Process(process.pid).memory_info().rss) / 2**20


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


def taken_in_turn(runs: int, *measures: Callable[[], T]) -> list[list[T]]:
    """Measure all in turn, several times, so that a slow moment meets every one; return each one's values."""
    taken = [[measure() for measure in measures] for _ in range(runs)]
    return [[turn[n] for turn in taken] for n in range(len(measures))]


def in_turn(runs: int, *measures: Callable[[], float]) -> list[float]:
    """Return the medians of what `taken_in_turn` measured."""
    return [median(values) for values in taken_in_turn(runs, *measures)]
