"""Follows names through a notebook: what a worker's handlers need, and what of it can travel (design 9)."""

from __future__ import annotations

import ast
import builtins
import importlib
import symtable
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

from dnworker_jupyter.export.slicing.cells import SourceCell, last_line
from dnworker_jupyter.export.slicing.problems import ExportProblem
from dnworker_jupyter.export.slicing.requirements import Choice, choices_in

BOUND = frozenset({"worker", "EventEnvelope", "RuntimeClient", "TurnFailedError", "TurnCancelledError"})
"""Names that the script's own head defines."""

STAR = "*"
"""Stands among the names that a statement binds for all that `import *` may bind."""

UNFOLLOWED = frozenset({"eval", "exec", "globals"})
"""Builtins that find names in a way that nobody can follow."""

_MODULE_NAMES = frozenset({"__name__", "__file__", "__doc__", "__package__", "__builtins__"})
_BUILTINS = frozenset(dir(builtins)) | _MODULE_NAMES
_GENERIC = frozenset({"dict", "list", "tuple", "set", "frozenset", "type"})
_TO_STARTUP = "move it into an @worker.on_startup handler, and keep it in worker.state"
_TO_SHARED = "or put it into a cell of its own that begins with %%worker {worker} --shared"

Sort = Literal["import", "definition", "constant", "handler", "other"]


