"""Decides whether a script may run a statement while it is imported, and why not; used by `slice`.

What no table of `knowledge` names may run. An export from a kernel runs the planned script apart, without
network, disk and processes, and so finds what these tables do not know.
"""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from dnworker_jupyter.export.slicing.facts import Call, Facts, facts_of
from dnworker_jupyter.export.slicing.functions import called_by
from dnworker_jupyter.export.slicing.history import History
from dnworker_jupyter.export.slicing.knowledge import (
    DRAWS,
    IMPURE,
    IMPURE_METHODS,
    IMPURE_READERS,
    IN_MEMORY,
    PURE_WITHIN,
    SEEDS,
)
from dnworker_jupyter.export.slicing.statements import Statement


@dataclass(frozen=True)
class Impurity:
    """Why a script must not run a statement: a key of `REMEDIES`, and the code that does it."""

    category: str
    code: str


class Purity:
    """Judges the statements of a history."""

    def __init__(self, history: History) -> None:
        self._history = history
        self._judged: dict[Statement, Impurity | None] = {}
        self._bodies: dict[int, Impurity | None] = {}
        self._seeded = {module: [p for p in range(history.end) if self._seeds(p, module)] for module in DRAWS}

    def why_not(self, statement: Statement) -> Impurity | None:
        """Return why a script must not run a statement; None where it may."""
        if statement not in self._judged:
            self._judged[statement] = self._judge(statement)
        return self._judged[statement]

    def _judge(self, statement: Statement) -> Impurity | None:
        if not statement.ran:
            return Impurity("raised", ast.unparse(statement.node).partition("\n")[0])
        if statement.category == "import":
            return None
        position = self._history.position[statement]
        if (awaited := _awaits(statement.node)) is not None:
            return Impurity("loop", awaited)
        return self._of_facts(statement.facts, position, statement.worker_names)

    def _of_facts(self, facts: Facts, position: int, passed: frozenset[str] = frozenset()) -> Impurity | None:
        for call in facts.calls:
            if call.root in passed:
                continue
            if (category := self._category(call, position)) is not None:
                code = ast.unparse(call.node) if call.node is not None else f"@{call.root}"
                return Impurity(category, code)
            for body in self._bodies_of(call, position):
                if (inner := self._body(body)) is not None:
                    code = ast.unparse(call.node) if call.node is not None else inner.code
                    return Impurity(inner.category, code)
        return None

    def _category(self, call: Call, position: int) -> str | None:
        """Return what a call does that a script must not do; None where that is nothing."""
        dotted = self.dotted(call, position)
        if dotted is None and self._is_of_memory(call, position):
            return None
        if dotted is None:
            found = IMPURE_METHODS.get(call.path[-1]) if call.path else None
            return found or (_reads(call.path) if call.path else None)
        if dotted == "get_ipython":
            return "magic"
        if self._is_of_memory(call, position):
            return None
        if dotted.startswith("sqlite3.connect") and ":memory:" in ast.unparse(call.node or ast.Pass()):
            return None
        if (module := next((m for m in DRAWS if _is_within(dotted, m)), None)) is not None:
            return self._of_draw(call, dotted, module, position)
        method = IMPURE_METHODS.get(dotted.rpartition(".")[2]) if "." in dotted else None
        return _of_name(dotted) or _reads(call.path) or method or None

    def _is_of_memory(self, call: Call, position: int) -> bool:
        """Return whether what a call reads is a text in memory: `pd.read_csv(StringIO(text))`."""
        if call.node is None:
            return False
        read = [
            *call.node.args[:1],
            *([call.node.func.value] if isinstance(call.node.func, ast.Attribute) else []),
        ]
        for one in read:
            values = [one, *(self._history.values(one.id, position) if isinstance(one, ast.Name) else ())]
            for value in values:
                made = facts_of([value]).calls[:1] if isinstance(value, ast.Call) else []
                if any(self.dotted(maker, position) in IN_MEMORY for maker in made):
                    return True
        return False

    def _of_draw(self, call: Call, dotted: str, module: str, position: int) -> str | None:
        name = dotted.removeprefix(f"{module}.")
        if dotted in SEEDS or ((name[:1].isupper() or name == "default_rng") and call.arguments):
            return None
        is_seeded = any(p < position for p in self._seeded[module])
        return None if is_seeded else "varies"

    def _seeds(self, position: int, module: str) -> bool:
        calls = self._history.statements[position].facts.calls
        return any(self.dotted(call, position) in SEEDS & {f"{module}.seed"} for call in calls)

    def draws_in(self, statement: Statement) -> set[str]:
        """Return the modules whose seeded generator a statement, or a function in it, draws from."""
        position = self._history.position[statement]
        found = set()
        for call in facts_of([statement.node], deep=True).calls if self._any_seed else ():
            dotted = self.dotted(call, position) or ""
            found |= {
                m
                for m, seeds in self._seeded.items()
                if seeds and _is_within(dotted, m) and dotted not in SEEDS
            }
        return found

    @property
    def _any_seed(self) -> bool:
        return any(self._seeded.values())

    def draws_at_once(self, position: int) -> set[str]:
        """Return the modules whose seeded generator a statement draws from when it runs."""
        calls = self._history.statements[position].facts.calls if self._any_seed else ()
        names = [self.dotted(call, position) or "" for call in calls]
        return {
            m
            for m, seeds in self._seeded.items()
            if any(_is_within(n, m) and n not in SEEDS for n in names) and any(p < position for p in seeds)
        }

    def dotted(self, call: Call, position: int) -> str | None:
        """Return the dotted name of a builtin or an imported thing, under any name; None for others."""
        if call.root is None:
            return None
        if (imported := self._history.imported_as(call.root, position)) is not None:
            return ".".join((imported, *call.path))
        if call.root in self._history:
            alias = self._history.alias_of(call.root, position)
            return None if alias is None else ".".join((alias, *call.path))
        return ".".join((call.root, *call.path))

    # -- the notebook's own functions ------------------------------------------------------------------

    def _bodies_of(self, call: Call, position: int) -> Iterator[ast.AST]:
        """Go through the functions of the notebook that a call may run."""
        if call.path:
            yield from self._history.methods.get(call.path[-1], ())
        if call.root is None:
            return
        names = [call.root]
        for value in self._history.values(call.root, position):
            names += [n.id for n in ast.walk(value) if isinstance(n, ast.Name) and n.id != call.root]
            yield from [value] if isinstance(value, ast.Lambda) else []
        for name in names:
            definition = self._history.definition(name, position)
            if definition is not None and not (call.path and not isinstance(definition, ast.ClassDef)):
                yield from called_by(definition)

    def _body(self, node: ast.AST) -> Impurity | None:
        """Return what a function of the notebook does that a script must not do while it is imported."""
        if id(node) not in self._bodies:
            self._bodies[id(node)] = None  # a recursive call adds nothing
            body = node.body if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) else [node]
            self._bodies[id(node)] = self._of_facts(facts_of(_at_once(body)), self._history.end)
        return self._bodies[id(node)]


