"""Plans an export: cells in, files out, nothing touched."""

from __future__ import annotations

import ast
import shlex
import sys
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePosixPath
from typing import cast

import dnworker
from dnworker.capability.manifest import MANIFEST_NAME, ROOT_REFERENCE, parse_manifest
from dnworker.core.errors import ManifestError, UsageError
from dnworker.events.cases import as_module
from dnworker_jupyter.export.planning import render
from dnworker_jupyter.export.planning.leaks import files_beside, secrets_in, texts_in, unique
from dnworker_jupyter.export.planning.types import TargetName, Topology
from dnworker_jupyter.export.planning.validation import (
    cases_of_cells,
    foreign_imports,
    imported_by_value,
    not_loadable,
    not_whole,
    two_files_in_one,
)
from dnworker_jupyter.export.planning.wheel import build_wheel, wheel_name
from dnworker_jupyter.export.slicing.cells import SourceCell, read_cells
from dnworker_jupyter.export.slicing.imports import imported_modules
from dnworker_jupyter.export.slicing.plain_python import unfold
from dnworker_jupyter.export.slicing.problems import ExportProblem, NotExportable
from dnworker_jupyter.export.slicing.programs import command_words, has_file, program_file
from dnworker_jupyter.export.slicing.requirements import (
    SDK_MODULES,
    Needs,
    resolve,
    wanted_extras,
)
from dnworker_jupyter.export.slicing.shared_module import Script, split_shared
from dnworker_jupyter.export.slicing.slice import Slice, slice_worker, worker_names
from dnworker_jupyter.export.slicing.statements import Statements
from dnworker_jupyter.kernel.cells import Cell
from dnworker_jupyter.syntax.options import Options, WorkerLine

VENDOR = "vendor"


@dataclass(frozen=True)
class Plan:
    """The files of a capability, by their path in it."""

    name: str
    files: dict[str, bytes]
    scripts: dict[str, str]
    """The path of each worker's script."""
    entries: tuple[str, ...] = ()
    """The names of all workers, programs among them."""
    executable: frozenset[str] = frozenset()
    """Of the files those that are programs by themselves."""
    warnings: tuple[ExportProblem, ...] = ()
    """What travels, and perhaps should not."""
    notes: tuple[str, ...] = ()
    """What is to be told beside."""
    keeps_head: bool = False
    """Whether the manifest is the one that was there, with other workers."""