@dataclass(frozen=True, eq=False)
class Statement:
    """One top-level statement of a cell."""

    cell: SourceCell
    node: ast.stmt

    @property
    def place(self) -> str:
        """Where it stands."""
        return f"{self.cell.label}, line {self.node.lineno}"

    @cached_property
    def sort(self) -> Sort:
        """What it is to the exporter; `other` is what runs, and so cannot simply travel."""
        if self.cell.sort == "opaque":
            return "other"
        if self.cell.sort == "worker" and _is_handler(self.node, self.cell.alias):
            return "handler"
        return sort_of(self.node)

    @cached_property
    def source(self) -> str:
        """Its text, with decorators and the comments directly above."""
        if isinstance(self.node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            own_lines = self.cell.lines[self.first_line - 1 : last_line(self.node, self.cell.lines)]
            return "\n".join([*self.comments_above, *own_lines])
        own = ast.get_source_segment(self.cell.body, self.node) or ast.unparse(self.node)
        return "\n".join([*self.comments_above, f"{own}{self.comment_behind}"])

    @property
    def comments_above(self) -> list[str]:
        """The comments directly above it."""
        lines, first = self.cell.lines, self.first_line
        while first > 1 and lines[first - 2].startswith("#") and not lines[first - 2].startswith("#!"):
            first -= 1
        while lines[first - 1].strip() == "#" and first < self.first_line:
            first += 1  # the empty comment that stands for the %% line
        return lines[first - 1 : self.first_line - 1]

    @property
    def comment_behind(self) -> str:
        """The comment behind it on its last line, with the blanks before it."""
        assert self.node.end_lineno is not None
        line = self.cell.lines[self.node.end_lineno - 1].encode()
        rest = line[self.node.end_col_offset or 0 :].decode().strip()
        return f"  {rest}" if rest.startswith("#") else ""

    @property
    def first_line(self) -> int:
        """The line that it begins on, decorators included."""
        decorators: list[ast.expr] = getattr(self.node, "decorator_list", [])
        return min([self.node.lineno, *(d.lineno for d in decorators)])

    @cached_property
    def table(self) -> symtable.SymbolTable | None:
        """What Python says of its names; None for what waits at the top level."""
        decorators = getattr(self.node, "decorator_list", [])
        lines = self.cell.lines[self.first_line - 1 : self.node.end_lineno]
        text = ast.get_source_segment(self.cell.body, self.node) if not decorators else "\n".join(lines)
        try:
            return symtable.symtable(text or ast.unparse(self.node), "cell", "exec")
        except SyntaxError:
            return None

    @cached_property
    def nodes(self) -> tuple[ast.AST, ...]:
        """Its node and all below, which many want to go through."""
        return tuple(ast.walk(self.node))

    @cached_property
    def modules(self) -> tuple[set[Choice], set[str]]:
        """The modules that it imports, at any depth: what may be missing, and what must be there."""
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
        """The global names that it reads when it is executed, and not only when it is called."""
        node = self.node
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            parts = [*node.decorator_list, *node.args.defaults, *(d for d in node.args.kw_defaults if d)]
            return frozenset(n for p in parts for n in names_in(p))
        return self.needs


@dataclass(frozen=True)
class Slice:
    """What of a notebook goes into one worker's script."""

    worker: str
    imports: tuple[Statement, ...]
    import_names: frozenset[str]
    definitions: tuple[Statement, ...]
    handlers: tuple[Statement, ...]
    problems: tuple[ExportProblem, ...]
    names: tuple[str, ...] = ("worker",)
    """What its code calls the worker: `worker` first, where that is among them."""
    is_broken: bool = False
    """Whether one of its cells is no Python."""


class Statements:
    """The statements of cells, each made once, whichever worker asks."""

    def __init__(self, cells: Sequence[SourceCell]) -> None:
        self.cells = cells
        self._made: dict[int, list[Statement]] = {}

    def of(self, cell: SourceCell) -> list[Statement]:
        """Return the statements of one of the cells.

        Raises:
            SyntaxError: it is no Python.
        """
        if id(cell) not in self._made:
            self._made[id(cell)] = [Statement(cell, node) for node in cell.statements]
        return self._made[id(cell)]


def slice_worker(notebook: Statements, worker: str) -> Slice:
    """Find everything that the handlers of `worker` need, in the order in which the notebook defines it."""
    problems: list[ExportProblem] = []
    cells = notebook.cells
    statements = list(_statements(notebook, worker, problems))
    is_broken = bool(problems)
    own = [s for s in statements if _belongs_to(s, worker)]
    handlers = _latest_handlers(own)
    shared = [s for s in own if s.cell.line is not None and s.cell.line.shared and s.sort != "handler"]
    definitions = _definitions(s for s in statements if not _is_foreign_handler(s, worker))
    mutations = _mutations(s for s in statements if s.cell.sort == "plain")
    problems += [
        _refuse_effect(s) for s in own if s not in shared and s.sort == "other" and not _is_harmless(s.node)
    ]
    aliases = {c.alias for c in cells if c.line is not None and c.line.name == worker and c.alias}
    bound = BOUND | aliases
    roots = [*handlers, *shared]
    taken = dict.fromkeys(shared)
    names: set[str] = set()
    waiting = list(roots)
    seen: set[Statement] = set(roots)
    while waiting:
        user = waiting.pop(0)
        for name in sorted(user.needs):
            if name in bound or (name in _BUILTINS - UNFOLLOWED and name not in definitions):
                continue
            sources = definitions.get(name, [])
            source = sources[-1] if sources else None
            changed = mutations.get(name) if source is not None and source.sort != "import" else None
            star = definitions.get(STAR, [None])[-1] if source is None else None
            problem = _refuse_name(name, user, changed or source or star, worker, source in taken)
            if problem is not None:
                problems.append(problem)
                continue
            names.add(name)
            for found in sources:
                if found not in seen:
                    seen.add(found)
                    waiting.append(found)
                    taken[found] = None
        if not waiting:
            joining = _registered_with(taken, definitions, seen)
            seen.update(joining)
            waiting += joining
            taken |= dict.fromkeys(joining)
    ordered = _in_order_of_definition(taken)
    return Slice(
        worker=worker,
        imports=tuple(s for s in ordered if s.sort == "import"),
        import_names=frozenset(names) | {n for s in shared if s.sort == "import" for n in s.defines},
        definitions=tuple(s for s in ordered if s.sort not in ("import", "handler")),
        handlers=tuple(handlers),
        problems=tuple(dict.fromkeys(problems)),
        names=_names_of_worker({name for s in (*handlers, *ordered) for name in s.needs}, aliases),
        is_broken=is_broken,
    )


def _names_of_worker(needed: set[str], aliases: set[str]) -> tuple[str, ...]:
    """Return what the code calls its worker; `worker` where it does not say."""
    used = sorted(needed & aliases - {"worker"})
    return tuple(["worker"] if "worker" in needed or not used else []) + tuple(used)


def _latest_handlers(own: Iterable[Statement]) -> list[Statement]:
    """Return the handlers that count: a cell's own replace those of the same names in cells before it."""
    handlers: list[Statement] = []
    for statement in own:
        if statement.sort != "handler":
            continue
        name, what = _name_of(statement), _decorators(statement)
        handlers = [
            h
            for h in handlers
            if _name_of(h) != name or (h.cell is statement.cell and _decorators(h) != what)
        ]
        handlers.append(statement)
    return handlers


def _definitions(statements: Iterable[Statement]) -> dict[str, list[Statement]]:
    """Return what binds each name: the last statement, or all imports of submodules of one package."""
    found: dict[str, list[Statement]] = {}
    for statement in statements:
        for name in statement.defines:
            before = found.get(name, [])
            together = _imports_submodule(statement, name) and all(
                _imports_submodule(s, name) for s in before
            )
            found[name] = [*before, statement] if together else [statement]
    return found


def _mutations(statements: Iterable[Statement]) -> dict[str, Statement]:
    """Return for each name the last top-level statement that changes the object behind it."""
    found: dict[str, Statement] = {}
    for statement in statements:
        for name in _changed_names(statement.node):
            found[name] = statement
        for name in statement.defines:
            if name not in _changed_names(statement.node):
                found.pop(name, None)  # bound anew since
    return found


def _changed_names(node: ast.stmt) -> set[str]:
    match node:
        case ast.Expr(value=ast.Call(func=ast.Attribute() as called)):
            root = _base_name(called)
            return {root} if root else set()
        case ast.Assign(targets=targets) | ast.Delete(targets=targets):
            return {
                r for t in targets if isinstance(t, ast.Attribute | ast.Subscript) if (r := _base_name(t))
            }
        case ast.AugAssign(target=(ast.Attribute() | ast.Subscript()) as target):
            root = _base_name(target)
            return {root} if root else set()
    return set()


def _base_name(node: ast.expr) -> str | None:
    while isinstance(node, ast.Attribute | ast.Subscript):
        node = node.value
    return node.id if isinstance(node, ast.Name) else None


def _registered_with(
    taken: Iterable[Statement], definitions: dict[str, list[Statement]], seen: set[Statement]
) -> list[Statement]:
    """Return the definitions whose decorator, itself of the notebook, touches something that travels.

    `@command("hi") def hi()` fills the registry `COMMANDS`: where the registry goes, `hi` goes too.
    """
    travelling = {name for s in taken if s.sort != "import" for name in s.defines}
    joining = []
    for latest in {sources[-1]: None for sources in definitions.values()}:
        if latest in seen or latest.sort != "definition" or latest.cell.sort != "plain":
            continue
        roots = [_root_name(d) for d in getattr(latest.node, "decorator_list", [])]
        decorators = [definitions[root][-1] for root in roots if root in definitions]
        if any(d.sort == "definition" and d.needs & travelling - d.defines for d in decorators):
            joining.append(latest)
    return joining


def _in_order_of_definition(statements: Iterable[Statement]) -> list[Statement]:
    """Order statements as the notebook does, but each after what it reads when it is executed."""
    ordered = sorted(statements, key=lambda s: (s.cell.order, s.node.lineno, s.node.col_offset))
    binding = {name: s for s in ordered for name in s.defines}
    placed: dict[Statement, None] = {}

    def place(statement: Statement, above: frozenset[Statement]) -> None:
        if statement in placed or statement in above:
            return
        for name in sorted(statement.reads_at_once):
            if name in binding:
                place(binding[name], above | {statement})
        placed[statement] = None

    for statement in ordered:
        place(statement, frozenset())
    return list(placed)


# -- reading statements --------------------------------------------------------------------------------


def _statements(notebook: Statements, worker: str, problems: list[ExportProblem]) -> Iterator[Statement]:
    for cell in notebook.cells:
        if cell.sort in ("capability", "program", "test"):
            continue
        try:
            statements = notebook.of(cell)
        except SyntaxError as exc:
            if cell.line is not None and cell.line.name == worker:
                remedy = "mend the cell and run it"
                problems.append(
                    ExportProblem(
                        "the cell",
                        f"is no Python: {exc.msg}",
                        remedy,
                        cell.cell,
                        exc.lineno or 1,
                        exc.offset or 1,
                    )
                )
            continue
        yield from statements


def _decorators(statement: Statement) -> list[str]:
    return [ast.unparse(d) for d in getattr(statement.node, "decorator_list", [])]


def _imports_submodule(statement: Statement, name: str) -> bool:
    node = statement.node
    return isinstance(node, ast.Import) and any(
        a.asname is None and a.name.startswith(f"{name}.") for a in node.names
    )


def _belongs_to(statement: Statement, worker: str) -> bool:
    return statement.cell.line is not None and statement.cell.line.name == worker


def _is_foreign_handler(statement: Statement, worker: str) -> bool:
    return statement.sort == "handler" and not _belongs_to(statement, worker)


def _name_of(statement: Statement) -> str:
    return str(getattr(statement.node, "name", ""))


def _is_handler(node: ast.stmt, alias: str | None) -> bool:
    if not isinstance(node, ast.AsyncFunctionDef | ast.FunctionDef):
        return False
    return any(_root_name(decorator) in ("worker", alias) for decorator in node.decorator_list)


def names_in(node: ast.AST) -> set[str]:
    """Return the names that an expression reads."""
    return {n.id for n in ast.walk(node) if isinstance(n, ast.Name)}


def _root_name(node: ast.expr) -> str | None:
    while isinstance(node, ast.Call | ast.Attribute):
        node = node.func if isinstance(node, ast.Call) else node.value
    return node.id if isinstance(node, ast.Name) else None


def sort_of(node: ast.stmt) -> Sort:
    """Return what a statement is to the exporter, wherever it stands."""
    match node:
        case ast.Import() | ast.ImportFrom():
            return "import"
        case ast.FunctionDef() | ast.AsyncFunctionDef() | ast.ClassDef():
            return "definition"
        case ast.Assign(targets=targets, value=value) if all(_is_plain_target(t) for t in targets):
            return "constant" if is_literal(value) and not _reads_itself(targets, value) else "other"
        case ast.AnnAssign(target=ast.Name(), value=value) if value is None or is_literal(value):
            return "constant"
        case ast.If(test=test) if is_literal(test) and _all_travel(node):
            return "definition"
        case ast.Try() if _all_travel(node):
            return "definition"
    if type(node).__name__ == "TypeAlias":  # Python 3.12
        return "constant"
    return "other"


def _reads_itself(targets: Sequence[ast.expr], value: ast.expr) -> bool:
    bound = {n.id for t in targets for n in ast.walk(t) if isinstance(n, ast.Name)}
    return any(isinstance(n, ast.Name) and n.id in bound for n in ast.walk(value))


def _all_travel(node: ast.If | ast.Try) -> bool:
    inner = [*node.body, *node.orelse]
    if isinstance(node, ast.Try):
        inner += [*node.finalbody, *(s for handler in node.handlers for s in handler.body)]
    return all(isinstance(s, ast.Pass) or sort_of(s) != "other" for s in inner)


def _is_plain_target(node: ast.expr) -> bool:
    if isinstance(node, ast.Tuple):
        return all(_is_plain_target(item) for item in node.elts)
    return isinstance(node, ast.Name)


def is_literal(node: ast.expr) -> bool:
    """Tell whether an expression only spells a value out: constants, names and attributes, put together."""
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
    """Tell whether it is a type of others, `dict[str, int]`, or a look into a constant; both only look.

    By the way names are written: `os.environ["X"]` is what the machine says.
    """
    match node:
        case ast.Subscript(value=ast.Name(id=name)) | ast.Subscript(value=ast.Attribute(attr=name)):
            return name in _GENERIC or name[:1].isupper()
    return False


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
    """Return what `from MODULE import *` binds, where looking runs nobody's code; nothing of others."""
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


# -- refusing ------------------------------------------------------------------------------------------


def _refuse_name(
    name: str, user: Statement, source: Statement | None, worker: str, travels_whole: bool
) -> ExportProblem | None:
    to_shared = _TO_SHARED.format(worker=worker)

    def refuse(why: str, remedy: str) -> ExportProblem:
        line, column = _where_used(user.node, name)
        return ExportProblem(repr(name), why, remedy, user.cell.cell, line, column)

    if name in UNFOLLOWED and (source is None or name not in source.defines):
        if name != "globals" and _has_its_own_names(user, name):
            return None
        return refuse(
            f"what {name} names cannot be followed, so it might be missing in the script",
            "write the names out as code",
        )
    if name == "get_ipython" and (source is None or name not in source.defines):
        return refuse("magics and !shell lines exist only in a notebook", "write it as plain Python")
    if source is None:
        return refuse(
            "no cell defines it; it lives only in this kernel", f"define it in a cell, or {_TO_STARTUP}"
        )
    if source.sort == "import" and isinstance(source.node, ast.ImportFrom):
        if STAR in source.defines:
            may_be = "" if name in source.defines else "no cell defines it, unless "
            does = "imports *" if name in source.defines else "does, which imports *"
            return refuse(f"{may_be}{source.place} {does}", "import the names that are used")
        if source.node.level:
            return refuse(f"{source.place} imports relative to a package", "import it absolutely")
    if source.cell.sort == "opaque":
        magic = source.cell.cell.source.strip().partition("\n")[0]
        return refuse(f"{source.place} is in a cell under {magic}", "take that magic off, and run the cell")
    if source.sort == "other" and not travels_whole:
        return refuse(f"{source.place} {_what_it_does(source.node)}", f"{_TO_STARTUP}, {to_shared}")
    return None


def _has_its_own_names(user: Statement, name: str) -> bool:
    """Tell whether every `eval` or `exec` of a statement is given the names that it may find."""
    given = {id(n.func) for n in user.nodes if isinstance(n, ast.Call) and len(n.args) > 1}
    return all(id(n) in given for n in user.nodes if isinstance(n, ast.Name) and n.id == name)


def _refuse_effect(statement: Statement) -> ExportProblem:
    text = ast.unparse(statement.node).partition("\n")[0]
    shown = text if len(text) <= 50 else text[:47] + "..."
    return ExportProblem(
        f"`{shown}`",
        "it runs when the cell runs, and a script of handlers has no such moment",
        "move it into an @worker.on_startup handler, or into a cell that is no %%worker cell",
        statement.cell.cell,
        statement.node.lineno,
        statement.node.col_offset + 1,
    )


def _is_harmless(node: ast.stmt) -> bool:
    """Tell whether a statement only looks at something, so that leaving it out changes nothing."""
    if isinstance(node, ast.Pass):
        return True
    if not isinstance(node, ast.Expr):
        return False
    return is_literal(node.value) or _root_name(node.value) == "get_ipython"


def _what_it_does(node: ast.stmt) -> str:
    match node:
        case ast.Expr() | ast.Delete():
            return "changes it when the cell runs"
        case ast.Assign(targets=[ast.Attribute() | ast.Subscript(), *_]):
            return "changes it when the cell runs"
        case ast.Assign(value=value) | ast.AnnAssign(value=ast.expr() as value):
            if any(isinstance(n, ast.Name) and n.id == "get_ipython" for n in ast.walk(value)):
                return "assigns it from a magic, which exists only in a notebook"
            text = ast.unparse(value)
            shown = text if len(text) <= 50 else text[:47] + "..."
            return f"assigns it from {shown}, which ran in the notebook"
        case ast.AugAssign():
            return "changes it in place when the cell runs"
        case ast.For() | ast.AsyncFor() | ast.While():
            return "sets it in a loop that ran in the notebook"
        case ast.With() | ast.AsyncWith():
            return "sets it in a with block that ran in the notebook"
    return "sets it when the cell runs"


def _where_used(node: ast.stmt, name: str) -> tuple[int, int]:
    for part in ast.walk(node):
        if isinstance(part, ast.Name) and part.id == name:
            return part.lineno, part.col_offset + 1
    return node.lineno, node.col_offset + 1


def worker_names(cells: Iterable[SourceCell]) -> list[str]:
    """Return the workers that cells define, in order."""
    return list(dict.fromkeys(c.line.name for c in cells if c.line is not None and c.sort == "worker"))