def _at_once(body: Iterable[ast.AST]) -> list[ast.AST]:
    return [part.body if isinstance(part, ast.Lambda) else part for part in body]


def _awaits(node: ast.AST) -> str | None:
    """Return the code that awaits when a statement runs; None where nothing does."""
    waiting = [node]
    while waiting:
        part = waiting.pop()
        if isinstance(part, ast.Await | ast.AsyncFor | ast.AsyncWith):
            return ast.unparse(part).partition("\n")[0]
        if isinstance(part, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            continue
        if isinstance(part, ast.comprehension) and part.is_async:
            return ast.unparse(part)
        waiting += ast.iter_child_nodes(part)
    return None


def _of_name(dotted: str) -> str | None:
    """Return the category of the longest name that begins a dotted one, of those that are known."""
    parts = dotted.split(".")
    for length in range(len(parts), 0, -1):
        name = ".".join(parts[:length])
        if name in PURE_WITHIN:
            return None
        if name in IMPURE:
            # a class or constant of an impure module does nothing yet, except where it is named itself
            is_named = length == len(parts) or length > 1
            return IMPURE[name] if is_named or not _is_plain_name(parts[-1]) else None
    return None


def _is_plain_name(name: str) -> bool:
    """Return whether a name is that of an exception or a constant by its spelling."""
    return name.isupper() or name.endswith(("Error", "Exception", "Warning", "Timeout"))


def _reads(path: tuple[str, ...]) -> str | None:
    return "file" if path and path[-1] in IMPURE_READERS else None


def _is_within(dotted: str, module: str) -> bool:
    return dotted.startswith(f"{module}.")
