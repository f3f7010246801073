"""`import_capability`: makes a notebook of a capability; used by `dnworker import`."""

from __future__ import annotations

import ast
import contextlib
import os
import shlex
from collections.abc import Callable
from pathlib import Path

from dnworker.capability.components import read_components, real_root
from dnworker.capability.environment import UnsetVariable, interpolate
from dnworker.capability.manifest import (
    MANIFEST_NAME,
    CapabilityManifest,
    WorkerDefinition,
    load_manifest,
    parse_manifest,
)
from dnworker.capability.reading import (
    Budget,
    UnreadableFile,
    is_directory,
    is_file,
    read_bytes,
    read_text,
)
from dnworker.core.errors import ManifestError, UsageError
from dnworker.core.topology import Topology
from dnworker.events.cases import as_test_cell, cases_of
from dnworker.project.record import RECORD
from dnworker_jupyter.export.planning.files import LOCK, VENDOR
from dnworker_jupyter.export.planning.manifest import around_workers
from dnworker_jupyter.export.planning.render import is_shared_module
from dnworker_jupyter.export.slicing.imports import imported_modules
from dnworker_jupyter.importer.cells import Piece, pieces_of
from dnworker_jupyter.importer.conflicts import conflicts
from dnworker_jupyter.importer.first_notebook import first_notebook as first_notebook
from dnworker_jupyter.importer.lines import handle_arguments, quoted, worker_options
from dnworker_jupyter.importer.notebook_file import CellKind, Imported, NotebookCell
from dnworker_jupyter.importer.programs import program_cell
from dnworker_jupyter.importer.requirements import ScriptRequirements
from dnworker_jupyter.importer.scripts import ScriptReader, parse


def import_capability(
    root: Path, home: Path | None = None, *, on_progress: Callable[[str], None] = lambda _: None
) -> Imported:
    """Make the notebook of the capability in a directory.

    One cell has the head of the manifest. Each worker in Python has cells for what its handlers share, and
    one for each handler, with what it alone uses; each other worker has one cell. A module that an export
    made for several workers becomes cells of its own; others go beside the notebook.

    Args:
        root: the directory, or the manifest in it.
        home: the directory that the notebook will be in: from there it finds the capability's agents, skills
            and checks. None where it will have none of them.
        on_progress: called with what is read next, as a sentence's part.

    Raises:
        ManifestError: the manifest breaks a rule.
        UsageError: something cannot be in one notebook; names everything, with file and line.
    """
    root = real_root(root)
    if root.name == MANIFEST_NAME and root.is_file():
        root = root.parent
    manifest = load_manifest(root)
    reader = _CapabilityReader(root, manifest, home, on_progress)
    try:
        made = reader.read()
    except UnreadableFile as exc:
        raise UsageError(f"{exc}; nothing was written", code="DN514") from exc
    except RecursionError as exc:
        raise UsageError(
            f"{root}: a script is nested too deep to be cells; nothing was written", code="DN514"
        ) from exc
    if reader.problems:
        listed = "\n".join(f"  {problem}" for problem in dict.fromkeys(reader.problems))
        raise UsageError(f"{root} cannot be made a notebook; nothing was written\n{listed}", code="DN514")
    return made


