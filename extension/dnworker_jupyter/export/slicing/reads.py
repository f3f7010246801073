"""Finds which global names a statement reads and binds when it runs; used by `statements`."""

from __future__ import annotations

import ast
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import lru_cache

from dnworker_jupyter.export.slicing.nodes import KEPT, children

Function = ast.FunctionDef | ast.AsyncFunctionDef


@dataclass
class Names:
    """What a block of statements reads and binds when it runs."""

    reads: set[str] = field(default_factory=set)
    """Names that are read, and that nothing in the block surely binds before."""
    binds: dict[str, bool] = field(default_factory=dict)
    """Names that are bound; True where every way through the block binds them."""
    annotations: set[str] = field(default_factory=set)
    """Names that only annotations read: whether they are read at once depends on `from __future__`."""
    unbinds: set[str] = field(default_factory=set)
    """Names that `del` takes away."""


def names_of(nodes: Sequence[ast.stmt]) -> Names:
    """Return what statements read and bind when they run; bodies of functions do not run."""
    block = _Block(Names(), set())
    block.run(nodes)
    found = block.names
    found.binds = {name: name in block.sure for name in found.binds}
    return found


@lru_cache(maxsize=KEPT)
def names_of_statement(node: ast.stmt) -> Names:
    """Return the same of one statement, which is read once; it must not be changed."""
    return names_of([node])


