"""What code does to objects: which names' objects it changes, what it calls, which names share an object.

Used by `changes`, for a top-level statement (what runs when it runs) and for the body of a function (what
runs when it is called).
"""

from __future__ import annotations

import ast
from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, NamedTuple

from dnworker.core.parsing import parse
from dnworker_jupyter.export.slicing.knowledge import HANDING_ON, ITERATORS, LOOKING_METHODS, WRAPPERS
from dnworker_jupyter.export.slicing.nodes import KEPT, LEAVES, children, find, walk
from dnworker_jupyter.export.slicing.python_magics import timed_code
from dnworker_jupyter.export.slicing.reads import Function


class Call(NamedTuple):
    """One call: `np.random.seed(x)` has the root `np`, the path `("random", "seed")` and one argument."""

    node: ast.Call | None
    root: str | None
    """The name that the called expression begins with; None for a call of a literal or of a call's result."""
    path: tuple[str, ...]
    arguments: tuple[tuple[int | str, frozenset[str]], ...]
    """For each argument: its position or keyword, and the names whose objects it hands over."""
    is_discarded: bool
    """Whether nothing is done with the result, so that the call is there for its effect."""


class Sharing(NamedTuple):
    """Names that are bound to what may be, or hold, the objects of other names."""

    targets: frozenset[str]
    sources: frozenset[str]
    """Names whose objects, or parts of them, are surely handed on: `b = a`, `b = a[0]`, `b = [a]`."""
    maybe: frozenset[str]
    """Names that a call was given whose result is bound."""
    called: frozenset[str] = frozenset()
    """The names of what is called there: a function of the notebook may return what it is given."""


class Store(NamedTuple):
    """A change in place: `a.b[0] = 1` has the root `a` and the path `("b",)`; also `del a[0]`, `a += b`."""

    root: str
    path: tuple[str, ...]
    is_sure: bool = True
    """False for `a += b`, which changes a list in place, and binds a number anew."""


@dataclass
class Facts:
    """What code does, by the names in it."""

    stores: list[Store] = field(default_factory=list)
    calls: list[Call] = field(default_factory=list)
    sharing: list[Sharing] = field(default_factory=list)
    global_binds: set[str] = field(default_factory=set)
    """Names that a function binds outside of itself, by `global`."""
    iterated: set[str] = field(default_factory=set)
    """Names that a loop goes through: an iterator is used up."""


def facts_of(nodes: Iterable[ast.AST], *, deep: bool = False) -> Facts:
    """Return what code does when it runs; with `deep` the functions in it are taken to be called."""
    collector = _Collector(deep)
    for node in nodes:
        collector.visit(node)
    return collector.facts


@lru_cache(maxsize=KEPT)
def facts_of_statement(node: ast.AST) -> Facts:
    """Return what a statement does when it runs; it is read once, and its facts must not be changed."""
    return facts_of([node])


def dotted(node: ast.expr) -> tuple[str | None, tuple[str, ...]]:
    """Return the root name of an expression, and the attributes after it; items are passed over."""
    path: list[str] = []
    while not isinstance(node, ast.Name):
        match node:
            case ast.Attribute(value=value, attr=attr):
                path.append(attr)
                node = value
            case ast.Subscript(value=value):
                node = value
            case ast.Call(func=ast.Name(id="type"), args=[first]):
                path.append("__class__")
                node = first
            case ast.Call(func=ast.Name(id=name), args=[first, *_]) if name in WRAPPERS:
                node = first
            case ast.Call(func=func):
                node = func
            case _:
                return None, tuple(reversed(path))
    return node.id, tuple(reversed(path))


