"""Makes the cell of a worker whose command is more than a Python script; used by the importer."""

from __future__ import annotations

import shlex
from dataclasses import dataclass, field
from pathlib import Path

from dnworker.capability.manifest import MANIFEST_NAME, WorkerDefinition
from dnworker.capability.reading import NotText, UnreadableFile, exists, is_file, read_text
from dnworker_jupyter.export.slicing.programs import has_file
from dnworker_jupyter.importer.lines import quoted, with_reference, worker_options

_SCRIPTS = (".py", ".sh", ".js", ".mjs", ".cjs", ".ts", ".rb", ".pl")


@dataclass
class ProgramCell:
    """The source of the cell, the file that became its body, and what cannot be imported or is lost."""

    source: str = ""
    file: str | None = None
    problems: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def program_cell(worker: WorkerDefinition, root: Path) -> ProgramCell:
    """Make the cell of a worker of the capability in the directory `root`."""
    made = ProgramCell()
    if worker.command is None:
        made.problems.append(f"{MANIFEST_NAME}: worker {worker.name}: there is no file {worker.path}")
        return made
    words = [worker.command, *worker.args]
    for number, word in enumerate(words):
        if (why := _why_missing(word, root, is_command=number == 0)) is not None:
            made.problems.append(f"{MANIFEST_NAME}: worker {worker.name}: {why}")
    if any(word.endswith(".py") and _file_in(word, root) for word in worker.args):
        command = " ".join(words).replace(f"{root}/", "")
        made.notes.append(
            f"handlers of {worker.name} as cells, and modules beside its file: it runs by `{command}`, "
            "which is more than a script, and so it is one cell as it is"
        )
    body, options = _take_file(made, words, worker, root)
    words = [with_reference(word, root) for word in words]
    if words[-1] == "{file}" and not any("{file}" in word for word in words[:-1]) and len(words) > 1:
        words.pop()  # the file comes last anyway
    line = " ".join([f"%%worker {worker.name} --command {quoted(shlex.join(words))}", *options])
    made.source = f"{line}\n{body.rstrip()}"
    return made


def _take_file(
    made: ProgramCell, words: list[str], worker: WorkerDefinition, root: Path
) -> tuple[str, list[str]]:
    """Return the body and the options of the cell; the word that names its file becomes `{file}`."""
    options = worker_options(worker, root)
    where, path = next(((n, p) for n, w in enumerate(words) if (p := _file_in(w, root))), (0, None))
    no_file = "# there is no file of its own\n"
    if path is None:
        return no_file, options
    try:
        body = read_text(root / path)
    except NotText:  # a binary cannot be a cell, and stays where it is
        return no_file, options
    except UnreadableFile as exc:
        made.problems.append(f"{path}: {exc.why}")
        return no_file, options
    made.file = path
    if not has_file(body):
        made.problems.append(f"{path}: has comments alone, and the cell of such a file has none")
    words[where] = "{file}"
    return body, options + (["--file", quoted(path)] if path != f"workers/{worker.name}" else [])


def _why_missing(word: str, root: Path, *, is_command: bool) -> str | None:
    """Return why a word names a file of the capability that cannot be used; None where it does not."""
    file = Path(root, word)
    is_relative = not Path(word).is_absolute() and (is_command or "/" in word)
    is_inside = word.startswith(f"{root}/") or is_relative
    is_named = "/" in word and is_inside and (is_command or file.suffix in _SCRIPTS)
    if not is_named or (exists(file) and file.resolve().is_relative_to(root)):
        return None
    shown = word.replace(f"{root}/", "")
    return f"{shown} {'leads out of the capability' if exists(file) else 'is not there'}"


def _file_in(word: str, root: Path) -> str | None:
    """Return the path in the capability that a word of a command names, if it names one."""
    file = Path(root, word)
    if "/" not in word and not is_file(file):
        return None
    is_inside = is_file(file) and file.resolve().is_relative_to(root)
    return file.relative_to(root).as_posix() if is_inside else None
