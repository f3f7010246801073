"""`dnworker import`: a notebook of an existing capability, from which an export makes it again (design 9)."""

from __future__ import annotations

import ast
import json
import re
import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from dnworker.capability.manifest import MANIFEST_NAME, CapabilityManifest, WorkerDefinition, load_manifest
from dnworker.errors import Refused
from dnworker_jupyter.cells import Cell
from dnworker_jupyter.export.difference import header_of
from dnworker_jupyter.export.reading import read_cells
from dnworker_jupyter.export.render import around_workers, is_ours, is_shared_module
from dnworker_jupyter.export.scripts import Piece, ScriptReader
from dnworker_jupyter.export.slice import Statements

_IDENTITY = re.compile(r"[^A-Za-z0-9_-]+")
CLOUD_NOTEBOOK = {"nbformat": 4, "nbformat_minor": 5}

Topology = Literal["uv", "python", "in-process"]


@dataclass(frozen=True)
class NotebookCell:
    """One cell of the notebook that is made; `label` becomes its id."""

    kind: Literal["code", "markdown"]
    source: str
    label: str


@dataclass
class Imported:
    """The notebook of a capability, and the files that go beside it."""

    name: str
    cells: list[NotebookCell] = field(default_factory=list)
    beside: dict[str, bytes] = field(default_factory=dict)

    def as_ipynb(self) -> bytes:
        """Return the notebook's file (nbformat 4.5); the same capability gives the same bytes."""
        made, seen = [], set()
        for cell in self.cells:
            stem = identity = _IDENTITY.sub("-", cell.label).strip("-")[:56] or "cell"
            number = 2
            while identity in seen:
                identity, number = f"{stem}-{number}", number + 1
            seen.add(identity)
            one: dict[str, object] = {"cell_type": cell.kind, "id": identity, "metadata": {}}
            if cell.kind == "code":
                one |= {"execution_count": None, "outputs": []}
            made.append(one | {"source": cell.source.splitlines(keepends=True)})
        kernel = {"display_name": "Python 3", "language": "python", "name": "python3"}
        notebook = {"cells": made, "metadata": {"kernelspec": kernel}, **CLOUD_NOTEBOOK}
        return (json.dumps(notebook, indent=1, ensure_ascii=False) + "\n").encode()


def import_capability(root: Path) -> Imported:
    """Make the notebook of the capability in a directory.

    One cell has the head of the manifest; each worker in Python has a cell of what its handlers share and one
    for each handler; each other worker has one cell. What two workers share, of an export of ours, is in
    cells of its own. Other modules beside the scripts go beside the notebook.

    Raises:
        ManifestError: the manifest breaks a rule.
        Refused: something cannot be told in one notebook; all of it is said, with file and line.
    """
    root = root.resolve()
    manifest = load_manifest(root)
    reader = _Importer(root, manifest)
    made = reader.read()
    if reader.problems:
        listed = "\n".join(f"  {problem}" for problem in dict.fromkeys(reader.problems))
        raise Refused(f"{root} cannot be made a notebook; nothing was written\n{listed}")
    return made


