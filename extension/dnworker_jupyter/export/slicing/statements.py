"""The top-level statements of cells: category, text, names bound and read; used by slice and the importer."""

from __future__ import annotations

import ast
import importlib
import symtable
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

from dnworker_jupyter.export.slicing.cells import SourceCell, last_line
from dnworker_jupyter.export.slicing.imports import Choice, choices_in

STAR = "*"
"""Stands for all names that `import *` may bind, among the names that a statement binds."""

_GENERIC = frozenset({"dict", "list", "tuple", "set", "frozenset", "type"})

Category = Literal["import", "definition", "constant", "handler", "other"]
"""What a statement is to the exporter; `other` runs code, so a script cannot simply contain it."""


@dataclass(frozen=True, eq=False)
class Statement:
    """One top-level statement of a cell."""

    cell: SourceCell
    node: ast.stmt

    @property
    def location(self) -> str:
        """The cell and the line, such as `cell [3], line 2`."""
        return f"{self.cell.label}, line {self.node.lineno}"

    @cached_property
    def category(self) -> Category:
        """What it is to the exporter, in its cell."""
        if self.cell.category == "opaque":
            return "other"
        if self.cell.category == "worker" and _is_handler(self.node, self.cell.alias):
            return "handler"
        return category_of(self.node)

    @cached_property
    def source(self) -> str:
        """Its text, with its decorators, the comments directly above and the comment behind it."""
        if isinstance(self.node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            own_lines = self.cell.lines[self.first_line - 1 : last_line(self.node, self.cell.lines)]
            return "\n".join([*self.comments_above, *own_lines])
        own = ast.get_source_segment(self.cell.body, self.node) or ast.unparse(self.node)
        return "\n".join([*self.comments_above, f"{own}{self.comment_behind}"])

    @property
    def comments_above(self) -> list[str]:
        """The lines of comments directly above it."""
        lines, first = self.cell.lines, self.first_line
        while first > 1 and lines[first - 2].startswith("#") and not lines[first - 2].startswith("#!"):
            first -= 1
        while lines[first - 1].strip() == "#" and first < self.first_line:
            first += 1  # the empty comment that stands for the %% line
        return lines[first - 1 : self.first_line - 1]

    @property
    def comment_behind(self) -> str:
        """The comment behind it on its last line, after two blanks; empty where there is none."""
        line = self.cell.lines[(self.node.end_lineno or self.node.lineno) - 1].encode()
        rest = line[self.node.end_col_offset or 0 :].decode().strip()
        return f"  {rest}" if rest.startswith("#") else ""

    @property
    def first_line(self) -> int:
        """The line that it begins on, decorators included."""
        return first_line(self.node)

    @cached_property
    def table(self) -> symtable.SymbolTable | None:
        """Python's table of its names; None for a top-level `await`, which `symtable` does not parse."""
        decorators = getattr(self.node, "decorator_list", [])
        lines = self.cell.lines[self.first_line - 1 : self.node.end_lineno]
        text = ast.get_source_segment(self.cell.body, self.node) if not decorators else "\n".join(lines)
        try:
            return symtable.symtable(text or ast.unparse(self.node), "cell", "exec")
        except SyntaxError:
            return None

    @cached_property
    def nodes(self) -> tuple[ast.AST, ...]:
        """Its node and all nodes below."""
        return tuple(ast.walk(self.node))

    @cached_property
    def modules(self) -> tuple[set[Choice], set[str]]:
        """The modules that it imports, at any depth: which may be missing, and which must be there."""
        return choices_in([self.node])

    @cached_property
    def defines(self) -> frozenset[str]:
        """The global names that it binds."""
        return frozenset(_bound_names(self.node, self.table))

    @cached_property
    def needs(self) -> frozenset[str]:
        """The global names that it, or a function in it, reads."""
        return frozenset(_needed_names(self.node, self.table))

    @cached_property
    def reads_at_once(self) -> frozenset[str]:
        """The global names that it reads when it is executed, without those that a call of it reads."""
        if isinstance(self.node, ast.FunctionDef | ast.AsyncFunctionDef):
            return frozenset(name for part in run_at_once(self.node) for name in names_in(part))
        return self.needs


class Statements:
    """The statements of cells, made once for all workers."""

    def __init__(self, cells: Sequence[SourceCell]) -> None:
        self.cells = cells
        self._made: dict[int, list[Statement]] = {}

    def of(self, cell: SourceCell) -> list[Statement]:
        """Return the statements of one of the cells.

        Raises:
            SyntaxError: the cell is not valid Python.
        """
        if id(cell) not in self._made:
            self._made[id(cell)] = [Statement(cell, node) for node in cell.statements]
        return self._made[id(cell)]


def category_of(node: ast.stmt) -> Category:
    """Return what a statement is to the exporter, whatever cell it is in."""
    match node:
        case ast.Import() | ast.ImportFrom():
            return "import"
        case ast.FunctionDef() | ast.AsyncFunctionDef() | ast.ClassDef():
            return "definition"
        case ast.Assign(targets=targets, value=value) if all(_is_plain_target(t) for t in targets):
            return "constant" if is_literal(value) and not _reads_itself(targets, value) else "other"
        case ast.AnnAssign(target=ast.Name(), value=value) if value is None or is_literal(value):
            return "constant"
        case ast.If(test=test) if is_literal(test) and _all_exportable(node):
            return "definition"
        case ast.Try() if _all_exportable(node):
            return "definition"
    if type(node).__name__ == "TypeAlias":  # Python 3.12
        return "constant"
    return "other"


def _reads_itself(targets: Sequence[ast.expr], value: ast.expr) -> bool:
    bound = {n.id for t in targets for n in ast.walk(t) if isinstance(n, ast.Name)}
    return any(isinstance(n, ast.Name) and n.id in bound for n in ast.walk(value))


def _all_exportable(node: ast.If | ast.Try) -> bool:
    inner = [*node.body, *node.orelse]
    if isinstance(node, ast.Try):
        inner += [*node.finalbody, *(s for handler in node.handlers for s in handler.body)]
    return all(isinstance(s, ast.Pass) or category_of(s) != "other" for s in inner)


def _is_plain_target(node: ast.expr) -> bool:
    if isinstance(node, ast.Tuple):
        return all(_is_plain_target(item) for item in node.elts)
    return isinstance(node, ast.Name)


def is_literal(node: ast.expr) -> bool:
    """Return whether an expression only combines constants, names and attributes, and calls nothing."""
    allowed = (
        ast.Constant, ast.Name, ast.Attribute, ast.Tuple, ast.List, ast.Set, ast.Dict, ast.UnaryOp, ast.BinOp,
        ast.BoolOp, ast.Compare, ast.JoinedStr, ast.FormattedValue, ast.Starred,
        ast.operator, ast.unaryop, ast.boolop, ast.cmpop, ast.expr_context,
    )  # fmt: skip
    if isinstance(node, ast.Lambda):  # its body runs only when it is called
        return all(
            is_literal(default) for default in (*node.args.defaults, *filter(None, node.args.kw_defaults))
        )
    return all(isinstance(part, allowed) or _is_generic(part) for part in ast.walk(node))


def _is_generic(node: ast.AST) -> bool:
    """Return whether a node is a generic type such as `dict[str, int]`, or an item of a constant.

    This goes by how the name is written: `os.environ["X"]` depends on the machine, so it is neither.
    """
    match node:
        case ast.Subscript(value=ast.Name(id=name)) | ast.Subscript(value=ast.Attribute(attr=name)):
            return name in _GENERIC or name[:1].isupper()
    return False


def _is_handler(node: ast.stmt, alias: str | None) -> bool:
    if not isinstance(node, ast.AsyncFunctionDef | ast.FunctionDef):
        return False
    return any(root_name(decorator) in ("worker", alias) for decorator in node.decorator_list)


def first_line(node: ast.stmt) -> int:
    """Return the line that a statement begins on, decorators included."""
    decorators: list[ast.expr] = getattr(node, "decorator_list", [])
    return min([node.lineno, *(d.lineno for d in decorators)])


def run_at_once(node: ast.stmt) -> list[ast.AST]:
    """Return the parts of a statement that run when it does: of a function, decorators and defaults."""
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
        return [*node.decorator_list, *node.args.defaults, *(d for d in node.args.kw_defaults if d)]
    return [node]


def names_in(node: ast.AST) -> set[str]:
    """Return the names that an expression reads."""
    return {n.id for n in ast.walk(node) if isinstance(n, ast.Name)}


def root_name(node: ast.expr) -> str | None:
    """Return the name that calls and attributes begin with: `worker` of `worker.on_event("a")`."""
    while isinstance(node, ast.Call | ast.Attribute):
        node = node.func if isinstance(node, ast.Call) else node.value
    return node.id if isinstance(node, ast.Name) else None


def _bound_names(node: ast.stmt, table: symtable.SymbolTable | None) -> set[str]:
    if isinstance(node, ast.ImportFrom) and node.names[0].name == "*":
        return {STAR, *names_of_star(node)}
    if isinstance(node, ast.Import | ast.ImportFrom):
        return {alias.asname or alias.name.partition(".")[0] for alias in node.names}
    if table is None:
        return {n.id for n in ast.walk(node) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store)}
    return {
        s.get_name() for s in table.get_symbols() if s.is_assigned() or s.is_imported() or s.is_namespace()
    }


def names_of_star(node: ast.ImportFrom) -> set[str]:
    """Return what `from MODULE import *` binds, for modules that are imported already or are of Python's own.

    To look into any other module would run its code; for those nothing is returned.
    """
    name = node.module or ""
    if node.level or (name not in sys.modules and name.partition(".")[0] not in sys.stdlib_module_names):
        return set()
    try:
        module = importlib.import_module(name)
    except ImportError:
        return set()
    return set(getattr(module, "__all__", [n for n in vars(module) if not n.startswith("_")]))


def _needed_names(node: ast.stmt, table: symtable.SymbolTable | None) -> set[str]:
    if isinstance(node, ast.Import | ast.ImportFrom):
        return set()
    if table is None:
        return {n.id for n in ast.walk(node) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Load)}
    return set(_global_reads(table, top=True))


def _global_reads(table: symtable.SymbolTable, *, top: bool = False) -> Iterator[str]:
    for symbol in table.get_symbols():
        if top:
            reads = symbol.is_referenced() and not (symbol.is_assigned() or symbol.is_namespace())
        else:
            reads = symbol.is_global() and (symbol.is_referenced() or symbol.is_assigned())
        if reads:
            yield symbol.get_name()
    for child in table.get_children():
        yield from _global_reads(child)