class _Block:
    """Goes through statements in the order in which they run; `sure` are the names bound by then."""

    def __init__(self, names: Names, sure: set[str]) -> None:
        self.names = names
        self.sure = sure

    def run(self, nodes: Iterable[ast.stmt]) -> None:
        """Go through statements."""
        for node in nodes:
            self._statement(node)

    def _statement(self, node: ast.stmt) -> None:
        match node:
            case ast.FunctionDef() | ast.AsyncFunctionDef():
                self._function(node)
            case ast.ClassDef():
                self._class(node)
            case ast.If(test=test, body=body, orelse=orelse):
                self._read(test)
                self._either([body, orelse])
            case ast.For(target=target, iter=items) | ast.AsyncFor(target=target, iter=items):
                self._read(items)
                self._maybe([node.body], bound=target)
                self._maybe([node.orelse])
            case ast.While(test=test):
                self._read(test)
                self._maybe([node.body])
                self._maybe([node.orelse])
            case ast.With(items=items) | ast.AsyncWith(items=items):
                for item in items:
                    self._read(item.context_expr)
                    self._bind(item.optional_vars)
                self.run(node.body)
            case ast.Try() | ast.TryStar():
                self._try(node)
            case ast.Match(subject=subject, cases=cases):
                self._read(subject)
                for case in cases:
                    self._case(case)
            case _:
                self._simple(node)

    def _simple(self, node: ast.stmt) -> None:
        match node:
            case ast.Assign(targets=targets, value=value):
                self._read(value)
                for target in targets:
                    self._bind(target)
            case ast.AnnAssign(target=target, value=value, annotation=annotation):
                self._read(value)
                self._annotation(annotation)
                if value is not None or not isinstance(target, ast.Name):
                    self._bind(target)
            case ast.AugAssign(target=target, value=value):
                self._read(value)
                if isinstance(target, ast.Name):
                    self._read_name(target.id)
                self._bind(target)
            case ast.Delete(targets=targets):
                for target in targets:
                    self._bind(target, unbind=True)
            case ast.Import() | ast.ImportFrom():
                for alias in node.names:
                    self._bind_name(alias.asname or _top(node, alias))
            case _:
                for child in children(node):
                    self._read(child)

    def _either(self, branches: Sequence[Sequence[ast.stmt]]) -> None:
        """Go through branches of which one runs: what all of them bind is bound."""
        ends = []
        for branch in branches:
            inner = _Block(self.names, set(self.sure))
            inner.run(branch)
            ends.append(inner.sure)
        self.sure |= set.intersection(*ends)

    def _maybe(self, branches: Sequence[Sequence[ast.stmt]], bound: ast.expr | None = None) -> None:
        """Go through branches that may not run."""
        for branch in branches:
            inner = _Block(self.names, set(self.sure))
            inner._bind(bound)
            inner.run(branch)

    def _try(self, node: ast.Try | ast.TryStar) -> None:
        inner = _Block(self.names, set(self.sure))
        inner.run([*node.body, *node.orelse])
        ends = [inner.sure]
        for handler in node.handlers:
            caught = _Block(self.names, set(self.sure))
            caught._read(handler.type)
            if handler.name is not None:
                caught._bind_name(handler.name)
            caught.run(handler.body)
            caught.sure.discard(handler.name or "")  # Python takes it away at the end
            ends.append(caught.sure)
        self.sure |= set.intersection(*ends)
        self.run(node.finalbody)

    def _case(self, case: ast.match_case) -> None:
        inner = _Block(self.names, set(self.sure))
        for part in ast.walk(case.pattern):
            match part:
                case ast.MatchAs(name=str() as name) | ast.MatchStar(name=str() as name):
                    inner._bind_name(name)
                case ast.MatchMapping(rest=str() as name):
                    inner._bind_name(name)
                case ast.MatchValue(value=value) | ast.MatchClass(cls=value):
                    inner._read(value)
        inner._read(case.guard)
        inner.run(case.body)

    def _function(self, node: Function) -> None:
        for part in (*node.decorator_list, *node.args.defaults, *node.args.kw_defaults):
            self._read(part)
        arguments = node.args
        for argument in (*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs):
            self._annotation(argument.annotation)
        for one in (arguments.vararg, arguments.kwarg):
            self._annotation(one.annotation if one is not None else None)
        self._annotation(node.returns)
        self._bind_name(node.name)

    def _class(self, node: ast.ClassDef) -> None:
        for part in (*node.decorator_list, *node.bases, *(k.value for k in node.keywords)):
            self._read(part)
        body = Names()
        inner = _Block(body, set())
        inner.run(node.body)  # what the class binds is its own
        self.names.reads |= body.reads - self.sure
        self.names.annotations |= body.annotations - self.sure
        self._bind_name(node.name)

    # -- names -----------------------------------------------------------------------------------------

    def _annotation(self, node: ast.expr | None) -> None:
        if node is not None:
            found = Names()
            _Block(found, set(self.sure))._read(node)
            self.names.annotations |= found.reads

    def _bind(self, target: ast.AST | None, *, unbind: bool = False) -> None:
        """Bind the names of a target; what it looks up, as `a` of `a[0] = 1`, is read."""
        match target:
            case None:
                return
            case ast.Name(id=name):
                self.names.binds[name] = True
                if unbind:
                    self._read_name(name)
                    self.names.unbinds.add(name)
                    self.sure.discard(name)
                else:
                    self.sure.add(name)
            case ast.Tuple(elts=items) | ast.List(elts=items):
                for item in items:
                    self._bind(item, unbind=unbind)
            case ast.Starred(value=value):
                self._bind(value)
            case _:
                self._read(target)

    def _bind_name(self, name: str) -> None:
        self.names.binds[name] = True
        self.sure.add(name)

    def _read_name(self, name: str) -> None:
        if name not in self.sure:
            self.names.reads.add(name)

    def _read(self, node: ast.AST | None) -> None:
        """Read an expression; the body of a lambda does not run, the parts of a comprehension do."""
        match node:
            case None:
                return
            case ast.Name(id=name):
                self._read_name(name)
            case ast.NamedExpr(target=target, value=value):
                self._read(value)
                self.names.binds[target.id] = True  # not surely: the expression may end before
            case ast.Lambda(args=arguments):
                for default in (*arguments.defaults, *arguments.kw_defaults):
                    self._read(default)
            case ast.ListComp() | ast.SetComp() | ast.GeneratorExp() | ast.DictComp():
                self._comprehension(node)
            case _:
                for child in children(node):
                    self._read(child)

    def _comprehension(self, node: ast.ListComp | ast.SetComp | ast.GeneratorExp | ast.DictComp) -> None:
        inner = _Block(self.names, set(self.sure))
        for generator in node.generators:
            inner._read(generator.iter)
            for part in ast.walk(generator.target):
                if isinstance(part, ast.Name):
                    inner.sure.add(part.id)
            for condition in generator.ifs:
                inner._read(condition)
        results = [node.key, node.value] if isinstance(node, ast.DictComp) else [node.elt]
        for result in results:
            inner._read(result)


def _top(node: ast.Import | ast.ImportFrom, alias: ast.alias) -> str:
    return alias.name if isinstance(node, ast.ImportFrom) else alias.name.partition(".")[0]