def plan_export(
    cells: Sequence[Cell],
    *,
    default_name: str,
    target: TargetName = "dreadnode",
    topology: Topology = "uv",
    only: str | None = None,
    registered: Mapping[str, Collection[str]] | None = None,
    project: Collection[str] = (),
    beside: Path | None = None,
    existing: str | None = None,
) -> Plan:
    """Plan the export of every worker that the cells define.

    Args:
        cells: in the order of definition; of a name defined twice the last counts.
        default_name: the capability's name where no `%%capability` cell gives one.
        target: what the scripts import.
        topology: how the manifest runs them.
        only: the one worker to export; None for all.
        registered: the names of the handlers that run live, by worker: each must be found in the cells.
        project: requirements of the project that the notebook belongs to, for their extras.
        beside: the directory of the notebook: what lies there may be a local module, or a file that stays.
        existing: the manifest that is there, of which all but the workers is kept where no `%%capability`
            cell gives a head.

    Raises:
        NotExportable: something cannot travel; all of it is told at once.
        ManifestError: the manifest's head breaks a rule.
    """
    sources = unfold(read_cells(cells))
    names = [name for name in worker_names(sources) if only in (None, name)]
    programs = {
        c.line.name: c for c in sources if c.category == "program" and c.line is not None and only is None
    }
    if not names and not programs:
        remedy = "define one in a cell that begins with %%worker NAME"
        raise NotExportable([ExportProblem("the notebook", "there is no worker", remedy)])
    statements = Statements(sources)
    slices = [slice_worker(statements, name) for name in names]
    live = {name: found for name, found in (registered or {}).items() if found and only in (None, name)}
    problems = [problem for piece in slices for problem in piece.problems]
    problems += not_whole(slices, sources, live)
    travelling = dict.fromkeys(s for p in slices for s in (*p.definitions, *p.handlers))
    texts = texts_in(travelling)
    problems += unique(problem for s in travelling for problem in files_beside(s, beside, texts))
    options = {name: _options(sources, name) for name in names}
    own_way = {name: o.topology for name, o in options.items() if o.topology not in (None, topology)}
    topologies = {name: cast(Topology, o.topology or topology) for name, o in options.items()}
    extras = wanted_extras((cell.source for cell in cells), project)
    find = partial(resolve, extras=extras, beside=beside)
    needed = [_needs(piece, topologies[piece.worker], target, find, problems) for piece in slices]
    problems += not_loadable(slices, topologies, target)
    with_handlers = [piece.worker for piece in slices if piece.handlers]
    cases = cases_of_cells(sources, with_handlers, problems) if only is None else {}
    problems += two_files_in_one(sources, names)
    if problems:
        raise NotExportable(problems)
    head = _read_head(sources, existing, default_name)
    files, scripts = _scripts(slices, needed, head.name, target, options)
    files.put(MANIFEST_NAME, b"", "the manifest")
    entries = {name: _entry(name, path, topologies[name], options[name]) for name, path in scripts.items()}
    for name, found in cases.items():
        path = f"tests/test_{name.replace('-', '_')}.py"
        files.put(path, _compiled(as_module(found, name, scripts[name]), path), f"the tests of {name}")
    executable = _add_programs(programs, files, entries)
    manifest = render.manifest(head.text, entries, head.rest)
    checked = parse_manifest(manifest, Path("/"), source=MANIFEST_NAME)
    if broken := [w.problem for w in checked.workers.values() if w.problem is not None]:
        raise ManifestError(broken)
    files[MANIFEST_NAME] = manifest.encode()
    if target == "dnworker" and set(topologies.values()) - {"in-process"}:
        files.put(f"{VENDOR}/{wheel_name()}", build_wheel(), "our wheel")
    if files.collisions:
        raise NotExportable(files.collisions)
    warnings = unique(w for s in travelling for w in (*secrets_in(s), *imported_by_value(s)))
    return Plan(
        head.name,
        dict(sorted(files.items())),
        scripts,
        tuple(entries),
        executable=executable,
        warnings=tuple(warnings),
        keeps_head=head.rest is not None,
        notes=tuple(f"{name} runs as its cell says: {how}, not {topology}" for name, how in own_way.items()),
    )


class Files(dict[str, bytes]):
    """The files of a plan by their paths, each with one owner; what would be two files in one is kept."""

    def __init__(self) -> None:
        super().__init__()
        self.collisions: list[ExportProblem] = []
        self._owners: dict[str, str] = {}

    def put(self, path: str, data: bytes, owner: str) -> None:
        """Add a file; a second owner of its path, or a file in the place of a directory, is a collision."""
        known = self._owners.get(path)
        above = [parent.as_posix() for parent in PurePosixPath(path).parents]
        other = next((p for p in self._owners if p in above or p.startswith(f"{path}/")), None)
        if known is not None and (known != owner or self[path] != data):
            self._collide(path, owner, f"would be written over {known}")
        elif other is not None:
            self._collide(path, owner, f"cannot be there beside {other}, which is {self._owners[other]}")
        self._owners[path] = owner
        self[path] = data

    def _collide(self, path: str, owner: str, why: str) -> None:
        self.collisions.append(
            ExportProblem(path, f"{owner} {why}", "give the worker a --file of its own, or another name")
        )


@dataclass(frozen=True)
class _Head:
    """What stands before the workers of the manifest; and after them, in one that was there."""

    name: str
    text: str
    rest: str | None = None


def _read_head(sources: Sequence[SourceCell], existing: str | None, default_name: str) -> _Head:
    cell = next((c for c in reversed(sources) if c.category == "capability"), None)
    label, first_line, rest = MANIFEST_NAME, 1, None
    if cell is not None:
        text, label, first_line = _without_marker(cell.body), cell.label, 2
    elif existing is not None:
        text, _, rest = render.around_workers(existing)
    else:
        text = _default_head(default_name)
    whole = text + (rest or "")
    declared = parse_manifest(whole, Path("/"), is_head=True, source=label, first_line=first_line)
    if declared.workers:
        raise ManifestError([f"{label}: workers come from %%worker cells; take the workers: block out"])
    return _Head(declared.name, text, rest)


