"""What is found of a slice once it is made: what it binds, what it leaves out; used by `slice`."""

from __future__ import annotations

import ast
from collections.abc import Collection, Iterator, Sequence

from dnworker_jupyter.export.slicing.changes import MODULE, Strength
from dnworker_jupyter.export.slicing.layout import Layout
from dnworker_jupyter.export.slicing.name_problems import late_future, lost_effect
from dnworker_jupyter.export.slicing.nodes import find, text_constants
from dnworker_jupyter.export.slicing.notebook import Notebook
from dnworker_jupyter.export.slicing.problems import ExportProblem
from dnworker_jupyter.export.slicing.statements import STAR, Statement


def exported_names(notebook: Notebook, layout: Layout, imported: Collection[str]) -> frozenset[str]:
    """Return the names that the script binds as the notebook did at last; of imports those that it uses."""
    history = notebook.history
    chosen = {history.position[s] for s in (*layout.imports, *layout.body)}
    statements = (*layout.imports, *layout.body)
    names = {n for s in statements for n in history.bound_by(s) if s.category != "import" or n in imported}
    names.discard(STAR)
    return frozenset(
        name for name in names if (last := history.resolve(name, history.end)) and chosen.issuperset(last)
    )


def omitted(notebook: Notebook, body: Sequence[Statement]) -> dict[str, Statement]:
    """Return for each name the first statement that is not exported and may have changed its object."""
    history, chosen = notebook.history, set(body)
    found: dict[str, Statement] = {}
    for name in sorted({name for statement in body for name in history.bound_by(statement)}):
        for first in history.resolve(name, history.end)[:1]:  # the others are in the same group
            group = notebook.sharers.group((name, first))
            changing = {p for p, _ in notebook.events.get(group, ())}.union(notebook.unfollowed)
            later = (history.statements[p] for p in sorted(changing) if p > first)
            missing = next((s for s in later if s not in chosen and not s.is_handler), None)
            if missing is not None:
                found[name] = missing
    return found


def changed_by_handlers(notebook: Notebook, body: Sequence[Statement]) -> frozenset[str]:
    """Return the names of a slice whose object a handler may change when it runs."""
    history, end = notebook.history, notebook.history.end
    groups = {
        notebook.sharers.group(version)
        for name in notebook.changed_by_handlers
        for version in history.versions(name, end)
    }
    names = {name for statement in body for name in history.bound_by(statement)}
    return frozenset(
        name
        for name in names
        if any(notebook.sharers.group(v) in groups for v in history.versions(name, end))
    )


def state_set_elsewhere(
    notebook: Notebook, worker: str, aliases: Collection[str], taken: Collection[Statement]
) -> Iterator[ExportProblem]:
    """Warn of statements in other cells that filled the worker's state: a script does not run them."""
    for statement, changed in notebook.of_states:
        if statement in taken:
            continue
        is_of_worker = any(
            path[-1:] == ("state",) and (root in ("worker", *aliases) or path[:1] == ("worker",))
            for root, path in changed
        )
        is_by_name = any(path[:1] == ("worker",) for _, path in changed)
        if is_of_worker and (not is_by_name or worker in text_constants(statement.node)):
            yield lost_effect(statement, worker, None)


def run_from_text(notebook: Notebook, worker: str, taken: Collection[Statement]) -> Iterator[ExportProblem]:
    """Warn of code of a file that ran from a text, such as `exec(text)`: what it changed is not known."""
    for position in notebook.unfollowed if notebook.suspects is None else ():
        statement = notebook.history.statements[position]
        calls = [c.node for c in statement.facts.calls if c.root == "exec" and c.node is not None]
        if statement not in taken and any(not isinstance(c.args[0], ast.Constant) for c in calls if c.args):
            yield lost_effect(statement, worker, notebook.purity.why_not(statement))


def annotations_made_text(notebook: Notebook, body: Sequence[Statement]) -> Iterator[ExportProblem]:
    """Warn of definitions that ran before annotations became text, which they are in all of a script."""
    if not any(s.future for s in body):
        return
    late = (s for s in notebook.history.statements if s.future and _imports_annotations(s))
    if (future := next(late, None)) is not None:
        for statement in body:
            if not statement.future and statement.category == "definition" and _has_annotations(statement):
                yield late_future(statement, future)


def _imports_annotations(statement: Statement) -> bool:
    node = statement.node
    return (
        isinstance(node, ast.ImportFrom) and node.module == "__future__" and "annotations" in statement.binds
    )


def _has_annotations(statement: Statement) -> bool:
    functions = find(statement.node, ast.FunctionDef, ast.AsyncFunctionDef)
    parameters = find(statement.node, ast.arg)
    is_class = isinstance(statement.node, ast.ClassDef) and bool(find(statement.node, ast.AnnAssign))
    return is_class or any(f.returns for f in functions) or any(p.annotation for p in parameters)


def touched(notebook: Notebook, statement: Statement) -> frozenset[str]:
    """Return the names that a statement binds, or whose object it surely changes."""
    changed = notebook.changes.of(notebook.history.position[statement])
    surely = {name for name, strength in changed.items() if strength is Strength.SURE}
    return frozenset(statement.binds) | {name for name in surely if not name.startswith(MODULE)}
