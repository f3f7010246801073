"""Runs the code blocks of a page in order, as a reader would: cells in one kernel, commands and files in one directory.

Commands have a home of their own, so that pages that run side by side do not see each other's runtimes, and the
variables that blocks before them exported.
"""

from __future__ import annotations

import itertools
import json
import os
import re
import shlex
import signal
import socket
import subprocess
import sys
import threading
import tomllib
from contextlib import ExitStack, suppress
from pathlib import Path
from types import TracebackType

import yaml

from tests.kernel.session import KernelSession

from .page import Block

LIMIT = 120.0
"""Seconds for the commands of one block."""
LAST_OUTPUT = 10.0
"""Seconds for the output of commands whose processes are ended: only one that left their group holds it open."""

_ESCAPES = re.compile(r"\x1b\[[0-9;]*m")
_TIMES = re.compile(r"\d+(\.\d+)? (ms|s)\b")
_TIMES_OF_DAY = re.compile(r"(\d{4}-\d\d-\d\d )?\b\d\d:\d\d:\d\d\b")
_LEGAL = {"json": json.loads, "yaml": yaml.safe_load, "toml": tomllib.loads}
_NO_CODE = {"", "text", "mermaid", "diff", "http", "md", "markdown", "console", "ini"}
"""What is looked at and not run; text after a block that ran is compared."""


class PageError(AssertionError):
    """A block did not do what its page says."""


def plain(text: str) -> list[str]:
    """Return the lines of an answer as they are compared: no colours, bars or spaces, no times of their own."""
    lines = _TIMES.sub("0 ms", _TIMES_OF_DAY.sub("00:00:00", _ESCAPES.sub("", text))).splitlines()
    return [re.sub(r"[\s\u2580-\u259f]+", " ", line).strip() for line in lines if line.strip()]


def matches(said: str, expected: str) -> bool:
    """Return whether an answer has the lines that a page shows; `...` in them stands for anything."""
    parts = re.escape("\n".join(plain(expected)))
    parts = re.sub(r"(\\ )?\\\.\\\.\\\.", ".*?", parts)
    return re.search(rf"(^|\n){parts}($|\n)", "\n".join(plain(said)), re.DOTALL) is not None


def _end_group(process: subprocess.Popen[str]) -> None:
    """Kill what a command started, whether or not the command itself has ended."""
    with suppress(ProcessLookupError):  # all of it has ended
        os.killpg(process.pid, signal.SIGKILL)