def shared_names(node: ast.AST | None) -> tuple[set[str], set[str]]:
    """Return the names whose objects an expression surely hands on, and those that it may hand on."""
    surely: set[str] = set()
    maybe: set[str] = set()
    match node:
        case ast.Lambda() | ast.Constant() | ast.JoinedStr() | ast.Compare() | None:
            pass
        case ast.BinOp() | ast.UnaryOp():
            maybe = _names_in(node)
        case ast.Name(id=name):
            surely.add(name)
        case ast.Attribute(value=value) | ast.Subscript(value=value) | ast.Starred(value=value):
            return shared_names(value)
        case ast.Await(value=value):
            return shared_names(value)
        case ast.NamedExpr(target=target, value=value):
            surely, maybe = shared_names(value)
            surely.add(target.id)
        case ast.IfExp(body=body, orelse=orelse):
            _add(surely, maybe, [body, orelse])
        case ast.Tuple(elts=items) | ast.List(elts=items) | ast.Set(elts=items) | ast.BoolOp(values=items):
            _add(surely, maybe, items)
        case ast.Dict(keys=keys, values=values):
            _add(surely, maybe, [*filter(None, keys), *values])
        case ast.Call(func=ast.Name(id=name), args=[first, *_]) if name in WRAPPERS:
            return shared_names(first)
        case ast.Call(func=ast.Name(id=name), args=items) if name in ITERATORS:
            _add(surely, maybe, items)
        case ast.GeneratorExp(generators=[first, *_]):  # it holds what it goes through
            surely, maybe = shared_names(first.iter)[0], _names_in(node)
        case ast.Call(func=ast.Name(id="eval"), args=[ast.Constant(value=str() as text), *_]):
            return shared_names(_evaluated(text))
        case ast.Call(func=ast.Attribute(value=value, attr=attr)):
            maybe = _names_in(node)
            if attr in HANDING_ON or attr not in LOOKING_METHODS:
                surely = shared_names(value)[0]
        case _:
            maybe = _names_in(node)
    return surely, maybe


def _names_in(node: ast.AST) -> set[str]:
    """Return the names in an expression, but not those that are only called."""
    names: set[str] = set()
    waiting = [node]
    for part in waiting:  # which grows
        if isinstance(part, ast.Name):
            names.add(part.id)
        elif part.__class__ is not ast.Constant:
            below = children(part)
            waiting += below[1:] if isinstance(part, ast.Call) and isinstance(part.func, ast.Name) else below
    return names


def _evaluated(text: str) -> ast.expr | None:
    try:
        return parse(text.strip(), mode="eval").body
    except (SyntaxError, ValueError):
        return None


def _add(surely: set[str], maybe: set[str], nodes: Iterable[ast.expr]) -> None:
    for node in nodes:
        sure, may = shared_names(node)
        surely |= sure
        maybe |= may


