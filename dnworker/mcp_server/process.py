"""`McpProcess`: the process that speaks MCP for a runtime; `%runtime mcp` and `serve --mcp` start it.

It is a process of its own because importing the library of MCP takes seconds. It gets the runtime's address
and the file of a token, ends when its standard input ends, and, where it does not, by the guard of workers.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import signal
import subprocess
import sys
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from typing import NamedTuple
from urllib.parse import urlsplit

from dnworker.core.errors import UsageError
from dnworker.core.files import write_atomically
from dnworker.core.text import clip
from dnworker.engine.engine import Engine
from dnworker.mcp_server.directories import OwnDirectory

log = logging.getLogger("dnworker.agents")

COMMAND = ("-m", "dnworker.mcp_server", "--http")
"""What the interpreter runs; its first line of output is `{"url": ..., "token_file": ...}`."""

STARTS = 5
STARTS_SECONDS = 300.0
"""One that ends by itself is started again so often within so many seconds."""

PAUSES = (0.5, 1.0, 2.0, 4.0, 8.0)
"""Seconds before each of these starts."""

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


class WayOut(NamedTuple):
    """What a user can do, as it stands in messages."""

    again: str = "start it again: %runtime mcp"
    install: str = "%pip install 'dnworker[mcp]'"


class McpProcess:
    """The process, while there is one.

    Args:
        engine: the runtime.
        url: returns its address.
        command: what the interpreter runs.
        way_out: what to say where it has ended by itself, or could not be started.
        keeps_on: whether one that ends by itself is started again, with the same address and token.
    """

    def __init__(
        self,
        engine: Engine,
        url: Callable[[], str],
        command: tuple[str, ...] = (*COMMAND, "--allow-write"),
        *,
        way_out: WayOut | None = None,
        keeps_on: bool = False,
    ) -> None:
        self._engine = engine
        self._url = url
        self._command = command
        self._way_out = way_out or WayOut()
        self._keeps_on = keeps_on
        self._starts = deque[float](maxlen=STARTS)
        self._process: asyncio.subprocess.Process | None = None
        self._directory: OwnDirectory | None = None
        self._token: str | None = None
        self._listening: Listening | None = None
        self._last = deque[str](maxlen=LINES_KEPT)
        self._reading: list[asyncio.Task[None]] = []
        self._again: asyncio.Task[None] | None = None
        self._kept: OwnDirectory | None = None
        self._address: tuple[str, ...] = ()

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
        return await self._start()

    async def _start(self) -> Listening:
        try:
            await self._spawn()
            async with asyncio.timeout(START_SECONDS):
                return await self._until_listening()
        except TimeoutError:
            await self._end()
            raise UsageError(
                f"the process that speaks MCP did not listen within {START_SECONDS:g} s{self._said()}",
                code="DN988",
            ) from None
        except OSError as exc:
            await self._end()
            raise UsageError(f"no process that speaks MCP could be started: {exc}", code="DN988") from exc
        except BaseException:
            self._kill()
            raise

    async def _spawn(self) -> None:
        self._directory = OwnDirectory()
        self._token = self._engine.tokens.mint_for_operator()
        file = self._directory.path / "runtime-token"
        write_atomically(file, f"{self._token}\n", mode=0o600)
        names = {"DNWORKER_URL": self._url(), "DNWORKER_TOKEN_FILE": str(file)}
        self._process = await asyncio.create_subprocess_exec(
            sys.executable,
            *self._command,
            *self._agents_token(),
            *self._address,
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

    def _agents_token(self) -> tuple[str, ...]:
        """Return what names a file for the token of agents, which outlives one process."""
        if not self._keeps_on or "--agents-token-file" in self._command:
            return ()
        if self._kept is None:
            self._kept = OwnDirectory()
        return ("--agents-token-file", str(self._kept.path / "token"))

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
            await self._end()
            raise UsageError(
                f"the process that speaks MCP ended before it listened{self._said() or f': {text}'}; "
                f"its library comes with: {self._way_out.install}",
                code="DN988",
            ) from None
        self._listening = listening
        if self._keeps_on and (port := urlsplit(listening.url).port):
            self._address = ("--port", str(port))
        loop = asyncio.get_running_loop()
        self._reading.append(loop.create_task(self._read(process.stdout), name="dnworker mcp stdout"))
        self._reading.append(loop.create_task(self._wait(process), name="dnworker mcp end"))
        log.info("agents reach this runtime at %s", listening.url)
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
        """Say so when it ends by itself, and start it again where that is wanted."""
        status = await process.wait()
        if process is not self._process or self._listening is None:
            return
        said = f"the process that speaks MCP has ended ({status}){self._said()}"
        self._forget()
        if not self._keeps_on:
            log.warning("%s; %s", said, self._way_out.again)
        else:
            log.warning("%s; it is started again", said)
            self._again = asyncio.get_running_loop().create_task(self._revive(), name="dnworker mcp again")

    async def _revive(self) -> None:
        """Start it again, a bounded number of times within a while."""
        while True:
            now = time.monotonic()
            recent = sum(now - one < STARTS_SECONDS for one in self._starts)
            if recent == STARTS:
                log.error(
                    "the process that speaks MCP has ended %d times within %g s, and stays away; %s",
                    STARTS,
                    STARTS_SECONDS,
                    self._way_out.again,
                )
                return
            self._starts.append(now)
            await asyncio.sleep(PAUSES[recent])
            try:
                await self._start()
                return
            except UsageError as exc:
                log.warning("%s", exc)

    def _said(self) -> str:
        last = next((line for line in reversed(self._last) if line.strip()), "")
        return f": {clip(last.strip(), 300)}" if last else ""

    async def stop(self) -> bool:
        """End it; returns whether it ran."""
        self._give_up()
        return await self._end()

    def close(self) -> None:
        """End it at once; what it was given is worth nothing any more."""
        self._give_up()
        self._kill()

    def _give_up(self) -> None:
        """Start it no more."""
        again, self._again = self._again, None
        if again is not None:
            again.cancel()
        kept, self._kept = self._kept, None
        if kept is not None:
            kept.remove()

    async def _end(self) -> bool:
        process, self._listening = self._process, None
        did_run = self.pid is not None
        if process is not None and process.returncode is None:
            self._signal(signal.SIGTERM)
            with suppress(TimeoutError):
                async with asyncio.timeout(END_SECONDS):
                    await process.wait()
        self._kill()
        return did_run

    def _kill(self) -> None:
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
            self._directory.remove()
            self._directory = None
