"""`Served`: a real `dnworker serve` of its own, with a home of its own, and what it costs."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import sys
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

import httpx

MANIFEST = "schema: 1\nname: {name}\nversion: 0.1.0\ndescription: an attack\nworkers:\n{workers}\n"


def make_capability(root: Path, workers: str, files: Mapping[str, str], *, name: str = "demo") -> Path:
    """Write a capability with these `workers:` lines (YAML, without indentation) and files; returns its root."""
    root.mkdir(parents=True, exist_ok=True)
    lines = "\n".join(f"  {line}" for line in workers.strip().splitlines())
    (root / "capability.yaml").write_text(MANIFEST.format(name=name, workers=lines))
    for path, text in files.items():
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_text(text)
    return root


class Served:
    """One `dnworker serve --json --port 0`; use `serving`.

    Attributes: `url`, `token`, `home`, `process`, `out` and `err` (lines read so far), `client` (httpx, with the
    token).
    """

    def __init__(self, home: Path, process: asyncio.subprocess.Process) -> None:
        self.home = home
        self.process = process
        self.url = ""
        self.token = ""
        self.out: list[str] = []
        self.err: list[str] = []
        self.client: httpx.AsyncClient
        self.readers: list[asyncio.Task[None]] = []
        self._new_line = asyncio.Condition()

    @property
    def pid(self) -> int:
        """The process of the runtime."""
        return self.process.pid

    def rss_mib(self) -> float:
        """Return the resident memory of the runtime, in MiB."""
        return self._status("VmRSS") / 1024

    def peak_mib(self) -> float:
        """Return the most resident memory that the runtime ever had, in MiB."""
        return self._status("VmHWM") / 1024

    def cpu_seconds(self) -> float:
        """Return the seconds of processor time that the runtime has used."""
        fields = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def open_files(self) -> int:
        """Return how many file descriptors the runtime has open."""
        return len(list(Path(f"/proc/{self.pid}/fd").iterdir()))

    async def get(self, path: str, **query: Any) -> Any:
        """GET a path of the API and return its JSON; raises for a refusal."""
        answer = await self.client.get(path, params=query)
        answer.raise_for_status()
        return answer.json()

    async def post(self, path: str, body: object = None) -> Any:
        """POST to a path of the API and return its JSON; raises for a refusal."""
        answer = await self.client.post(path, json=body)
        answer.raise_for_status()
        return answer.json()

    async def publish(self, kind: str, payload: Mapping[str, Any] | None = None) -> int:
        """Publish an event and return its seq."""
        return int((await self.post("/api/events", {"kind": kind, "payload": dict(payload or {})}))["seq"])

    async def detail(self, worker: str) -> Any:
        """Return the detail of a worker, by `capability:worker`."""
        return await self.get(f"/api/workers/{worker.replace(':', '/')}")

    async def ended(self, worker: str, runs: int, *, within: float = 30) -> None:
        """Return when so many runs of a worker's handlers have ended."""
        async with asyncio.timeout(within):
            while True:
                rows = (await self.get("/api/history/workers"))["workers"]
                if any(row["worker"] == worker and row["handled"] >= runs for row in rows):
                    return
                await asyncio.sleep(0.05)

    async def answers_within(self, seconds: float) -> None:
        """Return when the API has answered; raises AssertionError after so many seconds."""
        try:
            async with asyncio.timeout(seconds):
                await self.get("/api/runtime")
        except TimeoutError:
            raise AssertionError(f"the API does not answer within {seconds:g} s") from None

    async def line(self, text: str, *, within: float = 30) -> str:
        """Return the first line of standard error that holds `text`, as soon as there is one."""
        try:
            async with asyncio.timeout(within), self._new_line:
                while not (found := [line for line in self.err if text in line]):
                    await self._new_line.wait()
                return found[0]
        except TimeoutError:
            said = "\n".join(self.err[-20:])
            raise AssertionError(
                f"{text!r} is not on standard error within {within:g} s; it says:\n{said}"
            ) from None

    def read_error(self) -> None:
        """Begin to read standard error."""
        assert self.process.stderr is not None
        self.process.stderr._transport.resume_reading()  # type: ignore[attr-defined]  # harmless if it reads
        self.readers.append(asyncio.create_task(self._keep(self.process.stderr, self.err)))

    async def stop(self, number: int = signal.SIGTERM, *, within: float = 15) -> int:
        """Send a signal, and return the exit code; raises AssertionError if it does not end in time."""
        self.process.send_signal(number)
        try:
            async with asyncio.timeout(within):
                return await self.process.wait()
        except TimeoutError:
            raise AssertionError(f"serve does not end within {within:g} s of signal {number}") from None

    def _status(self, key: str) -> int:
        for line in Path(f"/proc/{self.pid}/status").read_text().splitlines():
            if line.startswith(f"{key}:"):
                return int(line.split()[1])
        raise AssertionError(f"/proc/{self.pid}/status has no {key}")

    async def _keep(self, stream: asyncio.StreamReader, lines: list[str]) -> None:
        with contextlib.suppress(
            ValueError
        ):  # a line longer than the limit: the attack looks at other things
            async for line in stream:
                async with self._new_line:
                    lines.append(line.decode(errors="replace").rstrip("\n"))
                    self._new_line.notify_all()