class _CapabilityReader:
    """Goes through one capability; what cannot be imported is collected in `problems`."""

    def __init__(
        self,
        root: Path,
        manifest: CapabilityManifest,
        home: Path | None,
        on_progress: Callable[[str], None],
    ) -> None:
        self._root = root
        self._on_progress = on_progress
        self._home = home
        self._manifest = manifest
        # What is made
        self.problems: list[str] = []
        self._made = Imported(manifest.name)
        self._worker_cells: list[NotebookCell] = []
        self._shared: dict[Path, list[Piece]] = {}
        """The parts of each module that an export made for several workers."""
        self._requirements = ScriptRequirements(self.problems, self._made.notes)
        # Where it is from
        self._homes: dict[str, Path] = {}
        """The directory in the capability of each file that goes beside the notebook."""
        self._taken: list[str] = []
        """The files that became cells."""
        self._sources: dict[str, list[tuple[str, str]]] = {}
        """The cells of each worker that define things, as (location, source)."""

    def read(self) -> Imported:
        """Make the notebook; where there are problems, it is not complete."""
        workers = self._manifest.workers.values()
        for number, definition in enumerate(workers, 1):
            self._on_progress(f"reading worker {definition.name} ({number} of {len(workers)})")
            script = self._python(definition)
            if script is not None:
                self._take_python(definition, *script)
            else:
                self._take_program(definition)
        self._take_tests()
        dependencies = self._manifest.raw.get("dependencies") or {}
        self._requirements.add_listed(dependencies.get("python") or ())
        self._made.notes += self._requirements.unused()
        self._note_left()
        self._note_variables()
        self._made.cells += [self._title(), NotebookCell("code", "%load_ext dnworker", "load")]
        self._made.cells += [*self._install(), self._head()]
        for file, pieces in self._shared.items():
            for number, piece in enumerate(pieces, 1):
                kind: CellKind = "markdown" if piece.is_heading else "code"
                self._made.cells.append(NotebookCell(kind, piece.text, f"{file.stem}-{number}"))
        self._made.cells += self._worker_cells
        self.problems += conflicts(self._sources)
        return self._made

    # -- the cells before those of workers -------------------------------------------------------------

    def _title(self) -> NotebookCell:
        title = f"# {self._manifest.name}\n\n{self._manifest.description.strip()}"
        if self._made.notes:
            listed = "".join(f"\n- {note}" for note in self._made.notes)
            title += f"\n\nWhat an export of this notebook will not have:\n{listed}"
        return NotebookCell("markdown", title, "title")

    def _install(self) -> list[NotebookCell]:
        """Return the cell that installs what scripts require, where they require something."""
        words = " ".join(map(shlex.quote, self._requirements.required.values()))
        return [NotebookCell("code", f"%pip install --quiet {words}", "requirements")] if words else []

    def _head(self) -> NotebookCell:
        """Return the cell with the manifest without its workers."""
        before, _, after = around_workers(read_text(self._root / MANIFEST_NAME))
        head = f"{before.rstrip()}\n{after}".rstrip()
        try:
            parse_manifest(head, self._root, is_head=True, source=MANIFEST_NAME)
        except ManifestError as exc:
            self.problems += [
                f"{one}; what stands around the workers must stand alone" for one in exc.problems
            ]
        return NotebookCell("code", f"%%capability{self._directory()}\n{head}", "capability")

    def _directory(self) -> str:
        """Return the option that names the capability's directory, where the notebook needs it."""
        parts = read_components(self._manifest)
        needs = parts.agents or parts.skills or parts.mcp or parts.others or self._manifest.checks
        if self._home is None or self._home.resolve() == self._root or not needs:
            return ""
        path = Path(os.path.relpath(self._root, self._home.resolve())).as_posix()
        return f" --dir {quoted(path)}"

    def _note_variables(self) -> None:
        """Note the variables of workers of which this process can have only one value."""
        found: dict[str, str] = {}
        for worker in self._manifest.workers.values():
            for name, text in worker.env.items():
                with contextlib.suppress(UnsetVariable):  # only the user knows its value
                    value = interpolate(text, {}, name)
                    if found.setdefault(name, value) != value:
                        self._made.notes.append(
                            f"{name}={value} of {worker.name} in this kernel: another worker has another "
                            "value, and a kernel has one environment"
                        )

    # -- files of the capability -----------------------------------------------------------------------

    def _take_tests(self) -> None:
        """Make cells of the tests that an export made of cells."""
        for file in sorted((self._root / "tests").glob("test_*.py")):
            try:
                found = cases_of(read_text(file, encoding="utf-8-sig"))
            except UnreadableFile:  # it stays where it is, and is noted as that
                continue
            if found is None:
                continue
            worker, cases = found
            if worker not in self._sources:
                continue  # the worker is not made of cells, so the file stays where it is
            self._taken.append(file.relative_to(self._root).as_posix())
            for case in cases:
                cell = NotebookCell("code", as_test_cell(case, worker), f"{worker}-test")
                self._worker_cells.append(cell)

    def _note_left(self) -> None:
        """Note what stays in the capability's directory."""
        taken = {(home / name).relative_to(self._root).as_posix() for name, home in self._homes.items()}
        taken |= {
            MANIFEST_NAME,
            RECORD,
            *self._taken,
            *(p.relative_to(self._root).as_posix() for p in self._shared),
        }
        budget = Budget()
        found = budget.files_below(self._root, lambda name: True)
        self._made.notes += budget.problems
        files = (p.relative_to(self._root) for p in found if is_file(p))
        left = [p for p in files if p.as_posix() not in taken and not any(q[0] in "._" for q in p.parts)]
        left = [p for p in left if p.parts[0] != VENDOR and p.suffix != LOCK]  # an export makes them again
        # A directory of which nothing was taken is named as a whole.
        homes = {path.partition("/")[0] for path in taken}
        names = sorted(
            {p.as_posix() if len(p.parts) == 1 or p.parts[0] in homes else p.parts[0] for p in left}
        )
        if names:
            more = f" and {len(names) - 5} more" if len(names) > 5 else ""
            self._made.notes.append(
                f"{', '.join(names[:5])}{more}, which stay in {self._root.name}: export back into it, or "
                "copy them"
            )

    def _python(self, worker: WorkerDefinition) -> tuple[Path, Topology] | None:
        """Return the script of a worker that can be cells handler by handler, and how it runs."""
        found: tuple[Path, Topology] | None = None
        if worker.path is not None:
            found = worker.path, "in-process"
        elif worker.command == "uv" and len(worker.args) == 2 and worker.args[0] == "run":
            found = self._root / worker.args[1], "uv"
        elif worker.command == "python" and len(worker.args) == 1:
            found = self._root / worker.args[0], "python"
        if found is None or found[0].suffix != ".py" or not is_file(found[0]):
            return None
        return found if found[0].resolve().is_relative_to(self._root) else None

    # -- workers in Python -----------------------------------------------------------------------------

    def _take_python(self, worker: WorkerDefinition, file: Path, topology: Topology) -> None:
        relative = file.resolve().relative_to(self._root).as_posix()
        is_usual = relative == f"workers/{worker.name}.py" and topology == "uv"  # no line says more of it
        reader = self._read(file, relative, worker.name, plain=is_usual)
        if reader is None:
            return
        if relative in self._taken:
            self.problems.append(f"{relative}: is the script of two workers, and cells are of one; copy it")
        self._taken.append(relative)
        self._requirements.add_header(read_text(file, encoding="utf-8-sig"), relative, file.parent)
        options = self._options(worker, relative, topology)
        title = f"## {worker.name}" + (f"\n\n{reader.docstring}" if reader.docstring else "")
        self._worker_cells.append(NotebookCell("markdown", title, f"{worker.name}-title"))
        if reader.handle is not None:
            made = f"{reader.handle} = dn.worker({handle_arguments(worker, self._root)})"
            self._worker_cells.append(NotebookCell("code", made, f"{worker.name}-worker"))
        pieces = pieces_of(reader.sections)
        for piece in pieces:
            if piece.is_heading:
                self._worker_cells.append(NotebookCell("markdown", piece.text, f"{worker.name}-heading"))
                continue
            shared = "" if piece.handler else " --shared"
            source = f"%%worker {worker.name}{shared}{options}\n{piece.text}"
            source = piece.text if reader.handle is not None else source
            options = ""  # what one line says holds for all cells of the worker
            label = f"{worker.name}-{piece.handler or 'shared'}"
            self._worker_cells.append(NotebookCell("code", source, label))
            self._sources.setdefault(worker.name, []).append((f"{relative}, line {piece.line}", source))
        if not any(piece.handler for piece in pieces):
            self.problems.append(f"{relative}: registers no handler, so no cell would make the worker")

    def _options(self, worker: WorkerDefinition, relative: str, topology: Topology) -> str:
        words = worker_options(worker, self._root)
        if relative != f"workers/{worker.name}.py":
            words += ["--file", quoted(relative)]
        if topology != "uv":
            words += ["--topology", topology]
        return "".join(f" {word}" for word in words)

    def _read(
        self, file: Path, relative: str, worker: str | None, *, plain: bool = False
    ) -> ScriptReader | None:
        """Read a script, or a module that workers share, and take the modules beside it that it imports."""
        try:
            text = read_text(file, encoding="utf-8-sig")
            reader = ScriptReader(text, relative, worker, self._siblings(file), plain=plain)
        except (SyntaxError, UnreadableFile) as exc:
            self.problems.append(_no_python(relative, exc))
            return None
        self.problems += reader.problems
        self._made.notes += reader.notes
        self._requirements.imported |= imported_modules([parse(text)])
        for module in reader.shared:
            self._take_shared(file.with_name(f"{module}.py"))
        for module in reader.local:
            self._take_beside(file.parent, module)
        return reader

    def _siblings(self, file: Path) -> dict[str, bool]:
        """Return the modules beside a script, and of each whether an export made it for several workers."""
        found = {}
        budget = Budget()
        for other in budget.files_in(file.parent, lambda name: name.endswith(".py")):
            if other != file:
                found[other.stem] = is_shared_module(read_bytes(other).decode(errors="replace"))
        for directory in budget.directories_in(file.parent):
            if budget.files_in(directory, lambda name: name.endswith(".py")):
                found[directory.name] = False
        return found

    def _take_shared(self, file: Path) -> None:
        if file in self._shared:
            return
        if any(other.stem == file.stem for other in self._shared):
            self.problems.append(f"{file.relative_to(self._root)}: there is another module of its name")
        self._shared[file] = []
        relative = file.relative_to(self._root).as_posix()
        reader = self._read(file, relative, None)
        if reader is not None:
            pieces = self._shared[file] = pieces_of(reader.sections)
            code = [piece for piece in pieces if not piece.is_heading]
            self._sources[f"({file.stem})"] = [(f"{relative}, line {p.line}", p.text) for p in code]

    def _take_beside(self, home: Path, module: str) -> None:
        """Put a module of the capability beside the notebook, and the siblings that it imports."""
        names = [f"{module}.py"] if (home / f"{module}.py").is_file() else []
        below = home / module
        found = Budget().files_below(below, lambda n: n.endswith(".py")) if is_directory(below) else []
        names += [p.relative_to(home).as_posix() for p in found]
        siblings = self._siblings(home / f"{module}.py")
        for name in names:
            data = read_bytes(home / name)
            if name in self._made.beside:
                if self._made.beside[name] != data:
                    self._note_collision(name, home)
                continue
            self._made.beside[name], self._homes[name] = data, home
            try:
                tree = parse(data.decode("utf-8-sig"))
            except (SyntaxError, UnicodeDecodeError) as exc:
                self.problems.append(_no_python((home / name).relative_to(self._root).as_posix(), exc))
                continue
            self._requirements.imported |= imported_modules([tree])
            for node in ast.walk(tree):
                if isinstance(node, ast.ImportFrom) and node.level and "/" not in name:
                    self.problems.append(
                        f"{name}, line {node.lineno}: imports relative to a package, and beside a notebook "
                        f"it has none; import {node.module or 'its siblings'} absolutely"
                    )
            for other in imported_modules([tree]) & siblings.keys() - {module}:
                self._take_beside(home, other)

    def _note_collision(self, name: str, home: Path) -> None:
        both = " and ".join(str((h / name).relative_to(self._root)) for h in (self._homes[name], home))
        self.problems.append(f"{both} cannot both go beside the notebook; rename one")

    # -- other workers ---------------------------------------------------------------------------------

    def _take_program(self, worker: WorkerDefinition) -> None:
        made = program_cell(worker, self._root)
        self.problems += made.problems
        self._made.notes += made.notes
        self._taken += [made.file] if made.file is not None else []
        self._worker_cells.append(NotebookCell("code", made.source, worker.name))


def _no_python(path: str, exc: SyntaxError | UnicodeDecodeError | UnreadableFile) -> str:
    if isinstance(exc, UnreadableFile):
        return f"{path}: {exc.why}"
    line = f", line {exc.lineno}" if isinstance(exc, SyntaxError) and exc.lineno else ""
    return f"{path}{line}: is no Python: {exc.msg if isinstance(exc, SyntaxError) else exc}"
