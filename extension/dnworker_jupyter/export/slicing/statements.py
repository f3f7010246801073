"""The top-level statements of cells: category, text, names bound and read; used by slice and the importer."""

from __future__ import annotations

import ast
import builtins
import importlib
import re
import symtable
import sys
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Literal

from dnworker.core.handlers import DECORATORS
from dnworker_jupyter.export.slicing.cells import SourceCell, first_line, last_line
from dnworker_jupyter.export.slicing.facts import Facts, facts_of_statement
from dnworker_jupyter.export.slicing.imports import Modules, modules_of_statement
from dnworker_jupyter.export.slicing.nodes import KEPT, find, nodes_in, text_constants, walk
from dnworker_jupyter.export.slicing.reads import Names, names_of_statement
from dnworker_jupyter.export.slicing.scopes import is_alone, read_by_function

STAR = "*"
"""Stands for all names that `import *` may bind, among the names that a statement binds."""

_AT_ONCE = frozenset({"listcomp", "setcomp", "dictcomp", "genexpr"})
"""Python's names of the scopes that are no functions of the user."""

_GENERIC = frozenset({"dict", "list", "tuple", "set", "frozenset", "type"})

_ONLY_LOOK = frozenset({*dir(builtins), "display", "dn", "pprint"})
"""Names of what registers no handlers when it is given a worker."""

_TYPE_TEXT = re.compile(r"[\w.\[\], |]{1,200}")
"""A text that may be a type."""

Category = Literal["import", "definition", "constant", "handler", "registration", "other"]
"""What a statement is to the exporter.

A `registration` registers handlers in another way than a decorated function; `other` runs code.
"""