def _scripts(
    slices: Sequence[Slice],
    needed: Sequence[Needs],
    capability: str,
    target: TargetName,
    options: Mapping[str, Options],
) -> tuple[Files, dict[str, str]]:
    """Return the files of the workers, and the path of each worker's script."""
    files = Files()
    modules = {name for needs in needed for name in (*needs.modules, *needs.local)}
    paths = {p.worker: options[p.worker].file or _script_path(p.worker, modules) for p in slices}
    homes = {PurePosixPath(path).parent for path in paths.values()}
    common, sources = split_shared(slices) if len(homes) == 1 else (None, [*map(Script, slices)])
    shared = None
    if common is not None:
        shared = _common_name(capability, modules, [PurePosixPath(path).stem for path in paths.values()])
        local = {name for needs in needed for name in needs.local}
        path = (homes.pop() / f"{shared}.py").as_posix()
        text = render.shared_module(common, _target(target), local)
        files.put(path, _compiled(text, path), "what several workers share")
    for source, needs in zip(sources, needed, strict=True):
        path = paths[source.piece.worker]
        asked = needs.requirements.values()
        text = render.script(source, _target(target), asked, _requires_python(), shared, needs.local.keys())
        files.put(path, _compiled(text, path), f"the script of worker {source.piece.worker}")
        for name, data in _bundle(needs, PurePosixPath(path).parent).items():
            files.put(name, data, "a module beside the notebook")
    return files, paths


def _compiled(text: str, path: str) -> bytes:
    """Return a text to write: what we write is Python, or we do not write it."""
    compile(text, path, "exec", dont_inherit=True)
    return text.encode()


def _add_programs(
    programs: Mapping[str, SourceCell], files: Files, entries: dict[str, dict[str, object]]
) -> frozenset[str]:
    """Add the workers that are programs, and return which of their files can be run by themselves."""
    executable = set()
    for name, cell in programs.items():
        assert cell.line is not None
        file = program_file(cell.line).as_posix() if has_file(cell.body) else None
        entries[name] = _program_entry(cell.line, file)
        if file is not None:
            files.put(file, cell.body.encode(), f"the file of worker {name}")
            if cell.body.startswith("#!") or str(entries[name]["command"]).endswith(f"/{file}"):
                executable.add(file)
    return frozenset(executable)


def _program_entry(line: WorkerLine, path: str | None) -> dict[str, object]:
    assert line.command is not None
    words = shlex.split(line.command)
    command, *args = words if path is None else command_words(words, f"{ROOT_REFERENCE}/{path}")
    entry: dict[str, object] = {"command": command} | ({"args": args} if args else {})
    if line.options.env:
        entry["env"] = dict(line.options.env)
    if line.options.when:
        entry["when"] = list(line.options.when)
    return entry


def _common_name(capability: str, modules: set[str], workers: Collection[str]) -> str:
    """Return the name of the module that several scripts share; nothing else must have it."""
    name = f"{capability.replace('-', '_')}_shared"
    name = name if name.isidentifier() else f"_{name}"  # a capability may begin with a digit
    while name in modules or name in workers:
        name += "_"
    return name


def _script_path(worker: str, modules: set[str]) -> str:
    """Return the script's path; its name must not shadow a module that one of the scripts imports.

    Those that its SDK imports are among them: Python looks beside a script first.
    """
    taken = worker in sys.stdlib_module_names or worker in modules or worker in SDK_MODULES
    return f"workers/{worker}-worker.py" if taken else f"workers/{worker}.py"


