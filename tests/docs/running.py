"""Runs the code blocks of a page in order, as a reader would: cells in one kernel, commands and files in one directory."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import threading
import tomllib
from pathlib import Path
from types import TracebackType

import yaml

from tests.kernel.session import KernelSession

from .page import Block

LIMIT = 120.0
"""Seconds for the commands of one block."""

_ESCAPES = re.compile(r"\x1b\[[0-9;]*m")
_TIMES = re.compile(r"\d+(\.\d+)? (ms|s)\b")
_LEGAL = {"json": json.loads, "yaml": yaml.safe_load, "toml": tomllib.loads}
_NO_CODE = {"", "text", "mermaid", "diff", "http", "md", "markdown", "console", "ini"}
"""What is looked at and not run; text after a block that ran is compared."""


class PageError(AssertionError):
    """A block did not do what its page says."""


def plain(text: str) -> list[str]:
    """Return the lines of an answer as they are compared: no colours, no spaces at the ends, no times of their own."""
    lines = _TIMES.sub("0 ms", _ESCAPES.sub("", text)).splitlines()
    return [re.sub(r"\s+", " ", line).strip() for line in lines if line.strip()]


def matches(said: str, expected: str) -> bool:
    """Return whether an answer has the lines that a page shows; `...` in them stands for anything."""
    parts = re.escape("\n".join(plain(expected))).replace(r"\.\.\.", ".*?")
    return re.search(rf"(^|\n){parts}($|\n)", "\n".join(plain(said)), re.DOTALL) is not None


class Background:
    """A command that runs until the page ends; what it prints is read as it comes."""

    def __init__(self, block: Block, directory: Path) -> None:
        self._process = subprocess.Popen(
            ["bash", "-c", f"exec {block.code.strip()}"],
            cwd=directory,
            env=environment(),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        self.said = ""
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
        """End it as Ctrl-C does, and its children with it."""
        if self._process.poll() is None:
            os.killpg(self._process.pid, signal.SIGINT)
        try:
            self._process.wait(LIMIT)
        except subprocess.TimeoutExpired:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
        self._reader.join()
        if self._process.stdout is not None:
            self._process.stdout.close()


def environment() -> dict[str, str]:
    """Return the environment of commands: `dnworker` and `python` are those of the tests."""
    return {
        **os.environ,
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "NO_COLOR": "1",
    }


class PageRun:
    """Runs blocks; on the way out everything that they started ends."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._kernel: KernelSession | None = None
        self._background: list[Background] = []
        self._said: str | None = None

    def __enter__(self) -> PageRun:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, at: TracebackType | None
    ) -> None:
        if self._kernel is not None:
            self._kernel.close()
        for one in reversed(self._background):
            one.close()

    @property
    def said(self) -> str:
        """What the last cell or command answered."""
        return self._said or ""

    def run(self, block: Block) -> None:
        """Run one block.

        Raises:
            PageError: it failed, did not fail though its page says so, or answered something else.
        """
        if block.why_not_run is not None:
            self._said = None
        elif block.title is not None:
            self._write(block)
        elif block.language == "python":
            self._said = self._run_cell(block)
        elif block.language in ("sh", "bash"):
            self._said = self._run_commands(block)
        elif block.language in _LEGAL:
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
        file.write_text(block.code, encoding="utf-8")
        file.chmod(0o755)

    def _read(self, block: Block) -> None:
        try:
            _LEGAL[block.language](block.code)
        except ValueError as exc:
            raise PageError(f"{block.place}: {exc}") from exc

    def _run_cell(self, block: Block) -> str:
        if self._kernel is None:
            self._kernel = KernelSession()
            self._kernel.run(f"%cd -q {self._directory}\n%load_ext dnworker")
        reply = self._kernel.run(block.code)
        if (reply.status != "ok") is not block.fails:
            raise PageError(f"{block.place}: the cell ended with {reply.status}:\n{reply.text}")
        return reply.text

    def _run_commands(self, block: Block) -> str | None:
        if block.until is not None:
            self._background.append(Background(block, self._directory))
            return self._background[-1].said
        done = subprocess.run(
            ["bash", "-e", "-o", "pipefail", "-c", block.code],
            cwd=self._directory,
            env=environment(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=LIMIT,
            check=False,
        )
        if (done.returncode != 0) is not block.fails:
            raise PageError(f"{block.place}: the commands ended with {done.returncode}:\n{done.stdout}")
        return done.stdout

    def _compare(self, block: Block) -> None:
        if not matches(self._said or "", block.code):
            raise PageError(
                f"{block.place}: the page says\n{block.code}\nand the block before answers\n{self._said}"
            )