@dataclass(frozen=True, eq=False)
class Statement:
    """One top-level statement of one run of a cell."""

    cell: SourceCell
    node: ast.stmt
    index: int = 0
    """Its position among the statements of its cell."""
    text: str | None = None
    """Its text where that is not the cell's: it stood behind a magic."""
    ran: bool = True
    """Whether it ran to its end; if not, it raised, and what it did until then is not known."""
    future: bool = False
    """Whether `from __future__ import annotations` was in effect."""

    @property
    def location(self) -> str:
        """The cell and the line, such as `cell [3], line 2`."""
        return f"{self.cell.label}, line {self.node.lineno}"

    @property
    def order(self) -> tuple[int, int]:
        """The key by which statements are sorted as they ran."""
        return self.cell.order, self.index

    @cached_property
    def category(self) -> Category:
        """What it is to the exporter, in its cell."""
        if self.cell.category == "worker" and self.cell.counts and not self.is_left_out:
            if is_handler(self.node, self.worker_names):
                return "handler"
            if registers(self.node, self.worker_names):
                return "registration"
        return category_of(self.node)

    @property
    def worker_names(self) -> frozenset[str]:
        """What its cell calls its worker."""
        return frozenset({"worker", self.cell.alias or "worker"})

    @cached_property
    def is_left_out(self) -> bool:
        """Whether it is a handler of its cell that `%worker remove` took out, in whole."""
        here = (self.cell.worker, self.first_line, getattr(self.node, "name", ""))
        gone = any(one.is_alone and (one.worker, one.line, one.name) == here for one in self.cell.left_out)
        return gone and is_handler(self.node, self.worker_names)

    @property
    def is_handler(self) -> bool:
        """Whether it registers handlers, in whatever way."""
        return self.category in ("handler", "registration")

    @cached_property
    def source(self) -> str:
        """Its text, with its decorators, the comments directly above and the comment behind it."""
        if self.text is not None:
            return self.text
        if isinstance(self.node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            own_lines = self.cell.lines[self.first_line - 1 : last_line(self.node, self.cell.lines)]
            return "\n".join([*self.comments_above, *own_lines])
        return "\n".join([*self.comments_above, f"{self._segment}{self.comment_behind}"])

    @property
    def _segment(self) -> str:
        """Its text alone; `get_source_segment`, which splits the whole cell again, where lines end oddly."""
        node, lines = self.node, self.cell.lines
        if "\r" in self.cell.body or node.end_lineno is None:
            return ast.get_source_segment(self.cell.body, node) or ast.unparse(node)
        own = [line.encode() for line in lines[node.lineno - 1 : node.end_lineno]]
        own[-1] = own[-1][: node.end_col_offset]
        own[0] = own[0][node.col_offset :]
        return b"\n".join(own).decode()

    @property
    def comments_above(self) -> list[str]:
        """The lines of comments directly above it."""
        if self.text is not None:
            return []
        lines, first = self.cell.lines, self.first_line
        while first > 1 and lines[first - 2].startswith("#") and not lines[first - 2].startswith("#!"):
            first -= 1
        while lines[first - 1].strip() == "#" and first < self.first_line:
            first += 1  # the empty comment that stands for the %% line
        return lines[first - 1 : self.first_line - 1]

    @property
    def comment_behind(self) -> str:
        """The comment behind it on its last line, after two blanks; empty where there is none."""
        if self.text is not None:
            return ""
        line = self.cell.lines[(self.node.end_lineno or self.node.lineno) - 1].encode()
        rest = line[self.node.end_col_offset or 0 :].decode().strip()
        return f"  {rest}" if rest.startswith("#") else ""

    @property
    def first_line(self) -> int:
        """The line that it begins on, decorators included."""
        return first_line(self.node)

    @property
    def nodes(self) -> tuple[ast.AST, ...]:
        """Its node and all nodes below, as `nodes_in` returns them."""
        return nodes_in(self.node)

    @property
    def modules(self) -> Modules:
        """The modules that it imports, at any depth: which may be missing, and which must be there."""
        return modules_of_statement(self.node)

    @cached_property
    def _names(self) -> Names:
        return names_of_statement(self.node)

    @cached_property
    def facts(self) -> Facts:
        """What it does to objects when it runs."""
        return facts_of_statement(self.node)

    @cached_property
    def binds(self) -> Mapping[str, bool]:
        """The global names that it binds when it runs; True for those that it surely binds."""
        if isinstance(self.node, ast.ImportFrom) and self.node.names[0].name == "*":
            return dict.fromkeys((STAR, *names_of_star(self.node)), True)
        named = {name: sure and self.ran for name, sure in self._names.binds.items()}
        return named | dict.fromkeys(_names_by_globals(self.node), self.ran)

    @property
    def defines(self) -> frozenset[str]:
        """The global names that it binds."""
        return frozenset(self.binds)

    @property
    def unbinds(self) -> set[str]:
        """The global names that it takes away."""
        return self._names.unbinds

    @cached_property
    def needs(self) -> frozenset[str]:
        """The global names that it, or a function in it, reads."""
        return self.reads_at_once | self.reads_later | self.reads_perhaps

    @cached_property
    def reads_at_once(self) -> frozenset[str]:
        """The global names that it reads when it runs, without those that a call of it reads."""
        if isinstance(self.node, ast.Import | ast.ImportFrom):
            return frozenset()
        now = self._names.reads - ({"globals"} if any(_names_by_globals(self.node)) else set())
        return frozenset(now if self._annotations_are_lazy else now | self._names.annotations)

    @cached_property
    def reads_later(self) -> frozenset[str]:
        """The global names that the functions in it read when they are called."""
        return names_read_by_functions(self.node, self._own_lines)

    @property
    def _own_lines(self) -> str | None:
        """Its lines, where no other statement stands on them; None where one does, or it has no lines."""
        if self.text is not None or self.node.col_offset:
            return None
        end = self.node.end_lineno or self.node.lineno
        behind = self.cell.lines[end - 1].encode()[self.node.end_col_offset or 0 :].strip()
        lines = self.cell.lines[self.first_line - 1 : end]
        return "\n".join(lines) if not behind or behind.startswith(b"#") else None

    @cached_property
    def reads_perhaps(self) -> frozenset[str]:
        """Names that only annotations have: those that a library may look up when it is asked to."""
        named = names_in_annotations(self.node)
        if self._annotations_are_lazy:
            named |= self._names.annotations
        return named - self.reads_at_once - self.reads_later

    @cached_property
    def names_in_texts(self) -> frozenset[str]:
        """Names in the texts of a class, such as that of a table in `relationship("Child")`."""
        return frozenset(names_in_texts(self.node) if isinstance(self.node, ast.ClassDef) else ())

    @property
    def _annotations_are_lazy(self) -> bool:
        return self.future or sys.version_info >= (3, 14)


class Statements:
    """The statements of cells, made once for all workers."""

    def __init__(self, cells: Sequence[SourceCell]) -> None:
        self.cells = cells
        self._future = _cells_with_future(cells)
        self._made: dict[int, list[Statement]] = {}

    def of(self, cell: SourceCell) -> list[Statement]:
        """Return the statements of one of the cells that ran.

        Raises:
            SyntaxError: the cell is not valid Python.
        """
        if id(cell) not in self._made:
            future = id(cell) in self._future
            self._made[id(cell)] = [
                Statement(cell, node, n, text, ran, future) for n, (node, text, ran) in enumerate(cell.parts)
            ]
        return self._made[id(cell)]


def _cells_with_future(cells: Sequence[SourceCell]) -> set[int]:
    """Return the identities of cells with lazy annotations: IPython keeps a `__future__` for later cells."""
    found: set[int] = set()
    is_on = False
    for cell in cells:
        is_on = is_on or (cell.category in ("plain", "worker") and "annotations" in futures_of(cell))
        if is_on:
            found.add(id(cell))
    return found


def futures_of(cell: SourceCell) -> set[str]:
    """Return what a cell imports from `__future__`."""
    if "__future__" not in cell.body:
        return set()
    try:
        nodes = cell.tree.body
    except SyntaxError:
        return set()
    imports = [n for n in nodes if isinstance(n, ast.ImportFrom) and n.module == "__future__"]
    return {alias.name for node in imports for alias in node.names}


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
    )  # fmt: skip
    if isinstance(node, ast.Lambda):  # its body runs only when it is called
        return all(
            is_literal(default) for default in (*node.args.defaults, *filter(None, node.args.kw_defaults))
        )
    return all(isinstance(part, allowed) or _is_generic(part) for part in walk(node))


