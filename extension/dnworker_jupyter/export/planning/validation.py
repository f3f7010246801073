"""Finds problems of a whole export: lost handlers, names of the other SDK, colliding files; for planning."""

from __future__ import annotations

import ast
import re
import sys
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from pathlib import PurePosixPath

from dnworker.capability.manifest import MANIFEST_NAME
from dnworker.core.errors import UsageError
from dnworker.core.handlers import DECORATORS
from dnworker.core.topology import Topology
from dnworker.events.cases import Case
from dnworker.project.record import RECORD
from dnworker_jupyter.export.planning.carried import RULES, names_in_place_of
from dnworker_jupyter.export.planning.local_files import local_code
from dnworker_jupyter.export.planning.render import PROVIDED_NAMES
from dnworker_jupyter.export.planning.types import TargetName
from dnworker_jupyter.export.slicing.cases import read_case
from dnworker_jupyter.export.slicing.cells import SourceCell, options_of
from dnworker_jupyter.export.slicing.imports import calls_that_import, choices_in, dotted_modules
from dnworker_jupyter.export.slicing.problems import ExportProblem
from dnworker_jupyter.export.slicing.programs import has_file
from dnworker_jupyter.export.slicing.requirements import SDK_MODULES, Needs, is_sdk_module
from dnworker_jupyter.export.slicing.shared_module import split_shared
from dnworker_jupyter.export.slicing.slice import Slice
from dnworker_jupyter.export.slicing.statements import Statement


def not_whole(
    slices: Sequence[Slice], sources: Sequence[SourceCell], live: Mapping[str, Collection[str]]
) -> list[ExportProblem]:
    """Refuse workers without handlers, and workers or handlers that run here and that no cell defines."""
    problems = [_without_handlers(p.worker, sources) for p in slices if not (p.handlers or p.is_broken)]
    problems += [problem for p in slices for problem in _not_found(p, live.get(p.worker, ()))]
    found = {p.worker for p in slices}
    problems += [
        ExportProblem(
            f"worker {name!r}",
            "runs here, and no cell that can be read defines it",
            f'use %%worker {name}, or NAME = dn.worker("{name}") at the top level of a cell',
        )
        for name in live
        if name not in found
    ]
    return problems


def _without_handlers(worker: str, sources: Sequence[SourceCell]) -> ExportProblem:
    cell = next((c.cell for c in sources if c.line is not None and c.line.name == worker), None)
    return ExportProblem(f"worker {worker!r}", "has no handlers", "add one, or remove its cell", cell)


def _not_found(piece: Slice, registered: Collection[str]) -> list[ExportProblem]:
    """Refuse a handler that runs here and is registered in a way that the cells do not show.

    What a call or a loop registers is known only when it runs; the proof by value compares all handlers.
    """
    if any(statement.category == "registration" for statement in piece.handlers):
        return []
    found = {getattr(statement.node, "name", "") for statement in piece.handlers}
    return [
        ExportProblem(
            f"worker {piece.worker!r}",
            f"handler {name!r} runs here, and no top-level function with a decorator of the worker is its "
            "definition",
            f"define it that way, in a cell that begins with %%worker {piece.worker}",
        )
        for name in registered
        if name not in found
    ]


def removed_in_part(
    statements: Sequence[Statement], sources: Sequence[SourceCell]
) -> Iterator[ExportProblem]:
    """Refuse cells of which `%worker remove` took out what stands in no statement of its own."""
    whole = {(s.cell.worker, s.cell.cell, s.first_line) for s in statements if s.is_left_out}
    for one in dict.fromkeys(one for cell in sources for one in cell.left_out):
        if (one.worker, one.cell, one.line) in whole:
            continue
        why = f"%worker remove took it out ({one.trigger}), and its cell registers it together with what runs"
        if one.is_alone:
            why = f"%worker remove took it out ({one.trigger}), and no top-level function of its cell is it"
        remedy = "take it out of the cell and run that, or run the cell as it is"
        yield ExportProblem(f"handler {one.name!r}", why, remedy, one.cell, one.line)


