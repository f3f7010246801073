"""`McpProcess`: the process that speaks MCP for this notebook; `%runtime mcp` starts it.

It is a process of its own because importing the library of MCP takes seconds. It gets the runtime's address
and the file of a token, ends when its standard input ends, and, where it does not, by the guard of workers.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from dnworker.core.errors import UsageError
from dnworker.core.files import write_atomically
from dnworker.core.text import clip
from dnworker.engine.engine import Engine

log = logging.getLogger("dnworker.agents")

COMMAND = ("-m", "dnworker.mcp_server", "--http")
"""What the interpreter runs; its first line of output is `{"url": ..., "token_file": ...}`."""

START_SECONDS = 30.0
END_SECONDS = 3.0
LONGEST_LINE = 16_384
LINES_KEPT = 20


class Listening:
    """Where a process listens, and which runtime it speaks for."""

    def __init__(self, url: str, token_file: str, runtime_url: str) -> None:
        self.url = url
        self.token_file = token_file
        self.runtime_url = runtime_url


class McpProcess:
    """The process, while there is one.

    Args:
        engine: the notebook's runtime.
        url: returns its address.
        command: what the interpreter runs.
    """

    def __init__(self, engine: Engine, url: Callable[[], str], command: tuple[str, ...] = COMMAND) -> None:
        self._engine = engine
        self._url = url
        self._command = command
        self._process: asyncio.subprocess.Process | None = None
        self._directory: Path | None = None
        self._token: str | None = None
        self._listening: Listening | None = None
        self._last = deque[str](maxlen=LINES_KEPT)
        self._reading: list[asyncio.Task[None]] = []

    @property
    def pid(self) -> int | None:
        """The process; None while there is none."""
        return self._process.pid if self._process is not None and self._process.returncode is None else None

    @property
    def listening(self) -> Listening | None:
        """Where it listens; None while it does not."""
        return self._listening if self.pid is not None else None

    async def start(self) -> Listening:
        """Start it, unless it runs, and return where it listens.

        Raises:
            UsageError: it does not start, as where the extra is missing; says why.
        """
        listening = self.listening
        if listening is not None and listening.runtime_url == self._url():
            return listening
        await self.stop()
        try:
            await self._spawn()
            async with asyncio.timeout(START_SECONDS):
                return await self._until_listening()
        except TimeoutError:
            await self.stop()
            raise UsageError(
                f"the process that speaks MCP did not listen within {START_SECONDS:g} s{self._said()}",
                code="DN988",
            ) from None
        except OSError as exc:
            await self.stop()
            raise UsageError(f"no process that speaks MCP could be started: {exc}", code="DN988") from exc
        except BaseException:
            self.close()
            raise

    async def _spawn(self) -> None:
        self._directory = Path(tempfile.mkdtemp(prefix="dnworker-mcp-"))  # which only its user can enter
        self._token = self._engine.tokens.mint("mcp")
        file = self._directory / "runtime-token"
        write_atomically(file, f"{self._token}\n", mode=0o600)
        names = {"DNWORKER_URL": self._url(), "DNWORKER_TOKEN_FILE": str(file)}
        self._process = await asyncio.create_subprocess_exec(
            sys.executable,
            *self._command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            limit=LONGEST_LINE,
            env={**os.environ, **names},
            start_new_session=True,  # Ctrl-C of the kernel is not meant for it
        )
        self._engine.guard.watch(self._process.pid)
        self._last.clear()
        loop = asyncio.get_running_loop()
        assert self._process.stderr is not None
        self._reading = [loop.create_task(self._read(self._process.stderr), name="dnworker mcp stderr")]

    async def _until_listening(self) -> Listening:
        """Read the line that says where it listens.

        Raises:
            UsageError: it has ended before, or has said something else.
        """
        process = self._process
        assert process is not None
        assert process.stdout is not None
        try:
            line = await process.stdout.readline()
        except ValueError:
            line = b"a line that is too long"
        try:
            said = json.loads(line)
            listening = Listening(str(said["url"]), str(said["token_file"]), self._url())
        except (ValueError, KeyError, TypeError):
            await asyncio.wait(self._reading, timeout=1.0)
            text = clip(line.decode("utf-8", "replace").strip(), 200)
            await self.stop()
            raise UsageError(
                f"the process that speaks MCP ended before it listened{self._said() or f': {text}'}; "
                "its library comes with: %pip install 'dnworker[mcp]'",
                code="DN988",
            ) from None
        self._listening = listening
        loop = asyncio.get_running_loop()
        self._reading.append(loop.create_task(self._read(process.stdout), name="dnworker mcp stdout"))
        self._reading.append(loop.create_task(self._wait(process), name="dnworker mcp end"))
        log.info("agents reach this notebook at %s", listening.url)
        return listening

    async def _read(self, stream: asyncio.StreamReader) -> None:
        """Read what it prints, so that it never waits for a reader."""
        while True:
            try:
                line = await stream.readline()
            except ValueError:  # longer than the limit: what was read of it is dropped
                continue
            if not line:
                return
            text = clip(line.decode("utf-8", "replace").rstrip(), 500)
            if self._token is not None:
                text = text.replace(self._token, "***")
            self._last.append(text)
            log.debug("mcp: %s", text)

    async def _wait(self, process: asyncio.subprocess.Process) -> None:
        """Say so when it ends by itself."""
        status = await process.wait()
        if process is self._process and self._listening is not None:
            log.warning(
                "the process that speaks MCP has ended (%d)%s; start it again: %%runtime mcp",
                status,
                self._said(),
            )
            self._forget()

    def _said(self) -> str:
        last = next((line for line in reversed(self._last) if line.strip()), "")
        return f": {clip(last.strip(), 300)}" if last else ""

    async def stop(self) -> bool:
        """End it; returns whether it ran."""
        process, self._listening = self._process, None
        did_run = self.pid is not None
        if process is not None and process.returncode is None:
            self._signal(signal.SIGTERM)
            with suppress(TimeoutError):
                async with asyncio.timeout(END_SECONDS):
                    await process.wait()
        self.close()
        return did_run

    def close(self) -> None:
        """End it at once; what it was given is worth nothing any more."""
        self._signal(signal.SIGKILL)
        self._forget()

    def _signal(self, number: int) -> None:
        if self._process is not None and self._process.returncode is None:
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(self._process.pid, number)

    def _forget(self) -> None:
        process, self._process, self._listening = self._process, None, None
        if process is not None:
            self._engine.guard.release(process.pid)
            if process.stdin is not None:
                process.stdin.close()
        if self._token is not None:
            self._engine.tokens.revoke(self._token)
            self._token = None
        if self._directory is not None:
            shutil.rmtree(self._directory, ignore_errors=True)
            self._directory = None
