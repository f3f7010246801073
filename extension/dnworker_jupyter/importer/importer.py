"""`dnworker import`: a notebook of an existing capability, from which an export makes it again (design 9)."""

from __future__ import annotations

import ast
import contextlib
import re
import shlex
import sys
from collections.abc import Iterator
from pathlib import Path

from packaging.requirements import InvalidRequirement, Requirement
from packaging.specifiers import InvalidSpecifier, SpecifierSet
from packaging.utils import canonicalize_name

from dnworker.capability.environment import UnsetVariable, interpolate
from dnworker.capability.manifest import (
    MANIFEST_NAME,
    ROOT_REFERENCE,
    CapabilityManifest,
    WorkerDefinition,
    load_manifest,
    parse_manifest,
)
from dnworker.core.errors import ManifestError, UsageError
from dnworker.core.topology import Topology
from dnworker.events.cases import as_test_cell, cases_of
from dnworker_jupyter.export.disk.diff import header_of
from dnworker_jupyter.export.planning.files import RECORD
from dnworker_jupyter.export.planning.manifest import around_workers
from dnworker_jupyter.export.planning.render import is_shared_module
from dnworker_jupyter.export.slicing.cells import read_cells
from dnworker_jupyter.export.slicing.imports import imported_modules
from dnworker_jupyter.export.slicing.installed import distributions_by_module
from dnworker_jupyter.export.slicing.programs import has_file
from dnworker_jupyter.export.slicing.requirements import is_sdk_module
from dnworker_jupyter.export.slicing.statements import Statements
from dnworker_jupyter.importer.notebook_file import Imported, NotebookCell
from dnworker_jupyter.importer.scripts import Piece, ScriptReader, parse
from dnworker_jupyter.kernel.cells import Cell

_SCRIPTS = (".py", ".sh", ".js", ".mjs", ".cjs", ".ts", ".rb", ".pl")


def import_capability(root: Path) -> Imported:
    """Make the notebook of the capability in a directory.

    One cell has the head of the manifest; each worker in Python has a cell of what its handlers share and one
    for each handler; each other worker has one cell. What two workers share, of an export of ours, is in
    cells of its own. Other modules beside the scripts go beside the notebook.

    Raises:
        ManifestError: the manifest breaks a rule.
        UsageError: something cannot be told in one notebook; all of it is said, with file and line.
    """
    root = root.resolve()
    if root.name == MANIFEST_NAME and root.is_file():
        root = root.parent
    manifest = load_manifest(root)
    reader = _Importer(root, manifest)
    made = reader.read()
    if reader.problems:
        listed = "\n".join(f"  {problem}" for problem in dict.fromkeys(reader.problems))
        raise UsageError(f"{root} cannot be made a notebook; nothing was written\n{listed}")
    return made