@contextlib.asynccontextmanager
async def serving(
    directory: Path,
    *arguments: str | Path,
    environ: Mapping[str, str] | None = None,
    limits: str = "",
    reads_output: bool = True,
    reads_error: bool = True,
    within: float = 60,
) -> AsyncIterator[Served]:
    """Start `dnworker serve` with these arguments, and kill it in the end.

    Args:
        directory: holds its home and token file; made if need be.
        arguments: of `serve`, such as the path of a capability.
        environ: more variables.
        limits: a shell command that comes before, such as `ulimit -n 64`.
        reads_output: whether standard output is read after the first line; else it stays in the pipe.
        reads_error: whether standard error is read; else it stays in the pipe until `read_error`.
        within: seconds in which it must be ready.
    """
    home = directory / "home"
    home.mkdir(parents=True, exist_ok=True)
    token_file = directory / "token"
    command = [
        sys.executable,
        "-m",
        "dnworker",
        "serve",
        "--json",
        "--port",
        "0",
        "--token-file",
        str(token_file),
    ]
    if limits:
        command = ["bash", "-c", f'{limits}; exec "$@"', "bash", *command]
    process = await asyncio.create_subprocess_exec(
        *command,
        *map(str, arguments),
        env={**os.environ, "HOME": str(home), **(environ or {})},
        cwd=directory,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        limit=4_000_000,
        start_new_session=True,
    )
    served = Served(home, process)
    assert process.stdout is not None
    assert process.stderr is not None
    readers = served.readers
    if reads_error:
        served.read_error()
    else:
        process.stderr._transport.pause_reading()  # type: ignore[attr-defined]  # else the transport reads on
    try:
        async with asyncio.timeout(within):
            first = await process.stdout.readline()
        assert first, "serve ended before it was ready:\n" + "\n".join(served.err)
        served.url = json.loads(first).get("url", "")
        assert served.url, f"serve ended before it was ready: {first.decode().rstrip()}"
        served.token = token_file.read_text().strip()
        if reads_output:
            readers.append(asyncio.create_task(served._keep(process.stdout, served.out)))
        headers = {"Authorization": f"Bearer {served.token}"}
        async with httpx.AsyncClient(
            base_url=served.url, headers=headers, timeout=30, trust_env=False
        ) as served.client:
            yield served
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        process.stderr._transport.resume_reading()  # type: ignore[attr-defined]  # else it never closes
        await process.wait()
        for reader in readers:
            reader.cancel()
        await asyncio.gather(*readers, return_exceptions=True)