class _Importer:
    """Goes through one capability; what cannot be told is collected in `problems`."""

    def __init__(self, root: Path, manifest: CapabilityManifest) -> None:
        self.problems: list[str] = []
        self._root = root
        self._manifest = manifest
        self._made = Imported(manifest.name)
        self._required: dict[str, None] = {}
        self._common: dict[str, list[Piece]] = {}
        self._of_workers: list[NotebookCell] = []
        self._sources: dict[str, list[tuple[str, str]]] = {}
        """Of each worker the cells that define things, as (place, source)."""

    def read(self) -> Imported:
        manifest = self._manifest
        text = (self._root / MANIFEST_NAME).read_text(encoding="utf-8")
        before, _, after = around_workers(text)
        for definition in manifest.workers.values():
            script = self._python(definition)
            if script is not None:
                self._take_python(definition, *script)
            else:
                self._take_program(definition)
        cells = self._made.cells
        cells += [
            NotebookCell("markdown", f"# {manifest.name}\n\n{manifest.description}", "title"),
            NotebookCell("code", "%load_ext dnworker", "load"),
        ]
        if self._required:
            listed = " ".join(shlex.quote(one) for one in self._required)
            cells.append(NotebookCell("code", f"%pip install --quiet {listed}", "requirements"))
        cells.append(NotebookCell("code", f"%%capability\n{before.rstrip()}\n{after}".rstrip(), "capability"))
        for module, pieces in self._common.items():
            for number, piece in enumerate(pieces, 1):
                cells.append(NotebookCell("code", piece.text, f"{module}-{number}"))
        cells += self._of_workers
        self.problems += self._conflicts()
        return self._made

    def _python(self, worker: WorkerDefinition) -> tuple[Path, Topology] | None:
        """Return the script of a worker that cells can tell handler by handler, and how it runs."""
        found: tuple[Path, Topology] | None = None
        if worker.path is not None:
            found = worker.path, "in-process"
        elif worker.command == "uv" and len(worker.args) == 2 and worker.args[0] == "run":
            found = self._inside(worker.args[1]), "uv"
        elif worker.command == "python" and len(worker.args) == 1:
            found = self._inside(worker.args[0]), "python"
        if found is None or found[0].suffix != ".py" or not found[0].is_file():
            return None
        return found

    def _inside(self, text: str) -> Path:
        return Path(self._root, text)

    # -- workers in Python -----------------------------------------------------------------------------

    def _take_python(self, worker: WorkerDefinition, file: Path, topology: Topology) -> None:
        relative = file.relative_to(self._root).as_posix()
        try:
            text = file.read_text(encoding="utf-8")
            reader = ScriptReader(text, relative, worker.name, self._siblings(file))
        except (SyntaxError, UnicodeDecodeError) as exc:
            line = f", line {exc.lineno}" if isinstance(exc, SyntaxError) else ""
            self.problems.append(f"{relative}{line}: is no Python: {getattr(exc, 'msg', exc)}")
            return
        self.problems += reader.problems
        for module in reader.shared:
            self._take_common(file.with_name(f"{module}.py"))
        for module in reader.local:
            self._take_beside(file.parent, module)
        for line in header_of(text).get("dependencies", []):
            if not is_ours(re.split(r"[^\w-]", str(line), maxsplit=1)[0]):
                self._required[str(line)] = None
        options = self._options(worker, relative, topology)
        title = f"## {worker.name}" + (f"\n\n{reader.docstring}" if reader.docstring else "")
        self._of_workers.append(NotebookCell("markdown", title, f"{worker.name}-title"))
        for piece in reader.pieces:
            shared = "" if piece.handler else " --shared"
            source = f"%%worker {worker.name}{shared}{options}\n{piece.text}"
            label = f"{worker.name}-{piece.handler or 'shared'}"
            self._of_workers.append(NotebookCell("code", source, label))
            self._sources.setdefault(worker.name, []).append((f"{relative}, line {piece.line}", source))
        if not any(piece.handler for piece in reader.pieces):
            self.problems.append(
                f"{relative}: has no handler at its top level, so no cell would register one"
            )

    def _options(self, worker: WorkerDefinition, relative: str, topology: Topology) -> str:
        words = _words(worker)
        if relative != f"workers/{worker.name}.py":
            words += ["--file", _quoted(relative)]
        if topology != "uv":
            words += ["--topology", topology]
        return "".join(f" {word}" for word in words)

    def _siblings(self, file: Path) -> dict[str, bool]:
        """Return the modules beside a script, and whether an export of ours made each for its workers."""
        found = {}
        for other in file.parent.iterdir():
            if other.suffix == ".py" and other != file:
                found[other.stem] = is_shared_module(other.read_text(encoding="utf-8", errors="replace"))
            elif (other / "__init__.py").is_file():
                found[other.name] = False
        return found

    def _take_common(self, file: Path) -> None:
        if file.stem in self._common:
            return
        relative = file.relative_to(self._root).as_posix()
        reader = ScriptReader(file.read_text(encoding="utf-8"), relative, None, self._siblings(file))
        self.problems += reader.problems
        for module in reader.local:
            self._take_beside(file.parent, module)
        self._common[file.stem] = reader.pieces
        self._sources[f"({file.stem})"] = [(f"{relative}, line {p.line}", p.text) for p in reader.pieces]

    def _take_beside(self, home: Path, module: str) -> None:
        """Have a module of the capability beside the notebook, and the siblings that it imports."""
        names = [f"{module}.py"] if (home / f"{module}.py").is_file() else []
        names += [p.relative_to(home).as_posix() for p in sorted((home / module).rglob("*.py"))]
        siblings = self._siblings(home / f"{module}.py")
        for name in names:
            if name in self._made.beside:
                continue
            data = self._made.beside[name] = (home / name).read_bytes()
            try:
                tree = ast.parse(data)
            except SyntaxError as exc:
                self.problems.append(f"{name}, line {exc.lineno}: is no Python: {exc.msg}")
                continue
            for node in ast.walk(tree):
                if isinstance(node, ast.ImportFrom) and node.level and "/" not in name:
                    self.problems.append(
                        f"{name}, line {node.lineno}: imports relative to a package, and beside a notebook "
                        f"it has none; import {node.module or 'its siblings'} absolutely"
                    )
                for other in _absolute(node):
                    if other in siblings and other != module:
                        self._take_beside(home, other)

    # -- other workers ---------------------------------------------------------------------------------

    def _take_program(self, worker: WorkerDefinition) -> None:
        if worker.command is None:
            self.problems.append(f"{MANIFEST_NAME}: worker {worker.name}: there is no file {worker.path}")
            return
        words = [worker.command, *worker.args]
        where, path = next(((n, p) for n, w in enumerate(words) if (p := self._file_in(w))), (0, None))
        body, options = "# there is no file of its own\n", _words(worker)
        if path is not None:
            try:
                body = (self._root / path).read_text(encoding="utf-8")
            except UnicodeDecodeError:
                path = None  # a binary: it is no text of a cell, and stays where it is
            else:
                words[where] = words[where].replace(f"{self._root}/{path}", "{file}").replace(path, "{file}")
                options += ["--file", _quoted(path)] if path != f"workers/{worker.name}" else []
        words = [word.replace(str(self._root), "${CAPABILITY_ROOT}") for word in words]
        if words[-1] == "{file}" and not any("{file}" in word for word in words[:-1]) and len(words) > 1:
            words.pop()
        line = " ".join([f"%%worker {worker.name} --command {_quoted(shlex.join(words))}", *options])
        self._of_workers.append(NotebookCell("code", f"{line}\n{body.rstrip()}", worker.name))

    def _file_in(self, word: str) -> str | None:
        """Return the path in the capability that a word of a command names, if it names one."""
        file = Path(self._root, word)
        if "/" not in word and not file.is_file():
            return None
        inside = file.is_file() and file.resolve().is_relative_to(self._root)
        return file.relative_to(self._root).as_posix() if inside else None

    # -- one namespace ---------------------------------------------------------------------------------

    def _conflicts(self) -> Iterator[str]:
        """Tell what two workers define differently by one name, and one of them uses: cells share names."""
        defined: dict[str, dict[str, tuple[str, str]]] = {}
        needed: dict[str, set[str]] = {}
        for owner, sources in self._sources.items():
            cells = [Cell(n, source) for n, (_, source) in enumerate(sources)]
            read = read_cells(cells)
            for cell in read:
                for statement in Statements(read).of(cell):
                    place = sources[cell.cell.number][0].partition(",")[0]
                    needed.setdefault(owner, set()).update(statement.needs)
                    for name in statement.defines:
                        defined.setdefault(name, {})[owner] = place, _meaning(statement.node, name)
        for name, owners in defined.items():
            if len({same for _, same in owners.values()}) > 1 and any(name in needed[o] for o in owners):
                places = " and ".join(dict.fromkeys(place for place, _ in owners.values()))
                yield f"{name!r} is something else in {places}; a notebook has one of each name: rename one"