class _Importer:
    """Goes through one capability; what cannot be told is collected in `problems`."""

    def __init__(self, root: Path, manifest: CapabilityManifest) -> None:
        self.problems: list[str] = []
        self._root = root
        self._manifest = manifest
        self._made = Imported(manifest.name)
        self._required: dict[str, str] = {}
        """Requirements as `pip` takes them, by their names."""
        self._imported: set[str] = set()
        self._common: dict[Path, list[Piece]] = {}
        self._homes: dict[str, Path] = {}
        """Where each file that goes beside the notebook is from."""
        self._taken: list[str] = []
        """The files that became cells."""
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
        self._take_tests()
        self._note_unused()
        self._note_left()
        variables = self._variables()
        cells, notes = self._made.cells, self._made.notes
        listed = "".join(f"\n- {note}" for note in notes)
        title = f"# {manifest.name}\n\n{manifest.description}"
        title += f"\n\nWhat an export of this notebook will not have:\n{listed}" if notes else ""
        cells += [
            NotebookCell("markdown", title, "title"),
            NotebookCell("code", "%load_ext dnworker", "load"),
        ]
        if variables:
            cells.append(NotebookCell("code", variables, "environment"))
        if self._required:
            words = " ".join(shlex.quote(one) for one in self._required.values())
            cells.append(NotebookCell("code", f"%pip install --quiet {words}", "requirements"))
        head = f"{before.rstrip()}\n{after}".rstrip()
        try:
            parse_manifest(head, self._root, is_head=True, source=MANIFEST_NAME)
        except ManifestError as exc:
            self.problems += [
                f"{one}; what stands around the workers must stand alone" for one in exc.problems
            ]
        cells.append(NotebookCell("code", f"%%capability\n{head}", "capability"))
        for file, pieces in self._common.items():
            for number, piece in enumerate(pieces, 1):
                cells.append(NotebookCell("code", piece.text, f"{file.stem}-{number}"))
        cells += self._of_workers
        self.problems += self._conflicts()
        return self._made

    def _take_tests(self) -> None:
        """Make cells again of the tests that an export of ours made of cells."""
        for file in sorted((self._root / "tests").glob("test_*.py")):
            found = cases_of(file.read_text(encoding="utf-8-sig", errors="replace"))
            if found is None:
                continue
            worker, cases = found
            if worker not in self._sources:
                continue  # it is no worker of cells here, and the file stays where it is
            self._taken.append(file.relative_to(self._root).as_posix())
            for case in cases:
                cell = NotebookCell("code", as_test_cell(case, worker), f"{worker}-test")
                self._of_workers.append(cell)

    def _variables(self) -> str:
        """Return a cell that sets what the manifest gives workers here too: `--env` is for the export."""
        found: dict[str, str] = {}
        for worker in self._manifest.workers.values():
            for name, text in worker.env.items():
                with contextlib.suppress(UnsetVariable):  # nobody but the user knows it
                    value = interpolate(text, {}, name)
                    if found.setdefault(name, value) != value:
                        self._made.notes.append(
                            f"{name}={value} of {worker.name} in this kernel: another worker has another "
                            "value, and a kernel has one environment"
                        )
        lines = [f"os.environ.setdefault({name!r}, {value!r})" for name, value in found.items()]
        return (
            "\n".join(["# What the manifest gives to workers, here too.", "import os", "", *lines])
            if lines
            else ""
        )

    def _note_left(self) -> None:
        """Note what stays in the capability's directory."""
        taken = {(home / name).relative_to(self._root).as_posix() for name, home in self._homes.items()}
        taken |= {
            MANIFEST_NAME,
            RECORD,
            *self._taken,
            *(p.relative_to(self._root).as_posix() for p in self._common),
        }
        files = (p.relative_to(self._root) for p in self._root.rglob("*") if p.is_file())
        left = [p for p in files if p.as_posix() not in taken and not any(q[0] in "._" for q in p.parts)]
        left = [
            p for p in left if p.parts[0] != "vendor" and p.suffix != ".lock"
        ]  # an export makes them anew
        # A directory of which nothing was taken is told by its name.
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

    def _note_unused(self) -> None:
        """Note requirements that no import explains: an export makes them of imports."""
        known = distributions_by_module()
        by_import = {canonicalize_name(d) for module in self._imported for d in known.get(module, [module])}
        here = {canonicalize_name(d) for found in known.values() for d in found}
        for name, text in self._required.items():
            if name not in by_import and name in here:  # of what is not installed nobody knows its modules
                self._made.notes.append(
                    f"the requirement {text}: nothing imports it, and an export finds requirements by imports"
                )

    def _python(self, worker: WorkerDefinition) -> tuple[Path, Topology] | None:
        """Return the script of a worker that cells can tell handler by handler, and how it runs."""
        found: tuple[Path, Topology] | None = None
        if worker.path is not None:
            found = worker.path, "in-process"
        elif worker.command == "uv" and len(worker.args) == 2 and worker.args[0] == "run":
            found = self._root / worker.args[1], "uv"
        elif worker.command == "python" and len(worker.args) == 1:
            found = self._root / worker.args[0], "python"
        if found is None or found[0].suffix != ".py" or not found[0].is_file():
            return None
        return found if found[0].resolve().is_relative_to(self._root) else None

    # -- workers in Python -----------------------------------------------------------------------------

    def _take_python(self, worker: WorkerDefinition, file: Path, topology: Topology) -> None:
        relative = file.resolve().relative_to(self._root).as_posix()
        reader = self._read(file, relative, worker.name)
        if reader is None:
            return
        if relative in self._taken:
            self.problems.append(f"{relative}: is the script of two workers, and cells are of one; copy it")
        self._taken.append(relative)
        self._take_header(file, relative)
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
        words = _words(worker, self._root)
        if relative != f"workers/{worker.name}.py":
            words += ["--file", _quoted(relative)]
        if topology != "uv":
            words += ["--topology", topology]
        return "".join(f" {word}" for word in words)

    def _read(self, file: Path, relative: str, worker: str | None) -> ScriptReader | None:
        """Read a script, or a module that workers share, and take along what lies beside it."""
        try:
            text = file.read_text(encoding="utf-8-sig")
            reader = ScriptReader(text, relative, worker, self._siblings(file))
        except (SyntaxError, UnicodeDecodeError) as exc:
            self.problems.append(_no_python(relative, exc))
            return None
        self.problems += reader.problems
        self._made.notes += reader.notes
        self._imported |= imported_modules([ast.parse(text)])
        for module in reader.shared:
            self._take_common(file.with_name(f"{module}.py"))
        for module in reader.local:
            self._take_beside(file.parent, module)
        return reader

    def _take_header(self, file: Path, relative: str) -> None:
        """Take the requirements of a script (PEP 723), with where uv has them from."""
        header = header_of(file.read_text(encoding="utf-8-sig"))
        tool, listed = header.get("tool", {}), header.get("dependencies", [])
        tool = tool.get("uv", {}) if isinstance(tool, dict) else tool
        sources = tool.get("sources", {}) if isinstance(tool, dict) else None
        if not isinstance(sources, dict) or not isinstance(listed, list):
            self.problems.append(f"{relative}: its header has another form than PEP 723 says; mend it")
            return
        for table in sorted(tool.keys() - {"sources"}):
            self._made.notes.append(f"tool.uv.{table} in the header of {relative}")
        sources = {canonicalize_name(name): source for name, source in sources.items()}
        for line in listed:
            try:
                name = canonicalize_name(Requirement(str(line)).name)
            except InvalidRequirement:
                self.problems.append(
                    f"{relative}: its header requires {line!r}, which is no requirement (PEP 508)"
                )
                continue
            if not is_sdk_module(name):
                self._required[name] = _from_source(str(line), sources.get(name), file.parent)
        python = str(header.get("requires-python", ""))
        here = ".".join(map(str, sys.version_info[:3]))
        with contextlib.suppress(InvalidSpecifier):  # "3.11" for one: it is noted
            if not python or SpecifierSet(python).contains(here):
                return
        self._made.notes.append(f"requires-python {python} of {relative}: this is Python {here}")

    def _siblings(self, file: Path) -> dict[str, bool]:
        """Return the modules beside a script, and whether an export of ours made each for its workers."""
        found = {}
        for other in file.parent.iterdir():
            if other.suffix == ".py" and other.is_file() and other != file:
                found[other.stem] = is_shared_module(other.read_text(encoding="utf-8", errors="replace"))
            elif other.is_dir() and any(other.glob("*.py")):
                found[other.name] = False
        return found

    def _take_common(self, file: Path) -> None:
        if file in self._common:
            return
        if any(other.stem == file.stem for other in self._common):
            self.problems.append(f"{file.relative_to(self._root)}: there is another module of its name")
        self._common[file] = []
        relative = file.relative_to(self._root).as_posix()
        reader = self._read(file, relative, None)
        if reader is not None:
            self._common[file] = reader.pieces
            self._sources[f"({file.stem})"] = [(f"{relative}, line {p.line}", p.text) for p in reader.pieces]

    def _take_beside(self, home: Path, module: str) -> None:
        """Have a module of the capability beside the notebook, and the siblings that it imports."""
        names = [f"{module}.py"] if (home / f"{module}.py").is_file() else []
        names += [p.relative_to(home).as_posix() for p in sorted((home / module).rglob("*.py"))]
        siblings = self._siblings(home / f"{module}.py")
        for name in names:
            data = (home / name).read_bytes()
            if name in self._made.beside:
                if self._made.beside[name] != data:
                    both = " and ".join(
                        str((h / name).relative_to(self._root)) for h in (self._homes[name], home)
                    )
                    self.problems.append(f"{both} cannot both go beside the notebook; rename one")
                continue
            self._made.beside[name], self._homes[name] = data, home
            try:
                tree = parse(data.decode("utf-8-sig"))
            except (SyntaxError, UnicodeDecodeError) as exc:
                self.problems.append(_no_python((home / name).relative_to(self._root).as_posix(), exc))
                continue
            self._imported |= imported_modules([tree])
            for node in ast.walk(tree):
                if isinstance(node, ast.ImportFrom) and node.level and "/" not in name:
                    self.problems.append(
                        f"{name}, line {node.lineno}: imports relative to a package, and beside a notebook "
                        f"it has none; import {node.module or 'its siblings'} absolutely"
                    )
            for other in imported_modules([tree]) & siblings.keys() - {module}:
                self._take_beside(home, other)

    # -- other workers ---------------------------------------------------------------------------------

    def _take_program(self, worker: WorkerDefinition) -> None:
        if worker.command is None:
            self.problems.append(f"{MANIFEST_NAME}: worker {worker.name}: there is no file {worker.path}")
            return
        words = [worker.command, *worker.args]
        for number, word in enumerate(words):
            self._refuse_missing(worker.name, word, is_command=number == 0)
        if any(word.endswith(".py") and self._file_in(word) for word in worker.args):
            run = " ".join(words).replace(f"{self._root}/", "")
            self._made.notes.append(
                f"handlers of {worker.name} as cells, and modules beside its file: it runs by `{run}`, "
                "which is more than a script, and so it is one cell as it is"
            )
        where, path = next(((n, p) for n, w in enumerate(words) if (p := self._file_in(w))), (0, None))
        body, options = "# there is no file of its own\n", _words(worker, self._root)
        if path is not None:
            try:
                body = (self._root / path).read_text(encoding="utf-8")
            except UnicodeDecodeError:
                path = None  # a binary: it is no text of a cell, and stays where it is
            else:
                self._taken.append(path)
                if not has_file(body):
                    self.problems.append(f"{path}: has comments alone, and the cell of such a file has none")
                words[where] = "{file}"
                options += ["--file", _quoted(path)] if path != f"workers/{worker.name}" else []
        words = [_rooted(word, self._root) for word in words]
        if words[-1] == "{file}" and not any("{file}" in word for word in words[:-1]) and len(words) > 1:
            words.pop()
        line = " ".join([f"%%worker {worker.name} --command {_quoted(shlex.join(words))}", *options])
        self._of_workers.append(NotebookCell("code", f"{line}\n{body.rstrip()}", worker.name))

    def _refuse_missing(self, worker: str, word: str, *, is_command: bool) -> None:
        """Refuse what names a file of the capability that is not there, or leads out of it."""
        file = Path(self._root, word)
        is_inside = word.startswith(f"{self._root}/") or (
            not Path(word).is_absolute() and (is_command or "/" in word)
        )
        is_named = "/" in word and is_inside and (is_command or file.suffix in _SCRIPTS)
        if is_named and not (file.exists() and file.resolve().is_relative_to(self._root)):
            shown = word.replace(f"{self._root}/", "")
            why = "leads out of the capability" if file.exists() else "is not there"
            self.problems.append(f"{MANIFEST_NAME}: worker {worker}: {shown} {why}")

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
            made = Statements(read)
            for cell in read:
                for statement in made.of(cell):
                    place = sources[cell.cell.number][0].partition(",")[0]
                    needed.setdefault(owner, set()).update(statement.needs)
                    for name in statement.defines:
                        defined.setdefault(name, {})[owner] = place, _meaning(statement.node, name)
        for name, owners in defined.items():
            for other in sorted(needed.keys() - owners.keys()):
                # Names of a module that workers share are meant; those of another script never are.
                if name in needed[other] and not any(owner.startswith("(") for owner in owners):
                    place, _ = next(iter(owners.values()))
                    yield (
                        f"{name!r} is defined in {place}, and {other} means something else by it, which a "
                        "notebook cannot have; rename one"
                    )
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


