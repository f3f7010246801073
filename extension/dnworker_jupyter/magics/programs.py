"""`%%worker NAME --command CMD`: a worker in any language, whose file is the cell's body."""

from __future__ import annotations

import shlex
from pathlib import PurePosixPath
from typing import TYPE_CHECKING

from dnworker.capability.manifest import WorkerDefinition
from dnworker.core.errors import UsageError
from dnworker.core.lifecycle import WorkerState
from dnworker.runtime import LIVE_CAPABILITY
from dnworker_jupyter.live.processes import BridgedWorker

if TYPE_CHECKING:
    from dnworker_jupyter.notebook import Notebook
    from dnworker_jupyter.syntax.options import WorkerLine


async def declare_program(book: Notebook, line: WorkerLine, body: str) -> str:
    """Write the body to a file and run the command with it; returns what to tell.

    The command's words come first and the file's path last, unless the command has `{file}` in the path's
    place. A body of comments alone is no file.

    Raises:
        UsageError: the line is wrong, or the name is that of a worker made of handlers.
    """
    assert line.command is not None
    if line.name in book.live:
        raise UsageError(
            f"worker {line.name!r} is made of handlers; %worker remove {line.name} first, or use another name"
        )
    book.transactions.check_gate(line.name, line.options.when)
    relative = program_file(line)
    try:
        words = shlex.split(line.command)
    except ValueError as exc:
        raise UsageError(f"--command {line.command!r}: {exc}") from None
    if not words:
        raise UsageError("--command is empty; name the program, as in: --command node")
    root = book.bridges.directory_of(line.name)
    if has_file(body):
        file = root / relative
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(body, encoding="utf-8")
        file.chmod(0o755)
        words = command_words(words, str(file))
    command, *rest = words
    definition = WorkerDefinition(
        line.name, command=command, args=tuple(rest), env=dict(line.options.env), when=line.options.when
    )
    runtime = book.runtime
    home = runtime.capability(LIVE_CAPABILITY)
    present = home.workers.get(line.name)
    number = present.generation + 1 if present is not None else 1
    worker = BridgedWorker(runtime, home, definition, root, number)
    await runtime.capabilities.adopt(worker)
    if worker.state is WorkerState.ERROR:
        raise UsageError(f"worker {line.name!r} is in state error: {worker.error}")
    cell = book.cells.running
    if cell is not None:
        book.transactions.programs[line.name] = cell
    return f"{line.name} is {worker.state} as a process ({words[0]}), generation {number}"


def program_file(line: WorkerLine) -> PurePosixPath:
    """Return the path of a program's file in its capability."""
    return PurePosixPath(line.options.file or f"workers/{line.name}")


def has_file(body: str) -> bool:
    """Tell whether a program has a file: comments alone are none, and `CMD` is all there is then."""
    return any(line.strip() and not line.lstrip().startswith("#") for line in body.splitlines())


def command_words(words: list[str], file: str) -> list[str]:
    """Return the words that start a program: its file stands for `{file}`, or comes last."""
    if any("{file}" in word for word in words):
        return [word.replace("{file}", file) for word in words]
    return [*words, file]