def _meaning(node: ast.stmt, name: str) -> str:
    """Return what a statement binds a name to, so that two can be compared."""
    if isinstance(node, ast.Import | ast.ImportFrom):
        module = f"{node.module}." if isinstance(node, ast.ImportFrom) else ""
        return " ".join(
            f"{module}{a.name}" for a in node.names if (a.asname or a.name.partition(".")[0]) == name
        )
    return ast.dump(node)


def _words(worker: WorkerDefinition) -> list[str]:
    words = [word for flag in worker.when for word in ("--when", flag)]
    return words + [word for k, v in worker.env.items() for word in ("--env", _quoted(f"{k}={v}"))]


def _quoted(word: str) -> str:
    """Write a word so that the line of a magic keeps it one."""
    return word if re.fullmatch(r"[\w./:=+-]+", word) else repr(word)


def _absolute(node: ast.AST) -> list[str]:
    match node:
        case ast.Import(names=names):
            return [alias.name.partition(".")[0] for alias in names]
        case ast.ImportFrom(module=str() as module, level=0):
            return [module.partition(".")[0]]
    return []


def write_notebook(made: Imported, file: Path, *, force: bool = False) -> list[Path]:
    """Write the notebook and what goes beside it; returns the paths.

    Raises:
        Refused: a file of another content is there, and `force` is False; nothing was written.
        OSError: the disk would not take it.
    """
    wanted: Mapping[Path, bytes] = {
        file: made.as_ipynb(),
        **{file.parent / name: data for name, data in made.beside.items()},
    }
    there: Sequence[Path] = [p for p, data in wanted.items() if p.exists() and p.read_bytes() != data]
    if there and not force:
        listed = ", ".join(map(str, there))
        raise Refused(f"{listed} is there already; nothing was written. Name another file, or use --force")
    for path, data in wanted.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        staged = path.with_name(f".{path.name}.dnworker")
        staged.write_bytes(data)
        staged.replace(path)
    return [*wanted]
