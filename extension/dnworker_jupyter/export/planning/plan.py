"""Plans an export: makes files of cells and writes nothing; used by export.py, disk and check."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import cast

from dnworker.capability.manifest import MANIFEST_NAME, parse_manifest
from dnworker.core.collection import collection_held
from dnworker.core.retry_policies import words_for_worker
from dnworker.core.topology import Topology
from dnworker.events.cases import Case, as_module
from dnworker_jupyter.export.planning.annotations import all_problems
from dnworker_jupyter.export.planning.carried import rules_that_differ
from dnworker_jupyter.export.planning.companions import find_companions
from dnworker_jupyter.export.planning.dependencies import find_dependencies
from dnworker_jupyter.export.planning.files import VENDOR, Files
from dnworker_jupyter.export.planning.lacking import lacking_in, options_of_ours, serve
from dnworker_jupyter.export.planning.leaks import (
    files_beside,
    secrets_in,
    secrets_in_manifest,
    texts_in,
    unique,
)
from dnworker_jupyter.export.planning.manifest import (
    Entry,
    Head,
    manifest_text,
    program_entry,
    read_head,
    worker_entry,
)
from dnworker_jupyter.export.planning.readme import README, readme
from dnworker_jupyter.export.planning.scripts import add_scripts
from dnworker_jupyter.export.planning.types import TargetName
from dnworker_jupyter.export.planning.validation import (
    cases_of_cells,
    imported_by_value,
    not_loadable,
    not_whole,
    removed_in_part,
    shared_state,
    two_files_in_one,
    without_a_name,
)
from dnworker_jupyter.export.planning.wheel import build_wheel, wheel_name
from dnworker_jupyter.export.slicing.asked import Asked, read_asked
from dnworker_jupyter.export.slicing.cells import SourceCell, options_of, read_cells
from dnworker_jupyter.export.slicing.name_problems import too_deep
from dnworker_jupyter.export.slicing.notebook import Notebook
from dnworker_jupyter.export.slicing.plain_python import unfold
from dnworker_jupyter.export.slicing.problems import ExportProblem, NotExportable
from dnworker_jupyter.export.slicing.programs import Program, programs_in
from dnworker_jupyter.export.slicing.requirements import Needs
from dnworker_jupyter.export.slicing.slice import Slice, slice_worker, worker_names
from dnworker_jupyter.export.slicing.statements import Statement, Statements
from dnworker_jupyter.syntax.cell import Cell, LeftOut
from dnworker_jupyter.syntax.options import Options


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
    """What is exported, and perhaps should not be."""
    notes: tuple[str, ...] = ()
    """What else the user should know."""
    keeps_head: bool = False
    """Whether the manifest is the existing one, with other workers."""
    slices: tuple[Slice, ...] = field(default=(), compare=False)
    """What the scripts are made of."""
    shared: str | None = field(default=None, compare=False)
    """The name of the module that the scripts share, if there is one."""


@dataclass(frozen=True)
class Ran:
    """What a kernel knows of cells that ran.

    Args:
        counting: those whose handlers run now, and of programs, tests and heads those that count.
        suspects: names of which also those changes are exported that are not sure, because without them their
            values were other ones; None where nothing is proved, so that of all names what is likely counts.
        left_out: handlers of those cells that `%worker remove` took out.
    """

    counting: Sequence[Cell]
    suspects: Collection[str] | None = ()
    left_out: Sequence[LeftOut] = ()


@dataclass(frozen=True)
class _Request:
    """What plan_export was asked for, as the steps need it."""

    target: TargetName
    topology: Topology
    only: str | None
    registered: Mapping[str, Collection[str]]
    beside: Path | None
    ran: Ran | None
    into: Path | None


@dataclass(frozen=True)
class _Definitions:
    """What the cells define: workers with handlers, and programs."""

    cells: Sequence[SourceCell]
    workers: Sequence[str]
    programs: Mapping[str, Program]
    options: Mapping[str, Options]
    topologies: Mapping[str, Topology]


@dataclass(frozen=True)
class _Contents:
    """What goes into the export, before it is written as text."""

    slices: Sequence[Slice]
    statements: Sequence[Statement]
    """All that the scripts contain, each once."""
    needs: Sequence[Needs]
    """What the script of each slice needs from elsewhere."""
    cases: Mapping[str, list[Case]]
    notes: Sequence[str]
    """What the user should know of what the scripts need."""
    lacking: Mapping[str, Sequence[ExportProblem]]
    """By worker, the uses of what the client of the target does not have."""


@collection_held()
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
    ran: Ran | None = None,
    into: Path | None = None,
) -> Plan:
    """Plan the export of every worker that the cells define.

    Args:
        cells: in the order in which they ran, a cell that ran twice twice; of a file in its order.
        default_name: the capability's name where no `%%capability` cell gives one.
        target: what the scripts import.
        topology: how the manifest runs them.
        only: the one worker to export; None for all.
        registered: the names of the handlers that run live, by worker: each must be found in the cells.
        project: requirements of the project that the notebook belongs to, for their extras.
        beside: the directory of the notebook: what lies there may be a local module, or a file that stays.
        existing: the manifest that is there, of which all but the workers is kept where no `%%capability`
            cell gives a head.
        ran: what a kernel knows of the cells; None for those of a file.
        into: the directory of the export; agents and skills that lie there are not copied to it.

    Raises:
        NotExportable: something cannot be exported; all problems are reported at once.
        ManifestError: the manifest's head breaks a rule.
    """
    request = _Request(target, topology, only, registered or {}, beside, ran, into)
    try:
        defined = _read(cells, request)
        contents = _collect(defined, request, read_asked(cells, project, beside))
        head = read_head(defined.cells, existing, default_name)
        return _as_plan(defined, contents, head, request)
    except RecursionError:
        problem = too_deep(read_cells(cells))
    raise NotExportable([problem])


def _read(cells: Sequence[Cell], request: _Request) -> _Definitions:
    """Return what the cells define.

    Raises:
        NotExportable: there is no worker.
    """
    sources = unfold(_counting(read_cells(cells), request.ran))
    workers = [name for name in worker_names(sources) if request.only in (None, name)]
    programs = programs_in(sources) if request.only is None else {}
    if not workers and not programs:
        remedy = "define one in a cell that begins with %%worker NAME"
        raise NotExportable([ExportProblem("the notebook", "there is no worker", remedy)], code="DN502")
    options = {name: options_of(name, sources) for name in workers}
    topologies = {name: cast(Topology, o.topology or request.topology) for name, o in options.items()}
    return _Definitions(sources, workers, programs, options, topologies)


def _counting(cells: Sequence[SourceCell], ran: Ran | None) -> list[SourceCell]:
    """Return the cells that count; of a worker's cell that was replaced, all but its handlers does."""
    if ran is None:
        return [*cells]
    counting = {_key(cell) for cell in ran.counting}
    found = []
    for cell in cells:
        if _key(cell.cell) in counting:
            gone = tuple(one for one in ran.left_out if _key(one.cell) == _key(cell.cell))
            found.append(replace(cell, left_out=gone))
        elif cell.category in ("plain", "worker"):
            found.append(replace(cell, counts=False))
    return found