class _Collector(ast.NodeVisitor):
    """Collects facts; `deep` goes into the bodies of functions too."""

    def __init__(self, deep: bool) -> None:
        self.facts = Facts()
        self._deep = deep
        self._discarded: set[int] = set()

    def visit(self, node: ast.AST) -> None:
        """Visit a node by the method of its kind, whose name is not put together for every node."""
        _VISITS.get(node.__class__, _Collector.generic_visit)(self, node)

    def generic_visit(self, node: ast.AST) -> None:
        """Visit what is directly below a node; names and constants alone do nothing."""
        for child in children(node):
            if (kind := child.__class__) not in LEAVES:
                _VISITS.get(kind, _Collector.generic_visit)(self, child)

    # -- definitions -----------------------------------------------------------------------------------

    def visit_FunctionDef(self, node: ast.FunctionDef) -> None:
        """A decorator is called with the function; the body runs later."""
        self._function(node)

    def visit_AsyncFunctionDef(self, node: ast.AsyncFunctionDef) -> None:
        """See `visit_FunctionDef`."""
        self._function(node)

    def _function(self, node: Function) -> None:
        self._decorators(node.decorator_list, node.name)
        for default in (*node.args.defaults, *filter(None, node.args.kw_defaults)):
            self.visit(default)
            self._share({node.name}, default)
        if self._deep:
            for inner in node.body:
                self.visit(inner)

    def visit_ClassDef(self, node: ast.ClassDef) -> None:
        """A class body runs at once."""
        self._decorators(node.decorator_list, node.name)
        for part in (*node.bases, *(k.value for k in node.keywords)):
            self.visit(part)
        self._share_names({node.name}, set(), {base.id for base in node.bases if isinstance(base, ast.Name)})
        for inner in node.body:
            self.visit(inner)
            if isinstance(inner, ast.Assign | ast.AnnAssign):
                self._share({node.name}, inner.value)

    def visit_Lambda(self, node: ast.Lambda) -> None:
        """The body of a lambda runs when it is called."""
        for default in (*node.args.defaults, *filter(None, node.args.kw_defaults)):
            self.visit(default)
        if self._deep:
            self.visit(node.body)

    def _decorators(self, decorators: Iterable[ast.expr], name: str) -> None:
        for decorator in decorators:
            self.visit(decorator)
            root, path = dotted(decorator)
            self.facts.calls.append(Call(None, root, path, ((0, frozenset({name})),), True))
            sure, maybe = shared_names(decorator)
            self.facts.sharing.append(Sharing(frozenset({name}), frozenset(), frozenset(sure | maybe)))

    # -- what changes ----------------------------------------------------------------------------------

    def visit_Global(self, node: ast.Global) -> None:
        """Note what a function binds outside of itself."""
        self.facts.global_binds |= set(node.names)

    def visit_Assign(self, node: ast.Assign) -> None:
        """Note stores, and what the targets share with the value."""
        for target in node.targets:
            self._target(target, node.value)
        names = {name for target in node.targets for name in _names(target)}
        if len(node.targets) > 1:
            self._share_names(names, names, set())
        self.generic_visit(node)

    def visit_AnnAssign(self, node: ast.AnnAssign) -> None:
        """See `visit_Assign`; the annotation changes nothing."""
        self._target(node.target, node.value)
        if node.value is not None:
            self.visit(node.value)

    def visit_NamedExpr(self, node: ast.NamedExpr) -> None:
        """See `visit_Assign`."""
        self._share({node.target.id}, node.value)
        self.visit(node.value)

    def visit_AugAssign(self, node: ast.AugAssign) -> None:
        """`+=` changes a list in place."""
        is_name = isinstance(node.target, ast.Name)
        if not (is_name and _is_plain_value(node.value)):
            self._store(node.target, is_sure=not is_name or isinstance(node.value, _CONTAINERS))
        if (root := dotted(node.target)[0]) is not None:
            sure, maybe = shared_names(node.value)
            self._share_names({root}, sure | {root}, maybe)  # what was the list before is it still
        self.generic_visit(node)

    def visit_Delete(self, node: ast.Delete) -> None:
        """`del a[0]` changes a; `del a` does not."""
        for target in node.targets:
            if not isinstance(target, ast.Name):
                self._store(target)
        self.generic_visit(node)

    def visit_For(self, node: ast.For) -> None:
        """The target of a loop is a part of what the loop goes through."""
        self._loop(node.target, node.iter)
        self.generic_visit(node)

    def visit_AsyncFor(self, node: ast.AsyncFor) -> None:
        """See `visit_For`."""
        self._loop(node.target, node.iter)
        self.generic_visit(node)

    def visit_Match(self, node: ast.Match) -> None:
        """What a pattern binds is a part of the subject."""
        bound = {one.name for one in find(node, ast.MatchAs, ast.MatchStar) if one.name is not None}
        bound |= {one.rest for one in find(node, ast.MatchMapping) if one.rest is not None}
        self._share(bound, node.subject)
        self.generic_visit(node)

    def visit_Compare(self, node: ast.Compare) -> None:
        """`x in it` goes through an iterator."""
        for operator, right in zip(node.ops, node.comparators, strict=True):
            if isinstance(operator, ast.In | ast.NotIn) and isinstance(right, ast.Name):
                self.facts.iterated.add(right.id)
        self.generic_visit(node)

    def visit_comprehension(self, node: ast.comprehension) -> None:
        """See `visit_For`."""
        self._loop(node.target, node.iter)
        self.generic_visit(node)

    def visit_withitem(self, node: ast.withitem) -> None:
        """`with a as b` binds what `a` gives."""
        if node.optional_vars is not None:
            self._target(node.optional_vars, node.context_expr)
        self.generic_visit(node)

    def visit_Expr(self, node: ast.Expr) -> None:
        """The result of a call on a line of its own is discarded; an item that is looked up may be made."""
        inner = node.value.value if isinstance(node.value, ast.Await) else node.value
        self._discarded.add(id(inner))
        if isinstance(inner, ast.Subscript):
            self._store(inner, is_sure=False)
        for code in timed_code(inner):
            self.visit(code)
        self.generic_visit(node)

    def visit_Call(self, node: ast.Call) -> None:
        """Note a call, with the names that it is given."""
        root, path = dotted(node.func)
        arguments: list[tuple[int | str, frozenset[str]]] = [
            *((n, frozenset(_both(a))) for n, a in enumerate(node.args)),
            *((k.arg or "**", frozenset(_both(k.value))) for k in node.keywords),
        ]
        self.facts.calls.append(Call(node, root, path, tuple(arguments), id(node) in self._discarded))
        if root is not None and path:  # `a.append(b)`: a may hold b from now on
            given = {name for _, names in arguments for name in names}
            self.facts.sharing.append(Sharing(frozenset({root}), frozenset(given), frozenset()))
        for part in (*node.args, *(k.value for k in node.keywords)):
            if isinstance(part, ast.Lambda):  # what is called with a lambda calls it
                self.visit(part.body)
        self.generic_visit(node)

    def _loop(self, target: ast.expr, items: ast.expr) -> None:
        sure, maybe = shared_names(items)
        self._share_names(_names(target), sure, maybe, _called_in(items))
        for part in _parts(target):
            if not isinstance(part, ast.Name):
                self._store(part)
        self.facts.iterated |= sure

    def _target(self, target: ast.expr, value: ast.expr | None) -> None:
        for part in _parts(target):
            if isinstance(part, ast.Name):
                self._share({part.id}, value)
            else:
                self._store(part)
                if (root := dotted(part)[0]) is not None:
                    self._share({root}, value)

    def _store(self, target: ast.expr, *, is_sure: bool = True) -> None:
        root, path = dotted(target)
        roots = {root} if root is not None else shared_names(target)[0]  # (a or b)[0] = 1
        self.facts.stores += [Store(one, path, is_sure) for one in sorted(roots)]

    def _share(self, targets: set[str], value: ast.AST | None) -> None:
        sure, maybe = shared_names(value)
        self._share_names(targets, sure, maybe, _called_in(value) if value is not None else ())

    def _share_names(
        self, targets: set[str], sure: set[str], maybe: set[str], called: Collection[str] = ()
    ) -> None:
        if targets and (sure or maybe or called):
            self.facts.sharing.append(
                Sharing(frozenset(targets), frozenset(sure), frozenset(maybe), frozenset(called))
            )


