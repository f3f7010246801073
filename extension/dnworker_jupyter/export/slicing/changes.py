"""Finds which names' objects, and which modules, each statement may change in place; used by `slice`.

Calls are followed into the functions, classes and methods of the notebook. How sure a change is, is a
`Strength`: an export from a kernel takes what surely changes an object, and more only where the proof by
value asks for it; an export of a file takes more.
"""

from __future__ import annotations

import ast
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import IntEnum

from dnworker_jupyter.export.slicing.facts import Call, Facts, dotted
from dnworker_jupyter.export.slicing.functions import (
    bases,
    body_of,
    called_by,
    holds,
    keeps_state,
    with_default,
)
from dnworker_jupyter.export.slicing.history import Definition, History
from dnworker_jupyter.export.slicing.installed import has_no_distribution
from dnworker_jupyter.export.slicing.knowledge import (
    CHANGING_FUNCTIONS,
    CHANGING_METHODS,
    DRAWING_METHODS,
    ITERATORS,
    KEEP_A_PLACE,
    LOOKING_FUNCTIONS,
    LOOKING_METHODS,
    LOOKING_MODULES,
    LOOKING_PREFIXES,
    METHODS_BY_CLASS,
    PLAIN_BASES,
)
from dnworker_jupyter.export.slicing.nodes import find
from dnworker_jupyter.export.slicing.reads import Function
from dnworker_jupyter.export.slicing.statements import Statement

MODULE = "module "
"""Begins the names that stand for modules among those that are changed: `"module random.seed"`."""
_WITH_A_SUBCLASS = ("__init_subclass__", "__new__", "__init__")
"""Methods that may run when a subclass is defined; the last two those of a metaclass."""

_OF_LOGGERS = frozenset({"setLevel", "addHandler", "addFilter", "removeHandler", "propagate", "disabled"})
_GLOBAL_OBJECTS = (
    *("decimal.getcontext", "logging.getLogger"),
    *("unittest.mock.patch", "unittest.mock.patch.object", "unittest.mock.patch.dict"),
)
"""Functions that return what is, or changes, an object of the whole process: to use it is an effect."""


class Strength(IntEnum):
    """How sure it is that code changes an object."""

    PERHAPS = 1
    """It is given to a call whose result is used."""
    LIKELY = 2
    """It is given to a call, or is the object of a method, whose result is not used."""
    SURE = 3
    """Its item or attribute is assigned, or the name of what is called says so."""


Changed = dict[str, Strength]


@dataclass
class Summary:
    """What a call of a function changes."""

    parameters: tuple[str, ...] = ()
    changes: Changed = field(default_factory=dict)
    """Global names, and those of parameters."""


def _add(to: Changed, name: str, strength: Strength) -> None:
    to[name] = max(strength, to.get(name, strength))