def _key(cell: Cell) -> tuple[int, str | None, str]:
    return cell.number, cell.id, cell.source


def _collect(defined: _Definitions, request: _Request, asked: Asked) -> _Contents:
    """Slice the workers and find what their scripts need.

    Raises:
        NotExportable: something cannot be exported.
    """
    ran = request.ran
    suspects = None if ran is None or ran.suspects is None else frozenset(ran.suspects)
    notebook = Notebook(Statements(defined.cells), is_order_of_run=ran is not None, suspects=suspects)
    slices = [slice_worker(notebook, name) for name in defined.workers]
    statements = list(dict.fromkeys(s for p in slices for s in (*p.definitions, *p.handlers)))
    found = find_dependencies(
        slices, defined.topologies, request.target, defined.cells, asked, request.beside
    )
    with_handlers = [piece.worker for piece in slices if piece.handlers]
    cases, not_cases = cases_of_cells(defined.cells, with_handlers) if request.only is None else ({}, [])
    problems = [
        *(problem for piece in slices for problem in piece.problems),
        *not_whole(slices, defined.cells, _live(request)),
        *without_a_name(defined.cells),
        *removed_in_part(notebook.history.statements, defined.cells),
        *_files_that_stay(statements, request.beside),
        *found.problems,
        *not_loadable(slices, defined.topologies, request.target),
        *shared_state(slices, defined.topologies),
        *not_cases,
        *two_files_in_one(defined.cells, defined.workers),
        *(all_problems(slices) if request.target == "dreadnode" else ()),
    ]
    if problems:
        raise NotExportable(problems)
    lacking = {}
    if request.target == "dreadnode":
        lacking = {p.worker: lacking_in(p, n) for p, n in zip(slices, found.needs, strict=True)}
    return _Contents(slices, statements, found.needs, cases, found.notes, lacking)