def _words(worker: WorkerDefinition, root: Path) -> list[str]:
    words = [word for flag in worker.when for word in ("--when", flag)]
    return words + [
        word for k, v in worker.env.items() for word in ("--env", _quoted(f"{k}={_rooted(v, root)}"))
    ]


def _rooted(text: str, root: Path) -> str:
    """Return a text of a manifest as it was written: with the reference in the place of its directory."""
    return text.replace(str(root), ROOT_REFERENCE)


def _quoted(word: str) -> str:
    """Write a word so that the line of a magic keeps it one."""
    return word if re.fullmatch(r"[\w./:=+-]+", word) else repr(word)


def _no_python(path: str, exc: SyntaxError | UnicodeDecodeError) -> str:
    line = f", line {exc.lineno}" if isinstance(exc, SyntaxError) and exc.lineno else ""
    return f"{path}{line}: is no Python: {exc.msg if isinstance(exc, SyntaxError) else exc}"


def _from_source(requirement: str, source: object, home: Path) -> str:
    """Return a requirement with its place, where uv's source names one (PEP 508)."""
    name = re.split(r"[\s<>=!~;@]", requirement, maxsplit=1)[0]
    match source:
        case {"git": git, **more}:
            at = more.get("rev") or more.get("tag") or more.get("branch")
            below = f"#subdirectory={more['subdirectory']}" if more.get("subdirectory") else ""
            return f"{name} @ git+{git}" + (f"@{at}" if at else "") + below
        case {"url": url}:
            return f"{name} @ {url}"
        case {"path": path}:
            return f"{name} @ {Path(home, str(path)).resolve().as_uri()}"
    return requirement