def _is_generic(node: ast.AST) -> bool:
    """Return whether a node is a generic type such as `dict[str, int]`, or an item of a constant.

    This goes by how the name is written: `os.environ["X"]` depends on the machine, so it is neither.
    """
    match node:
        case ast.Subscript(value=ast.Name(id=name)) | ast.Subscript(value=ast.Attribute(attr=name)):
            return name in _GENERIC or name[:1].isupper()
    return False


def is_handler(node: ast.stmt, names: Collection[str]) -> bool:
    """Return whether a statement is a function with a decorator of the worker, which has one of `names`."""
    if not isinstance(node, ast.AsyncFunctionDef | ast.FunctionDef):
        return False
    return any(root_name(decorator) in names for decorator in node.decorator_list)


def registers(node: ast.stmt, names: Collection[str]) -> bool:
    """Return whether a statement uses a decorator of the worker, or gives the worker to a call that may."""
    match node:
        case ast.Expr(value=ast.Call(func=func, args=args)) if root_name(func) not in _ONLY_LOOK:
            if any(isinstance(arg, ast.Name) and arg.id in names for arg in args):
                return True
    return any(
        part.attr in DECORATORS and isinstance(part.value, ast.Name) and part.value.id in names
        for part in find(node, ast.Attribute)
    )


def names_in(node: ast.AST) -> set[str]:
    """Return the names that an expression reads."""
    return {n.id for n in ast.walk(node) if isinstance(n, ast.Name)}


def root_name(node: ast.expr) -> str | None:
    """Return the name that calls and attributes begin with: `worker` of `worker.on_event("a")`."""
    while isinstance(node, ast.Call | ast.Attribute):
        node = node.func if isinstance(node, ast.Call) else node.value
    return node.id if isinstance(node, ast.Name) else None


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


@lru_cache(maxsize=KEPT)
def names_read_by_functions(node: ast.stmt, text: str | None = None) -> frozenset[str]:
    """Return the global names that functions in a statement read when they are called; `text` is its own."""
    if not find(node, ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda):
        return frozenset()
    if is_alone(node):
        return read_by_function(node)
    try:
        table = symtable.symtable(text or ast.unparse(node), "cell", "exec")
    except SyntaxError:  # a top-level `await`, which symtable does not parse: within a function it does
        indented = "\n".join(f" {line}" for line in ast.unparse(node).splitlines())
        table = symtable.symtable(f"async def _():\n{indented}", "cell", "exec")
    return frozenset(_read_later(table, in_function=False))


def _read_later(table: symtable.SymbolTable, *, in_function: bool) -> Iterator[str]:
    for child in table.get_children():
        inside = in_function or (child.get_type() == "function" and child.get_name() not in _AT_ONCE)
        if inside:
            for symbol in child.get_symbols():
                is_outer = _is_global(symbol) or (symbol.is_free() and table.get_type() == "module")
                if is_outer and (symbol.is_referenced() or symbol.is_assigned()):
                    yield symbol.get_name()
        yield from _read_later(child, in_function=inside)


def _is_global(symbol: symtable.Symbol) -> bool:
    """Return whether a symbol of a function is global; Python takes a function named `top` for the module."""
    return symbol.is_declared_global() or (symbol.is_global() and not symbol.is_local())


@lru_cache(maxsize=KEPT)
def names_in_annotations(node: ast.AST) -> frozenset[str]:
    """Return the names in annotations that are texts."""
    annotations = [
        *(one.annotation for one in find(node, ast.arg, ast.AnnAssign)),
        *(one.returns for one in find(node, ast.FunctionDef, ast.AsyncFunctionDef)),
    ]
    return frozenset(name for one in annotations if one is not None for name in names_in_texts(one))


def names_in_texts(node: ast.AST) -> set[str]:
    """Return the names in texts that may be annotations, or name a class: `"Child"`, `"list[Child]"`."""
    texts = (text for text in text_constants(node) if _TYPE_TEXT.fullmatch(text))
    return {name for text in texts for name in re.findall(r"[^\W\d]\w*", text)}


def _names_by_globals(node: ast.stmt) -> Iterator[str]:
    """Go through the names that `globals()["NAME"] = ...` binds."""
    for target in node.targets if isinstance(node, ast.Assign) else []:
        match target:
            case ast.Subscript(
                value=ast.Call(func=ast.Name(id="globals" | "vars" | "locals"), args=[]),
                slice=ast.Constant(value=str() as name),
            ):
                yield name