def _live(request: _Request) -> dict[str, Collection[str]]:
    """Return the handlers that run live, of the workers that are exported."""
    return {n: found for n, found in request.registered.items() if found and request.only in (None, n)}


def _files_that_stay(statements: Sequence[Statement], beside: Path | None) -> list[ExportProblem]:
    texts = texts_in(statements)
    return unique(problem for s in statements for problem in files_beside(s, beside, texts))


def _as_plan(defined: _Definitions, contents: _Contents, head: Head, request: _Request) -> Plan:
    """Make the files.

    Raises:
        NotExportable: two files have one path.
        ManifestError: the manifest breaks a rule.
    """
    files = Files()
    to_complete = [worker for worker, uses in contents.lacking.items() if uses]
    scripts, shared = add_scripts(
        files, contents.slices, contents.needs, head.name, request.target, defined.options, to_complete
    )
    files.put(MANIFEST_NAME, b"", "the manifest")  # its text is known last, and its path is taken first
    _add_tests(files, contents.cases, scripts)
    beside_head = _add_companions(files, head, request)
    executable = _add_programs(files, defined.programs)
    entries = _entries(defined, scripts)
    files[MANIFEST_NAME] = manifest_text(head, entries).encode()
    _add_wheel(files, defined, request.target)
    _add_readme(files, scripts, request)
    if files.collisions:
        raise NotExportable(files.collisions)
    return Plan(
        head.name,
        dict(sorted(files.items())),
        scripts,
        tuple(entries),
        executable=executable,
        warnings=(*beside_head, *_warnings(defined, contents, head, entries, request)),
        keeps_head=head.rest is not None,
        notes=(*_notes(defined, head.name, request), *contents.notes, *_left_out(request.ran)),
        slices=tuple(contents.slices),
        shared=shared,
    )


def _add_readme(files: Files, scripts: Mapping[str, str], request: _Request) -> None:
    """Add the README, unless somebody wrote one without a place for it, or one lies beside the notebook."""
    if request.into is None or README in files:
        return
    manifest = parse_manifest(files[MANIFEST_NAME].decode(), Path("/"), source=MANIFEST_NAME)
    text = readme(manifest, files, scripts, request.into)
    if text is not None:
        files.put(README, text.encode(), "the README")


def _add_tests(files: Files, cases: Mapping[str, list[Case]], scripts: Mapping[str, str]) -> None:
    for name, found in cases.items():
        path = f"tests/test_{name.replace('-', '_')}.py"
        files.put_python(path, as_module(found, name, scripts[name]), f"the tests of {name}")


