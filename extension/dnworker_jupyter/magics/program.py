"""`%%worker NAME --command CMD`: a worker in any language, whose file is the cell's body."""

from __future__ import annotations

import shlex

from dnworker.core.errors import UsageError
from dnworker.core.lifecycle import WorkerState
from dnworker.core.retry_policies import parse_retry
from dnworker.workers.debugging import ProcessDebug, with_debugpy
from dnworker_jupyter.display.tables import Note
from dnworker_jupyter.live.capability_head import beside_loaded
from dnworker_jupyter.magics.context import MagicContext
from dnworker_jupyter.syntax.options import WorkerLine


async def declare_program(context: MagicContext, line: WorkerLine, command: str, body: str) -> Note:
    """Write the body to a file and run the command with it.

    The command's words come first and the file's path last, unless the command has `{file}` in the path's
    place. A body of comments alone is no file.

    Raises:
        UsageError: the line is wrong, or the name is that of a worker made of handlers.
    """
    from dnworker_jupyter.export.slicing.programs import command_words, has_file, program_file

    if line.name in context.live:
        raise UsageError(
            f"worker {line.name!r} is made of handlers; %worker remove {line.name} first, "
            "or use another name",
            code="DN114",
        )
    context.transactions.check_gate(line.name, line.options.when)
    relative = program_file(line)
    words = _split_command(command)
    root = context.processes.directory_of(line.name)
    if has_file(body):
        file = root / relative
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(body, encoding="utf-8")
        file.chmod(0o755)
        words = command_words(words, str(file))
    program, *rest = words
    _debug(context, line, program, rest)
    present = context.runtime.capability().workers.get(line.name)
    number = present.generation + 1 if present is not None else 1
    worker = context.processes.run(line.name, program, tuple(rest), line.options, root, number)
    context.runtime.retries.put(worker.qualified_name, parse_retry(line.options.retry))
    await context.runtime.capabilities.adopt(worker)
    if worker.state is WorkerState.ERROR:
        raise UsageError(f"worker {line.name!r} is in state error: {worker.error}", code="DN310")
    cell = context.cells.running
    if cell is not None:
        context.live.programs[line.name] = cell
    text = f"{line.name} is {worker.state} as a process ({program}), generation {number}"
    attach = [text for text in [worker.how_to_attach()] if text]
    return Note("\n".join([text, *attach, *beside_loaded(context.runtime, line.name)]))


def _debug(context: MagicContext, line: WorkerLine, program: str, args: list[str]) -> None:
    """Let debuggers attach to the program, or no longer, from its next start on.

    Raises:
        UsageError: it is no Python.
    """
    debugged, name = context.runtime.services.debugged, f"{context.runtime.capability().name}:{line.name}"
    if not line.debug:
        debugged.put(name, None)
        return
    with_debugpy(program, args, who=f"worker {line.name!r}")
    present = debugged.of(name)
    debugged.put(name, ProcessDebug(line.wait, None if present is None else present.port))


def _split_command(command: str) -> list[str]:
    try:
        words = shlex.split(command)
    except ValueError as exc:
        raise UsageError(f"--command {command!r}: {exc}", code="DN114") from None
    if not words:
        raise UsageError("--command is empty; name the program, as in: --command node", code="DN114")
    return words