def without_a_name(sources: Sequence[SourceCell]) -> Iterator[ExportProblem]:
    """Refuse handlers of a worker that no name is bound to: `@dn.worker("bridge").on_event("a")`."""
    for cell in sources:
        for node in _nodes(cell) if cell.category == "plain" and "orker(" in cell.body else ():
            match node:
                case ast.Attribute(
                    value=ast.Call(
                        func=ast.Attribute(attr="worker" | "Worker"), args=[ast.Constant(value=name)]
                    )
                    | ast.Call(func=ast.Name(id="Worker"), args=[ast.Constant(value=name)]),
                    attr=attr,
                ) if attr in DECORATORS:
                    why = "is given a handler through no name, and a script binds its worker to one"
                    remedy = f"write NAME = {ast.unparse(node.value)}, and @NAME.{attr}"
                    problem = ExportProblem(f"worker {name!r}", why, remedy, cell.cell, node.lineno)
                    yield problem


def _nodes(cell: SourceCell) -> Iterator[ast.AST]:
    try:
        statements = cell.statements
    except SyntaxError:
        return
    for statement in statements:
        yield from ast.walk(statement)


def foreign_imports(statement: Statement, piece: Slice, target: TargetName) -> list[ExportProblem]:
    """Refuse imports from the SDK that the script does not have."""
    node = statement.node
    if isinstance(node, ast.ImportFrom):
        names = [
            (a.name, node.module or "", a.asname or a.name)
            for a in node.names
            if a.name not in PROVIDED_NAMES
        ]
    elif isinstance(node, ast.Import):
        names = [(a.name, a.name, a.asname or a.name.partition(".")[0]) for a in node.names]
    else:
        return []
    found = []
    for name, module, bound in names:
        package = module.partition(".")[0]
        if bound in piece.import_names and is_sdk_module(module) and package != target:
            if isinstance(node, ast.ImportFrom) and module == RULES and target == "dreadnode":
                continue  # the script carries them
            why = f"comes from {package}, which a script for {target} lacks"
            remedy = f"export with --target {package}, or do without it"
            if RULES in (name, f"{module}.{name}"):
                remedy = names_in_place_of(piece, bound)
            found.append(ExportProblem(repr(name), why, remedy, statement.cell.cell, node.lineno))
    return found


def foreign_within(statement: Statement, target: TargetName) -> Iterator[ExportProblem]:
    """Refuse imports within functions and blocks from the SDK that the script does not have.

    Those with an `except ImportError` are left as they are: their author says what happens without it.
    """
    if isinstance(statement.node, ast.Import | ast.ImportFrom):
        return  # at the top level, where the script has its own
    for name in sorted(_foreign(statement.modules[1], target)):
        package = name.partition(".")[0]
        is_rule = name.startswith(f"{RULES}.") and target == "dreadnode"
        remedy = (
            f"import it at the top of a cell: from {RULES} import {name.rpartition('.')[2]}"
            if is_rule
            else f"import it at the top of a cell, or export with --target {package}"
        )
        line = _line_of(name, statement.nodes) or statement.node.lineno
        yield ExportProblem(
            repr(name),
            f"is imported within code, and comes from {package}, which a script for {target} lacks",
            remedy,
            statement.cell.cell,
            line,
        )


def foreign_in_local(needs: Needs, target: TargetName) -> Iterator[ExportProblem]:
    """Refuse local modules, which are exported as they are, that import the SDK that a script lacks."""
    for file, module, tree in local_code(needs):
        for name in sorted(_foreign(choices_in([tree])[1], target))[:1]:
            package = name.partition(".")[0]
            line = _line_of(name, ast.walk(tree))
            yield ExportProblem(
                f"module {module!r}",
                f"imports {name} ({file.name}, line {line}), which comes from {package}, and a script for "
                f"{target} lacks that",
                f"put the code that needs it into a cell, or export with --target {package}",
            )


def _foreign(modules: Collection[str], target: TargetName) -> set[str]:
    return {name for name in modules if is_sdk_module(name) and name.partition(".")[0] != target}


def _line_of(module: str, nodes: Iterable[ast.AST]) -> int | None:
    """Return the line in which code imports a module."""
    importing = (n for n in nodes if isinstance(n, ast.Import | ast.ImportFrom | ast.Call))
    return next((n.lineno for n in importing if module in dotted_modules([n])), None)


def imported_by_value(statement: Statement) -> Iterator[ExportProblem]:
    """Warn of imports whose module is a value: the script may lack its distribution."""
    for node in calls_that_import(statement.node):
        if node.args:
            named = node.args[0]
            if not (isinstance(named, ast.Constant) and isinstance(named.value, str)):
                yield ExportProblem(
                    f"`{ast.unparse(node)}`",
                    "imports what its argument names, which cannot be followed",
                    "import what it may name by a line of its own, so that the script requires it",
                    statement.cell.cell,
                    node.lineno,
                    node.col_offset + 1,
                )