def _add_companions(files: Files, head: Head, request: _Request) -> list[ExportProblem]:
    """Add the agents, skills and other components beside a `%%capability` cell; returns warnings of them.

    Raises:
        NotExportable: there are too many, or what the cell names is not there.
    """
    if head.cell is None or head.declared is None or request.only is not None:
        return []
    found = find_companions(
        head.cell, head.declared, request.beside, request.into, has_run=request.ran is not None
    )
    if found.problems:
        raise NotExportable(found.problems)
    for path, file in sorted(found.files.items()):
        files.put(path, file.read_bytes(), "a component beside the notebook")
    return found.warnings


def _add_programs(files: Files, programs: Mapping[str, Program]) -> frozenset[str]:
    """Add the files of programs, and return which of them can be run by themselves."""
    executable = set()
    for name, program in programs.items():
        if (file := program.file) is not None:
            files.put(file, program.body.encode(), f"the file of worker {name}")
            command = str(program_entry(program, file)["command"])
            if program.body.startswith("#!") or command.endswith(f"/{file}"):
                executable.add(file)
    return frozenset(executable)


def _entries(defined: _Definitions, scripts: Mapping[str, str]) -> dict[str, Entry]:
    """Return what the manifest says of each worker."""
    entries = {
        name: worker_entry(name, path, defined.topologies[name], defined.options[name])
        for name, path in scripts.items()
    }
    return entries | {name: program_entry(p, p.file) for name, p in defined.programs.items()}


def _add_wheel(files: Files, defined: _Definitions, target: TargetName) -> None:
    """Add a wheel of this framework where a script requires it; an in-process worker has it already."""
    if target == "dnworker" and set(defined.topologies.values()) - {"in-process"}:
        files.put(f"{VENDOR}/{wheel_name()}", build_wheel(), "our wheel")


def _warnings(
    defined: _Definitions,
    contents: _Contents,
    head: Head,
    entries: Mapping[str, Entry],
    request: _Request,
) -> tuple[ExportProblem, ...]:
    def cell_of(worker: str, variable: str) -> Cell | None:
        lines = [(c.cell, c.line) for c in defined.cells if c.line is not None and c.line.name == worker]
        found = [cell for cell, line in lines if not variable or variable in line.options.env]
        return found[-1] if found else None

    raw = head.declared.raw if head.declared is not None else {}
    head_cell = head.cell.cell if head.cell is not None else None
    found = [w for s in contents.statements for w in (*secrets_in(s), *imported_by_value(s))]
    found += [use for uses in contents.lacking.values() for use in uses]
    if request.target == "dreadnode":
        found += [use for piece in contents.slices for use in rules_that_differ(piece)]
    found += options_of_ours(
        defined.options, head.name, request.target, request.into, lambda worker: cell_of(worker, "")
    )
    found += secrets_in_manifest(entries, raw, cell_of, head_cell)
    return tuple(unique([*found, *(w for piece in contents.slices for w in piece.warnings)]))


def _notes(defined: _Definitions, capability: str, request: _Request) -> tuple[str, ...]:
    topologies = [
        f"{name} runs as its cell says: {how}, not {request.topology}"
        for name, how in defined.topologies.items()
        if how != request.topology
    ]
    return (*topologies, *_retries(defined, capability, request.into))


def _retries(defined: _Definitions, capability: str, into: Path | None) -> Iterator[str]:
    """Say which workers are given events again here, which no manifest can say."""
    programs = {name: program.options for name, program in defined.programs.items()}
    for name, options in {**defined.options, **programs}.items():
        if options.retry:
            words = words_for_worker(f"{capability}:{name}", options.retry)
            yield (
                f"{name} is exported without its --retry: a manifest cannot say it, and the reference tries "
                f"nothing again; here it is: {serve(into, '--retry', words)}"
            )


def _left_out(ran: Ran | None) -> Iterator[str]:
    """Say which handlers of exported cells are not exported, as they do not run any more."""
    for one in ran.left_out if ran is not None else ():
        what = f"{one.name} ({one.trigger}) of {one.cell.label}"
        yield f"{one.worker} is without {what}, which %worker remove took out"