class Background:
    """A command that runs until the page ends; what it prints is read as it comes."""

    def __init__(self, block: Block, directory: Path, ports: Ports) -> None:
        command = re.sub(r"\\\n\s*", " ", block.code.strip())
        if "\n" in command:
            raise PageError(
                f"{block.place}: one in the background is one command; give the others a block before"
            )
        self._process = subprocess.Popen(
            ["bash", "-c", as_typed(f"trap - EXIT\nexec {ports.in_text(command)}", directory)],
            cwd=directory,
            env=environment(directory, ports),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        self.said = ""
        self._place = block.place
        self._until = block.until or ""
        self._is_ready = threading.Event()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        if not self._is_ready.wait(LIMIT) or self._until not in self.said:
            self.close()
            raise PageError(f"{block.place}: {self._until!r} did not appear in:\n{self.said}")

    def _read(self) -> None:
        for line in self._process.stdout or ():
            self.said += line
            if self._until in self.said:
                self._is_ready.set()
        self._is_ready.set()

    def close(self) -> None:
        """End it as Ctrl-C does, and its children with it.

        Raises:
            PageError: a process that it started left its group, and goes on.
        """
        if self._process.poll() is None:
            os.killpg(self._process.pid, signal.SIGINT)
        with suppress(subprocess.TimeoutExpired):  # killed below, with its children
            self._process.wait(LIMIT)
        _end_group(self._process)
        self._process.wait()
        self._reader.join(LAST_OUTPUT)
        if self._reader.is_alive():
            raise PageError(f"{self._place}: a process that it started goes on after the page:\n{self.said}")
        if self._process.stdout is not None:
            self._process.stdout.close()


_NAMED = re.compile(r"\b(8787|8788|8789|4222|8222)\b")
"""Ports that pages name, in place of which free ones are used: pages run side by side."""

_FREE = range(20000, 32768)
"""Below the ports that a system gives out by itself: each kernel takes five of those, at any time."""

_places = itertools.count(os.getpid() * 499)
"""Where the search goes on: processes of pytest begin apart, and none takes a port twice before the range ends."""

_WRAPPER = """#!/bin/sh
[ "$1" != serve ] || case " $* " in *" --port "*) ;; *) set -- "$@" --port {port};; esac
exec {program} "$@"
"""
"""`dnworker`, whose default port is a free one."""


class Ports:
    """The free ports of one page, in place of those that it names."""

    def __init__(self) -> None:
        self._taken: dict[str, int] = {}

    def __getitem__(self, named: str) -> int:
        if named not in self._taken:
            self._taken[named] = _free_port()
        return self._taken[named]

    def in_text(self, text: str) -> str:
        """Return text with them."""
        return _NAMED.sub(lambda found: str(self[found[1]]), text)


def _free_port() -> int:
    for place in itertools.islice(_places, len(_FREE)):
        with socket.socket() as one, suppress(OSError):  # another process listens there
            one.bind(("127.0.0.1", _FREE[place % len(_FREE)]))
            return _FREE[place % len(_FREE)]
    raise RuntimeError(f"no port from {_FREE[0]} to {_FREE[-1]} is free")


def environment(directory: Path, ports: Ports) -> dict[str, str]:
    """Return the environment of commands: `dnworker` and `python` are the tests', `PORT` is free, the home the page's."""
    home = directory.with_name(f"{directory.name}-home")
    programs = home / "bin"
    programs.mkdir(parents=True, exist_ok=True)
    wrapper = programs / "dnworker"
    program = shlex.quote(str(Path(sys.executable).parent / "dnworker"))
    script = _WRAPPER.format(port=ports["8787"], program=program)
    if not wrapper.exists() or wrapper.read_text(encoding="utf-8") != script:
        wrapper.write_text(script, encoding="utf-8")
        wrapper.chmod(0o755)
    return {
        **os.environ,
        "HOME": str(home),
        "PORT": str(ports["8787"]),
        "PATH": os.pathsep.join([str(programs), str(Path(sys.executable).parent), os.environ["PATH"]]),
        "NO_COLOR": "1",
    }


def as_typed(code: str, directory: Path) -> str:
    """Return commands that have the variables which earlier blocks exported, as in one terminal, and hand theirs on."""
    variables = shlex.quote(str(directory.with_name(f"{directory.name}-home") / ".page-variables"))
    return (
        f"[ ! -f {variables} ] || . {variables}\ntrap {shlex.quote(f'export -p >{variables}')} EXIT\n{code}"
    )


def _rest_of(process: subprocess.Popen[str]) -> str:
    """Return all that commands printed whose processes are ended."""
    try:
        return process.communicate(timeout=LAST_OUTPUT)[0]
    except subprocess.TimeoutExpired as exc:
        return bytes(exc.output or b"").decode(errors="replace")


class PageRun:
    """Runs blocks; on the way out everything that they started ends."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._kernel: KernelSession | None = None
        self._ports = Ports()
        self._to_end = ExitStack()
        self._said: str | None = None
        self.cells = 0
        """How many ran."""

    def __enter__(self) -> PageRun:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, at: TracebackType | None
    ) -> None:
        self._to_end.close()

    @property
    def answer(self) -> str | None:
        """What the block that ran last has answered; None where none did."""
        return self._said

    def run(self, block: Block) -> None:
        """Run one block.

        Raises:
            PageError: it failed, did not fail though its page says so, or answered something else.
        """
        if block.why_not_run is not None:
            self._said = None
        elif block.title is not None:
            self._said = None
            self._write(block)
        elif block.language == "python":
            self._said = self._run_cell(block)
        elif block.language in ("sh", "bash"):
            self._said = self._run_commands(block)
        elif block.language in _LEGAL:
            self._said = None
            self._read(block)
        elif block.language == "text" and self._said is not None:
            self._compare(block)
        elif block.language not in _NO_CODE:
            raise PageError(
                f"{block.place}: nothing runs {block.language!r}; give it a title, or say why it is not run"
            )

    def _write(self, block: Block) -> None:
        file = self._directory / (block.title or "")
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(self._ports.in_text(block.code), encoding="utf-8")
        file.chmod(0o755)

    def _read(self, block: Block) -> None:
        try:
            _LEGAL[block.language](block.code)
        except ValueError as exc:
            raise PageError(f"{block.place}: {exc}") from exc

    def _run_cell(self, block: Block) -> str:
        if self._kernel is None:
            self._kernel = KernelSession()
            self._to_end.callback(self._kernel.close)
            # Silently: a cell that changes the directory would be a part of the notebook, and in its exports.
            move = f"__import__('os').chdir({str(self._directory)!r})"
            self._kernel.client.execute(move, silent=True, store_history=False, reply=True, timeout=LIMIT)
            self._kernel.run("%load_ext dnworker")
        reply = self._kernel.run(self._ports.in_text(block.code), answers=block.answers)
        self.cells += 1
        if (reply.status != "ok") is not block.fails:
            raise PageError(f"{block.place}: the cell ended with {reply.status}:\n{reply.text}")
        return reply.text

    def _run_commands(self, block: Block) -> str | None:
        if block.until is not None:
            background = Background(block, self._directory, self._ports)
            self._to_end.callback(background.close)
            return background.said
        code, said = self._wait_for(block)
        if (code != 0) is not block.fails:
            raise PageError(f"{block.place}: the commands ended with {code}:\n{said}")
        return said

    def _wait_for(self, block: Block) -> tuple[int, str]:
        """Run commands; returns their exit code and output. None of what they started outlives the limit."""
        commands = as_typed(self._ports.in_text(block.code), self._directory)
        with subprocess.Popen(
            ["bash", "-e", "-o", "pipefail", "-c", commands],
            cwd=self._directory,
            env=environment(self._directory, self._ports),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        ) as process:
            try:
                said, _ = process.communicate(timeout=LIMIT)
            except subprocess.TimeoutExpired as exc:
                _end_group(process)
                said = _rest_of(process)
                raise PageError(f"{block.place}: the commands take longer than {LIMIT:g} s:\n{said}") from exc
            except BaseException:  # Ctrl-C, or the limit of the test
                _end_group(process)
                raise
        return process.returncode, said

    def _compare(self, block: Block) -> None:
        said = self._said or ""
        if not (matches(said, self._ports.in_text(block.code)) or matches(said, block.code)):
            raise PageError(
                f"{block.place}: the page says\n{block.code}\nand the block before answers\n{self._said}"
            )