def _needs(
    piece: Slice,
    topology: Topology,
    target: TargetName,
    find: Callable[..., Needs],
    problems: list[ExportProblem],
) -> Needs:
    """Return what the script needs from elsewhere; what nobody can have is added to `problems`."""
    importing = {
        name: statement
        for statement in piece.imports
        for name in imported_modules([_only_used(statement.node, piece)])
    }
    code = (*piece.definitions, *piece.handlers)
    importing |= {name: statement for statement in code for name in statement.modules[1]}
    choices = {choice for statement in code for choice in statement.modules[0]}
    needs = find(importing, choices)
    importing |= {name: s for s in code for pair in s.modules[0] for part in pair for name in part}

    def refuse(name: str, why: str, remedy: str) -> ExportProblem:
        by = importing.get(name)  # none for what a local module imports
        cell, line = (by.cell.cell, by.node.lineno) if by is not None else (None, None)
        return ExportProblem(f"module {name!r}", why, remedy, cell, line)

    problems += [
        refuse(name, "is not installed here, so its distribution is unknown", "install it")
        for name in sorted(needs.unknown)
    ]
    problems += [
        refuse(name, f"is a file of yours, and no Python: {why}", "mend it")
        for name, why in needs.broken.items()
    ]
    for statement in piece.imports:
        problems += foreign_imports(statement, piece, target)
    if topology == "in-process":
        by_top_level = {a.name for s in piece.imports if isinstance(s.node, ast.Import) for a in s.node.names}
        by_top_level |= {
            (s.node.module or "").partition(".")[0]
            for s in piece.imports
            if isinstance(s.node, ast.ImportFrom)
        }
        problems += [
            refuse(
                name,
                f"it is a file of yours ({file}), and an in-process worker of the reference can import such "
                "a one only by its own name, at the top level",
                "use --topology uv, or put its code into a %%worker NAME --shared cell",
            )
            for name, file in needs.local.items()
            if name in needs.inner or name not in by_top_level
        ]
    return needs


def _only_used(node: ast.stmt, piece: Slice) -> ast.stmt:
    """Leave out of an import what the script does not use of it."""
    if isinstance(node, ast.Import):
        return ast.Import(
            [a for a in node.names if (a.asname or a.name.partition(".")[0]) in piece.import_names]
        )
    return node


def _bundle(needs: Needs, home: PurePosixPath) -> dict[str, bytes]:
    """Return local modules as siblings of a script in the directory `home`."""
    files: dict[str, bytes] = {}
    for file in needs.local.values():
        if file.is_dir():
            for one in sorted(file.rglob("*.py")):
                files[(home / file.name / one.relative_to(file).as_posix()).as_posix()] = one.read_bytes()
        else:
            files[(home / file.name).as_posix()] = file.read_bytes()
    return files


def _entry(name: str, path: str, topology: Topology, options: Options) -> dict[str, object]:
    script = f"{ROOT_REFERENCE}/{path}"
    entry: dict[str, object]
    match topology:
        case "uv":
            entry = {"command": "uv", "args": ["run", script]}
        case "python":
            entry = {"command": "python", "args": [script]}
        case "in-process":
            if options.env:
                raise UsageError(
                    f"worker {name!r}: --env needs a process of its own: --topology uv or python"
                )
            entry = {"path": path}
    if options.env:
        entry["env"] = dict(options.env)
    if options.when:
        entry["when"] = list(options.when)
    return entry


def _options(sources: Sequence[SourceCell], worker: str) -> Options:
    """Return what the last cell of the worker says of it."""
    own = [c for c in sources if c.category == "worker"]  # a test says nothing of its worker
    lines = [c.line for c in own if c.line is not None and c.line.name == worker]
    return lines[-1].options


def _target(name: TargetName) -> render.Target:
    if name == "dreadnode":
        return render.Target(render.SDK_MODULE, render.SDK_REQUIREMENT)
    wheel = f'dnworker = {{ path = "../{VENDOR}/{wheel_name()}" }}'
    return render.Target("dnworker", f"dnworker>={dnworker.__version__}", (wheel,))


def _requires_python() -> str:
    return f">={sys.version_info.major}.{sys.version_info.minor}"


def _without_marker(head: str) -> str:
    """Take out the `---` that may begin a YAML document: `schema` is put before it."""
    lines = head.splitlines()
    first = next((n for n, line in enumerate(lines) if line.strip() and not line.startswith("#")), None)
    if first is not None and lines[first].strip() == "---":
        lines[first] = "#"
    return "\n".join(lines) + "\n"


def _default_head(name: str) -> str:
    return f"name: {name}\nversion: 0.1.0\ndescription: Workers exported from a notebook\n"