def cases_of_cells(
    sources: Sequence[SourceCell], workers: Sequence[str]
) -> tuple[dict[str, list[Case]], list[ExportProblem]]:
    """Return the cases of each worker, from its `--test` cells, and the cells that are not valid cases."""
    found: dict[str, list[Case]] = {}
    problems: list[ExportProblem] = []
    for cell in sources:
        name = cell.worker
        if cell.category != "test" or name is None:
            continue
        try:
            case = read_case(cell.body)
        except UsageError as exc:
            problems.append(ExportProblem("the test", str(exc), "mend the cell, or remove it", cell.cell))
            continue
        if name in workers:
            if case not in found.setdefault(name, []):  # two cells may have the same case
                found[name].append(case)
        else:
            remedy = "name one of them, or remove the cell"
            why = f"is of worker {name!r}, and the workers with handlers are {', '.join(workers) or 'none'}"
            problems.append(ExportProblem("the test", why, remedy, cell.cell))
    return found, problems


def two_files_in_one(sources: Sequence[SourceCell], workers: Sequence[str]) -> Iterator[ExportProblem]:
    """Refuse a `--file` that another worker or the export itself writes, or that would hide a module."""
    owners: dict[str, str] = {MANIFEST_NAME: "the manifest", RECORD: "the record of the export"}
    latest: dict[str, tuple[SourceCell, str | None]] = {}
    for one in sources:
        if one.line is not None and one.category in ("worker", "program"):
            is_python = one.category == "worker"
            options = options_of(one.line.name, sources) if is_python else one.line.options
            latest[one.line.name] = one, options.file
    for name, (cell, given) in latest.items():
        default = f"workers/{name}.py" if name in workers else f"workers/{name}"
        path = PurePosixPath(given or default).as_posix()
        if path in owners and (cell.category == "worker" or has_file(cell.body)):
            why = f"would be written to {path}, which is {owners[path]}"
            yield ExportProblem(f"worker {name!r}", why, "give it a --file of its own", cell.cell)
        owners[path] = f"the file of worker {name!r}"
        stem = PurePosixPath(path).stem
        hides = stem in sys.stdlib_module_names or stem in SDK_MODULES
        if given and cell.category == "worker" and hides:
            why = f"would be {path}, which hides the module {stem!r} from what lies beside it"
            yield ExportProblem(f"worker {name!r}", why, "give it another --file", cell.cell)


def not_loadable(
    slices: Sequence[Slice], topologies: Mapping[str, Topology], target: TargetName
) -> Iterator[ExportProblem]:
    """Refuse two names for one Worker in-process: the reference would find two Workers (contract 4.7)."""
    for piece in slices:
        if topologies[piece.worker] == "in-process" and target == "dreadnode" and len(piece.names) > 1:
            yield ExportProblem(
                f"worker {piece.worker!r}",
                f"is called {' and '.join(map(repr, piece.names))} in its code, and the reference takes two "
                "names for two workers when it loads one in-process",
                "use one name in its cells, or --topology uv",
                piece.handlers[0].cell.cell if piece.handlers else None,
            )


_KEPT_APART = re.compile(r"cache|memo|lock|_re$|pattern", re.IGNORECASE)
"""Names of what each process may have for itself without anybody noticing."""


def shared_state(slices: Sequence[Slice], topologies: Mapping[str, Topology]) -> Iterator[ExportProblem]:
    """Refuse objects that handlers of one worker change and another worker uses: scripts share nothing.

    Where all workers run in one process, what is in their shared module is one object for all.
    """
    is_one_process = all(topologies[piece.worker] == "in-process" for piece in slices)
    module, _ = split_shared(slices) if is_one_process else (None, [])
    together = set(module.definitions) if module is not None else set()
    users_of: dict[tuple[str, Statement], list[Slice]] = defaultdict(list)
    for piece in slices:
        for one in dict.fromkeys((name, s) for s in piece.definitions for name in s.binds):
            users_of[one].append(piece)
    for (name, statement), users in users_of.items():
        count, changing = len(users), [piece.worker for piece in users if name in piece.surely_changes]
        if count > 1 and changing and statement not in together and not _KEPT_APART.search(name):
            others = [piece.worker for piece in users if piece.worker not in changing]
            too = f", and {' and '.join(others)} uses it too" if others else ""
            yield ExportProblem(
                repr(name),
                f"handlers of {' and '.join(changing)} change it{too}; their scripts would have one each",
                "keep it in one of the workers, and publish what the others need as events",
                statement.cell.cell,
                statement.node.lineno,
            )