class Changes:
    """What the statements of a history change."""

    def __init__(self, history: History) -> None:
        self._history = history
        self._summaries: dict[int, Summary] = {}
        self._found: dict[int, Changed] = {}
        bodies = {id(s.cell): s.cell.body for s in history.statements}
        self.asks_for_subclasses = any("__subclasses__" in body for body in bodies.values())
        """Whether code of the notebook asks a class for its subclasses."""

    def of(self, position: int) -> Mapping[str, Strength]:
        """Return the names whose objects a statement may change; modules are `MODULE` and their name."""
        if position not in self._found:
            statement = self._history.statements[position]
            found = self._of_facts(statement.facts, position, frozenset())
            if not statement.ran:  # what it did until it raised is not known
                found = dict.fromkeys(found, Strength.PERHAPS)
            self._add_hidden(found, statement, position)
            self._add_aliased(found, statement, position)
            if isinstance(statement.node, ast.ClassDef):
                self._add_subclass(found, statement.node, position)
            self._found[position] = found
        return self._found[position]

    def _add_hidden(self, found: Changed, statement: Statement, position: int) -> None:
        """Note what properties and special methods change, such as `__enter__`, which no call shows."""
        for name in statement.reads_at_once if self._history.hidden else ():
            made = {name}
            for value in self._history.values(name, position):
                made |= {n.id for n in ast.walk(value) if isinstance(n, ast.Name)}
            for class_name in made & self._history.hidden.keys():
                for method in self._history.hidden[class_name]:
                    summary = self.summary(method, position)
                    for changed, strength in summary.changes.items():
                        _add(
                            found,
                            name if changed in summary.parameters else changed,
                            Strength(min(strength, 2)),
                        )

    def _add_aliased(self, found: Changed, statement: Statement, position: int) -> None:
        """Note what is changed of modules under other names, `env = os.environ`, or those of a loop."""
        names = [n for n, s in found.items() if s is Strength.SURE and not n.startswith(MODULE)]
        loops = find(statement.node, ast.For) if names else []
        items = [(dotted(loop.target)[0], item) for loop in loops for item in getattr(loop.iter, "elts", ())]
        for name in names:
            of_loops = [self._history.imported_by(item, position) for root, item in items if root == name]
            for imported in filter(None, [self._history.alias_of(name, position), *of_loops]):
                _add(found, MODULE + imported, Strength.SURE)

    def of_call(self, statement: Statement, least: Strength = Strength.PERHAPS) -> set[str]:
        """Return the global names whose objects the functions in a statement change when they are called."""
        found: set[str] = set()
        for node in find(statement.node, ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda):
            summary = self.summary(node, self._history.end)
            changed = {name for name, strength in summary.changes.items() if strength >= least}
            found |= changed - set(summary.parameters)
        return found

    def _of_facts(self, facts: Facts, position: int, local: frozenset[str]) -> Changed:
        """Return what code changes; `local` are names of a function, which are not looked up."""
        found: Changed = {}
        for store in facts.stores:
            strength = Strength.SURE if store.is_sure else Strength.LIKELY
            self._note(found, store.root, store.path, strength, position, local)
        for name in facts.iterated:
            _add(found, name, self._of_iteration(name, position, local))
        for call in facts.calls:
            self._call(found, call, position, local)
            self._functions_given(found, call, position, local)
        for name in facts.global_binds:
            _add(found, name, Strength.SURE)
        return found

    def _of_iteration(self, name: str, position: int, local: frozenset[str]) -> Strength:
        """Return how sure it is that to go through a name's object uses it up."""
        if name in local:
            return Strength.PERHAPS
        for value in self._history.values(name, position):
            if isinstance(value, ast.GeneratorExp):
                return Strength.SURE
            if isinstance(value, ast.Call):
                root, path = dotted(value.func)
                made = self._history.definition(root, position) if root is not None else None
                imported = self._history.imported_as(root, position) if root is not None else None
                if (root in ITERATORS and not path) or (imported or "").startswith("itertools"):
                    return Strength.SURE
                if made is not None and any(isinstance(n, ast.Yield | ast.YieldFrom) for n in ast.walk(made)):
                    return Strength.SURE
        return Strength.PERHAPS

    def _note(
        self,
        found: Changed,
        root: str,
        path: tuple[str, ...],
        strength: Strength,
        position: int,
        local: frozenset[str],
    ) -> None:
        """Note that the object behind a name changes: where the name is imported, that a module does."""
        imported = None if root in local else self._history.imported_as(root, position)
        if imported is not None:
            _add(found, MODULE + ".".join((imported, *path)), strength)
            return
        _add(found, root, strength)
        if root in local:
            return
        for value in self._history.values(root, position):
            if isinstance(value, ast.Call) and isinstance(value.func, ast.Name):
                definition = self._history.definition(value.func.id, position)
                if "__class__" in path or holds(definition, path):
                    _add(found, value.func.id, strength)
        if strength is Strength.LIKELY and (imported := self._history.alias_of(root, position)) is not None:
            _add(found, MODULE + ".".join((imported, *path)), strength)
        for value in self._history.values(root, position):  # `log = logging.getLogger()` is of the process
            made = self._history.made_by(value, position)
            if made in _GLOBAL_OBJECTS and (made != "logging.getLogger" or _OF_LOGGERS & set(path)):
                _add(found, MODULE + ".".join((made, *path)), strength)

    # -- calls -----------------------------------------------------------------------------------------

    def _call(self, found: Changed, call: Call, position: int, local: frozenset[str]) -> None:
        root = call.root
        if call.node is not None and isinstance(call.node.func, ast.Lambda):
            self._apply(found, call, self.summary(call.node.func, position))
        elif root is None or root in local:
            self._method(found, call, position, local)
        elif (imported := self._history.imported_as(root, position)) is not None:
            self._imported(found, call, ".".join((imported, *call.path)))
        elif root not in self._history and root in METHODS_BY_CLASS and call.path:
            strength = Strength.SURE if call.path[-1] in CHANGING_METHODS else Strength.PERHAPS
            self._arguments(found, call, strength, only=(0,))
        elif root not in self._history and not call.path:
            self._builtin(found, call, root, position, local)
        elif (
            root not in self._history and (dotted_name := ".".join((root, *call.path))) in CHANGING_FUNCTIONS
        ):
            self._arguments(found, call, Strength.SURE, only=CHANGING_FUNCTIONS[dotted_name])
        elif call.path:
            self._method(found, call, position, local)
        elif (definition := self._history.definition(root, position)) is not None:
            self._defined(found, call, definition, position)
        else:
            self._value(found, call, position)

    def _functions_given(self, found: Changed, call: Call, position: int, local: frozenset[str]) -> None:
        """Note what the functions change that a call is given, such as the target of a thread."""
        given = {name for _, names in call.arguments for name in names - local}
        for name in given if call.node is not None else ():
            definition = self._history.definition(name, position)
            lambdas = [v for v in self._history.values(name, position) if isinstance(v, ast.Lambda)]
            for function in (*lambdas, *(called_by(definition) if definition is not None else ())):
                summary = self.summary(function, position)
                for changed in summary.changes.keys() - set(summary.parameters):
                    _add(found, changed, Strength.LIKELY)
                if summary.changes.keys() & set(summary.parameters):  # map(bump, items)
                    self._arguments(found, call, Strength.LIKELY)

    def _arguments(
        self, found: Changed, call: Call, strength: Strength, only: Iterable[int | str] | None = None
    ) -> None:
        for key, names in call.arguments:
            if only is None or key in only:
                for name in names:
                    _add(found, name, strength)

    def _builtin(self, found: Changed, call: Call, name: str, position: int, local: frozenset[str]) -> None:
        if name in CHANGING_FUNCTIONS:
            self._arguments(found, call, Strength.SURE, only=CHANGING_FUNCTIONS[name])
        if name in LOOKING_FUNCTIONS:
            for given in {given for _, names in call.arguments for given in names}:
                _add(found, given, self._of_iteration(given, position, local))
        else:
            self._arguments(found, call, _of_unknown(call))

    def _imported(self, found: Changed, call: Call, dotted: str) -> None:
        changed = CHANGING_FUNCTIONS.get(dotted)
        is_looking = dotted.partition(".")[0] in LOOKING_MODULES
        if changed is not None:
            self._arguments(found, call, Strength.SURE, only=changed)
        elif dotted.rpartition(".")[2] in CHANGING_METHODS and (
            (call.path and dotted.count(".") > 1) or has_no_distribution(dotted)
        ):
            _add(found, MODULE + dotted, Strength.SURE)
        else:
            self._arguments(found, call, Strength.PERHAPS if is_looking else _of_unknown(call))
        if call.is_discarded and (call.node is not None or has_no_distribution(dotted)):
            _add(found, MODULE + dotted, Strength.LIKELY)

    def _method(self, found: Changed, call: Call, position: int, local: frozenset[str]) -> None:
        method = call.path[-1] if call.path else ""
        defined = self._history.methods.get(method, ())
        strength: Strength | None = _of_unknown(call)
        if call.node is None or method in CHANGING_METHODS or method in DRAWING_METHODS:
            strength = Strength.SURE
        elif method in LOOKING_METHODS or method.startswith(LOOKING_PREFIXES):
            strength = None
        for node in defined:
            summary = self.summary(node, position)
            own = summary.parameters[0] if summary.parameters else ""
            if own in summary.changes:
                strength = max(strength or Strength.PERHAPS, summary.changes[own])
            self._apply(found, call, summary, skip=1)
        if strength is None:
            return
        if call.root is not None and call.root not in local:
            made = self._history.makers(call.root, position)
            strength = strength if KEEP_A_PLACE.isdisjoint(made) else Strength.SURE
            self._functions_of(found, call, position)
        if call.root is not None:
            self._note(found, call.root, call.path, strength, position, local)
        if method not in CHANGING_METHODS and not defined and call.node is not None:
            self._arguments(found, call, Strength.PERHAPS)

    def _functions_of(self, found: Changed, call: Call, position: int) -> None:
        """Note what the functions change that an object was given, where one like a thread calls them."""
        assert call.root is not None
        if call.path[-1:] not in [("start",), ("run",), ("join",), ("result",)]:
            return
        for value in self._history.values(call.root, position):
            for part in ast.walk(value):
                name = part.id if isinstance(part, ast.Name) else ""
                definition = (
                    part if isinstance(part, ast.Lambda) else self._history.definition(name, position)
                )
                if isinstance(definition, Function | ast.Lambda):
                    summary = self.summary(definition, position)
                    for changed in summary.changes.keys() - set(summary.parameters):
                        _add(found, changed, summary.changes[changed])

    def _defined(self, found: Changed, call: Call, definition: Definition, position: int) -> None:
        if not isinstance(definition, ast.ClassDef):
            summary = self.summary(definition, position)
            self._apply(found, call, summary)
            self._own_state(found, call, definition, summary, position)
            return
        for inner in called_by(definition):
            summary = self.summary(inner, position)
            self._apply(found, call, summary, skip=1)
            if inner.name == "__new__" and call.root and summary.changes.keys() & {*summary.parameters[:1]}:
                _add(found, call.root, Strength.SURE)  # it keeps its objects in the class

    def _own_state(
        self, found: Changed, call: Call, definition: Function, summary: Summary, position: int
    ) -> None:
        """Note that a call changes the function itself: a default of it, or what its decorators keep."""
        if call.root is None:
            return
        if summary.changes.keys() & with_default(definition.args):
            _add(found, call.root, Strength.SURE)
        for decorator in definition.decorator_list:
            name = dotted(decorator)[0]
            made = self._history.definition(name, position) if name is not None else None
            if made is not None and made is not definition:
                self._made_by(found, call, made, position)

    def _made_by(self, found: Changed, call: Call, maker: Definition, position: int) -> None:
        """Note what the call of an object changes that a function or class of the notebook has made."""
        assert call.root is not None
        if isinstance(maker, ast.ClassDef):
            inner = [n for n in maker.body if isinstance(n, Function) and n.name == "__call__"]
            summaries = [self.summary(node, position) for node in inner]
            if any(s.changes.keys() & set(s.parameters[:1]) for s in summaries):
                _add(found, call.root, Strength.SURE)
        else:
            summaries = [self.summary(maker, position)]
            if keeps_state(maker):
                _add(found, call.root, Strength.SURE)
        for summary in summaries:
            for name in summary.changes.keys() - set(summary.parameters):
                _add(found, name, summary.changes[name])

    def _value(self, found: Changed, call: Call, position: int) -> None:
        """Note what the call of a name may do that is bound to some value, such as `f = cache(g)`."""
        self._arguments(found, call, _of_unknown(call))
        assert call.root is not None
        _add(found, call.root, _of_unknown(call))
        for value in self._history.values(call.root, position):
            if isinstance(value, ast.Lambda):
                self._apply(found, call, self.summary(value, position))
            if isinstance(value, ast.Attribute) and value.attr in CHANGING_METHODS:  # push = a.append
                _add(found, call.root, Strength.SURE)
            for part in ast.walk(value):
                if isinstance(part, ast.Name) and part.id != call.root:
                    definition = self._history.definition(part.id, position)
                    if definition is not None:
                        self._defined(found, call._replace(root=None), definition, position)
                        self._made_by(found, call, definition, position)

    def _apply(self, found: Changed, call: Call, summary: Summary, skip: int = 0) -> None:
        """Note what a call changes, by what the called function does with its parameters and global names."""
        parameters = set(summary.parameters)
        for name, strength in summary.changes.items():
            if name not in parameters:
                _add(found, name, strength)
        for key, names in call.arguments:
            parameter = key
            if isinstance(key, int):
                place = key + skip
                parameter = summary.parameters[place] if place < len(summary.parameters) else "*"
            if (changed := summary.changes.get(str(parameter))) is not None:
                for name in names:
                    _add(found, name, changed)

    # -- functions -------------------------------------------------------------------------------------

    def summary(self, node: ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda, position: int) -> Summary:
        """Return what a call of a function changes, by its parameters' names and global ones."""
        if id(node) not in self._summaries:
            self._summaries[id(node)] = Summary()  # a recursive call adds nothing
            self._summaries[id(node)] = self._summarize(node, position)
        return self._summaries[id(node)]

    def _summarize(self, node: ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda, position: int) -> Summary:
        facts, parameters, local, held = body_of(node)
        found = self._of_facts(facts, self._history.end, local.union(parameters))
        changes: Changed = {}
        for name, strength in found.items():
            if name not in local or name in parameters:
                _add(changes, name, strength)
            for source, is_sure in held.get(name, {}).items():
                _add(changes, source, strength if is_sure else Strength.PERHAPS)
        return Summary(parameters, changes)

    def _add_subclass(self, found: Changed, node: ast.ClassDef, position: int) -> None:
        """Note what a subclass does to its base: it is in `__subclasses__()`, or registers itself."""
        for root, path in map(dotted, node.bases):  # a module beside the notebook may keep its subclasses
            imported = self._history.imported_as(root, position) if root is not None else None
            if imported is not None and has_no_distribution(imported):
                _add(found, MODULE + ".".join((imported, *path)), Strength.LIKELY)
        for name in bases(node):
            if self._history.imported_as(name, position) is None:
                strength = self._of_base(found, name, position, set())
                if strength is not None:
                    _add(found, name, strength)

    def _of_base(self, found: Changed, name: str, position: int, seen: set[str]) -> Strength | None:
        """Return how sure it is that a class knows its subclasses; notes what it does with a new one."""
        if name in seen:
            return None
        imported = self._history.imported_as(name, position)
        if imported is not None:
            return None if imported.rpartition(".")[2] in PLAIN_BASES else Strength.SURE
        node = self._history.definition(name, position)
        if not isinstance(node, ast.ClassDef):  # Base = declarative_base()
            return Strength.SURE if name in self._history else None
        strength = Strength.SURE if self.asks_for_subclasses else Strength.PERHAPS
        for inner in node.body:
            if isinstance(inner, ast.FunctionDef) and inner.name in _WITH_A_SUBCLASS:
                made_by = self.summary(inner, position)
                is_on_definition = inner.name == "__init_subclass__" or "metaclass" in seen
                if is_on_definition:
                    strength = Strength.SURE
                    for changed in made_by.changes.keys() - set(made_by.parameters):
                        _add(found, changed, made_by.changes[changed])
        for keyword in node.keywords:
            if keyword.arg == "metaclass" and isinstance(keyword.value, ast.Name):
                strength = Strength.SURE
                if self._of_base(found, keyword.value.id, position, {"metaclass"}) is not None:
                    _add(found, keyword.value.id, Strength.SURE)
        above = [self._of_base(found, base, position, seen | {name}) for base in bases(node)]
        return max([strength, *(one for one in above if one is not None)])


def _of_unknown(call: Call) -> Strength:
    return Strength.LIKELY if call.is_discarded else Strength.PERHAPS