_VISITS: dict[type[ast.AST], Callable[[_Collector, Any], None]] = {
    getattr(ast, name.removeprefix("visit_")): method
    for name, method in vars(_Collector).items()
    if name.startswith("visit_")
}


def _called_in(value: ast.AST) -> set[str]:
    return {
        call.func.id for call in walk(value) if isinstance(call, ast.Call) and isinstance(call.func, ast.Name)
    }


_TEXTS = (ast.Constant, ast.JoinedStr)
_CONTAINERS = (ast.List, ast.ListComp, ast.Set, ast.SetComp, ast.Dict, ast.DictComp)


def _is_plain_value(node: ast.expr) -> bool:
    """Return whether an expression is a number or a text by the look of it."""
    match node:
        case ast.Constant() | ast.JoinedStr() | ast.Compare():
            return True
        case ast.BinOp(left=left, right=right):
            return isinstance(left, _TEXTS) or isinstance(right, _TEXTS)
        case ast.UnaryOp(operand=operand):
            return isinstance(operand, _TEXTS)
    return False


def _both(node: ast.expr) -> set[str]:
    sure, maybe = shared_names(node)
    return sure if not isinstance(node, ast.Call) else sure | maybe


def _parts(target: ast.expr) -> Iterator[ast.expr]:
    match target:
        case ast.Tuple(elts=items) | ast.List(elts=items):
            for item in items:
                yield from _parts(item)
        case ast.Starred(value=value):
            yield from _parts(value)
        case _:
            yield target


def _names(target: ast.expr) -> set[str]:
    return {part.id for part in _parts(target) if isinstance(part, ast.Name)}
