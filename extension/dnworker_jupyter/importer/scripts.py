"""Splits a script into the texts of cells: what handlers share, and each handler; used by the importer."""

from __future__ import annotations

import ast
import re
import symtable
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace

from dnworker.core.handlers import DECORATORS
from dnworker_jupyter.export.planning.render import PROVIDED_NAMES
from dnworker_jupyter.export.slicing.cells import first_line, last_line
from dnworker_jupyter.export.slicing.requirements import is_sdk_module
from dnworker_jupyter.export.slicing.statements import category_of, names_in, run_at_once
from dnworker_jupyter.syntax.transform import CELL_NAMES

_METADATA = re.compile(r"^# /// script$.*?^# ///$\n?", re.MULTILINE | re.DOTALL)


@dataclass(frozen=True)
class Piece:
    """The text of one cell: its line in the script, and the name of the handler, where it is one."""

    text: str
    line: int
    handler: str | None = None


class ScriptReader:
    """Reads one script; what a cell cannot contain is in `problems`, with its line.

    Args:
        text: of the script.
        path: the script's path, as problems name it.
        worker: the worker's name; None for a module that workers share.
        siblings: the modules beside it; True for one that an export made for several workers.

    Raises:
        SyntaxError: the text is not valid Python.
    """

    def __init__(self, text: str, path: str, worker: str | None, siblings: Mapping[str, bool]) -> None:
        self.problems: list[str] = []
        self.notes: list[str] = []
        """What an export of the cells will not have."""
        self.shared: list[str] = []
        """The modules that an export made, whose statements are cells too."""
        self.local: list[str] = []
        """Other modules beside it, which stay modules."""
        self._path = path
        self._worker = worker
        self._siblings = siblings
        self._variable = "worker"
        tree = parse(text)
        self.docstring = ast.get_docstring(tree) or ""
        if self.docstring.endswith("exported from a notebook by dnworker."):
            self.docstring = ""
        if worker is not None:
            self._variable = self._find_worker(tree)
            if self._variable != "worker" and not self.problems:
                text = self._renamed(text, tree)
                tree = ast.parse(text)
        self._lines = text.split("\n")
        kept = [node for node in tree.body if not (self._runs_worker(node) or self._is_the_worker(node))]
        self._needed = {n.id for node in kept for n in ast.walk(node) if isinstance(n, ast.Name)}
        self._check_order(kept)
        self.pieces = _together(self._pieces(tree))

    def _bad(self, line: int | None, why: str) -> None:
        location = self._path if line is None else f"{self._path}, line {line}"
        self.problems.append(f"{location}: {why}")

    # -- the worker's name -----------------------------------------------------------------------------

    def _find_worker(self, tree: ast.Module) -> str:
        """Return the variable that the script binds to its Worker."""
        found = [variable for node in tree.body if (variable := _worker_variable(node)) is not None]
        if len(found) == 1:
            return found[0]
        count = "no Worker" if not found else f"{len(found)} Workers"
        self._bad(None, f"makes {count} at its top level by NAME = Worker(...)")
        return "worker"

    def _renamed(self, text: str, tree: ast.Module) -> str:
        """Return the script with its Worker renamed to `worker`, its name in cells."""
        old = self._variable
        table = symtable.symtable(text, self._path, "exec")
        taken = "worker" in table.get_identifiers() or next(_locals_named({old, "worker"}, table), None)
        if taken:
            what = "'worker' is something else there" if taken is True else f"{taken!r} is a local name too"
            self._bad(
                None, f"its Worker is called {old!r}, which cells call 'worker', and {what}; rename one"
            )
            return text
        lines = [line.encode() for line in re.split(r"(?<=\n)", text)]
        names = [n for n in ast.walk(tree) if isinstance(n, ast.Name) and n.id == old]
        for name in sorted(names, key=lambda n: (n.lineno, n.col_offset), reverse=True):
            line = lines[name.lineno - 1]
            end = name.col_offset + len(old.encode())
            if line[name.col_offset : end] != old.encode():  # in an f-string, before Python 3.12
                self._bad(name.lineno, f"{old!r} stands in an f-string; call the Worker 'worker'")
                return text
            lines[name.lineno - 1] = line[: name.col_offset] + b"worker" + line[end:]
        self._variable = "worker"
        return b"".join(lines).decode()

    # -- cells -----------------------------------------------------------------------------------------

    def _check_order(self, nodes: list[ast.stmt]) -> None:
        """Refuse code that must run between or after handlers: an export has all shared code before them."""
        handlers: set[str] = set()
        read: set[str] = set()
        bound: set[str] = set()
        for node in nodes:
            at_once = {n for part in run_at_once(node) for n in names_in(part)}
            stored = _binds(node)
            if self._is_handler(node):
                handlers.add(str(node.name))  # type: ignore[attr-defined]
                read |= at_once
                continue
            before = "and an export has what handlers share before them"
            for name in sorted(at_once & handlers):
                self._bad(
                    node.lineno, f"needs handler {name!r} when it runs, {before}; move it into a handler"
                )
            for name in sorted(stored & read & bound):
                self._bad(node.lineno, f"binds {name!r} anew, which a handler above read; use two names")
            if self._registers(node):
                self._bad(
                    node.lineno,
                    "registers handlers in a way that cells do not show; decorate functions at the top level",
                )
            elif handlers and category_of(node) == "other":
                self._bad(node.lineno, f"runs below handlers, {before}; put it above them")
            if self._worker is not None and self._variable == "worker" and "worker" in stored:
                self._bad(node.lineno, "'worker' is bound anew; a cell's is its Worker")
            bound |= stored

    def _registers(self, node: ast.stmt) -> bool:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            return False
        return any(
            isinstance(n, ast.Attribute)
            and n.attr in DECORATORS
            and isinstance(n.value, ast.Name)
            and n.value.id == self._variable
            for n in ast.walk(node)
        )

    def _pieces(self, tree: ast.Module) -> Iterator[Piece]:
        """Cut the text between its statements; comments stay with what they stand above."""
        waiting: list[str] = []
        first = after = 0
        for node in tree.body:
            begin, end = first_line(node), last_line(node, self._lines)
            if begin <= after:
                self._bad(begin, "several statements share a line; give each its own")
                continue
            above = self._lines[after : begin - 1]
            if not after:
                above = _METADATA.sub("", "".join(f"{line}\n" for line in above)).split("\n")
                above = [line for line in above if not line.startswith("#!")]
            own = self._kept(node)
            after = end
            if self._is_handler(node):
                yield Piece(_trimmed(waiting), first)
                waiting = []
                yield Piece(_trimmed([*above, *own]), begin, str(node.name))  # type: ignore[attr-defined]
                continue
            first = first if any(waiting) else begin
            waiting += [*above, *own]
        yield Piece(_trimmed([*waiting, *self._lines[after:]]), first or 1)

    def _kept(self, node: ast.stmt) -> list[str]:
        """Return a statement's lines as the cell has them; no lines for what an export writes itself."""
        if _is_docstring(node) or self._runs_worker(node) or self._is_the_worker(node):
            return []
        imported = self._imported(node)
        if imported is not None:
            return imported
        for inner in ast.walk(node):
            if isinstance(inner, ast.ImportFrom) and inner.level:
                self._bad(
                    inner.lineno,
                    "imports relative to a package inside of other code, and a notebook is none; move it to "
                    "the top level",
                )
            if isinstance(inner, ast.Name) and inner.id == "__file__":
                self._bad(
                    inner.lineno, "uses __file__, which a notebook has not; name the place by a variable"
                )
        return self._lines[first_line(node) - 1 : last_line(node, self._lines)]

    def _runs_worker(self, node: ast.stmt) -> bool:
        """Return whether a statement only runs the worker; other code under a main guard is noted."""
        if self._worker is None:
            return False
        if isinstance(node, ast.Expr):
            return ast.unparse(node) == f"{self._variable}.run()"
        if not isinstance(node, ast.If) or not _is_main_guard(node):
            return False
        runs = (f"{self._variable}.run()", f"asyncio.run({self._variable}.arun())")
        for code in map(ast.unparse, node.body):
            if code not in runs:
                shown = code.partition("\n")[0]
                self._note(node.lineno, f"`{shown}` stands under the main guard, which an export writes anew")
        return True

    def _note(self, line: int, what: str) -> None:
        note = f"{self._path}, line {line}: {what}"
        self.notes += [note] if note not in self.notes else []

    def _is_the_worker(self, node: ast.stmt) -> bool:
        return self._worker is not None and _worker_variable(node) is not None

    def _imported(self, node: ast.stmt) -> list[str] | None:
        """Return an import as a cell has it; None for any other statement."""
        inner = _in_both(node)
        if inner is not None:
            node = inner
        if isinstance(node, ast.Import):
            names = [self._sibling(a.name.partition(".")[0]) for a in node.names]
            if any(names) and any(self._siblings.get(name or "") for name in names):
                self._bad(node.lineno, "imports a shared module as a whole; import its names")
            return ast.unparse(node).splitlines() if inner is not None else self._text(node)
        if not isinstance(node, ast.ImportFrom):
            return None
        if node.module == "__future__":  # it is for all cells that run after this one
            return self._text(node)
        if node.level and node.module is None:  # from . import helper
            for alias in node.names:
                self._sibling(alias.name)
            return [f"import {a.name}" + (f" as {a.asname}" if a.asname else "") for a in node.names]
        top = (node.module or "").partition(".")[0]
        if node.level > 1 or (node.level and top not in self._siblings):
            self._bad(node.lineno, "imports from above its directory")
            return self._text(node)
        if top in self._siblings:
            self._sibling(top)
            if self._siblings[top]:
                if any(alias.asname or alias.name == "*" for alias in node.names):
                    self._bad(node.lineno, "gives names of a shared module other names; use its own")
                return []
            return [ast.unparse(ast.ImportFrom(node.module, node.names, 0))]
        if is_sdk_module(node.module):
            kept = [a for a in node.names if a.asname or a.name not in PROVIDED_NAMES or self._wants(a.name)]
            if not kept:
                return []
            if len(kept) < len(node.names):
                return [ast.unparse(ast.ImportFrom(node.module, kept, 0))]
        return self._text(node)

    def _wants(self, name: str) -> bool:
        """Return whether the code needs a name that its cell does not have anyway."""
        return name in self._needed and (self._worker is None or name not in CELL_NAMES)

    def _text(self, node: ast.stmt) -> list[str]:
        return self._lines[node.lineno - 1 : node.end_lineno]

    def _sibling(self, module: str) -> str | None:
        if module not in self._siblings:
            return None
        known = self.shared if self._siblings[module] else self.local
        if module not in known:
            known.append(module)
        return module

    def _is_handler(self, node: ast.stmt) -> bool:
        if self._worker is None or not isinstance(node, ast.AsyncFunctionDef):
            return False
        for decorator in node.decorator_list:
            match decorator.func if isinstance(decorator, ast.Call) else decorator:
                case ast.Attribute(value=ast.Name(id=name), attr=attr):
                    if name == self._variable and attr in DECORATORS:
                        return True
        return False


def parse(text: str) -> ast.Module:
    """Parse a script.

    Raises:
        SyntaxError: the text is not valid Python; for a null byte too, where Python raises ValueError.
    """
    try:
        return ast.parse(text)
    except ValueError as exc:
        raise SyntaxError(str(exc)) from exc


def _together(pieces: Iterable[Piece]) -> list[Piece]:
    """Join handlers of one name into one cell: in two cells, the later would replace the earlier."""
    found: list[Piece] = []
    positions: dict[str, int] = {}
    for piece in pieces:
        if not piece.text.strip():
            continue
        at = positions.get(piece.handler) if piece.handler is not None else None
        if at is not None:
            found[at] = replace(found[at], text=f"{found[at].text}\n\n\n{piece.text}")
            continue
        if piece.handler is not None:
            positions[piece.handler] = len(found)
        found.append(piece)
    return found


def _binds(node: ast.stmt) -> set[str]:
    """Return the names that a statement binds when it runs."""
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        return {node.name}
    names = {n.id for n in ast.walk(node) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store)}
    for inner in ast.walk(node):
        if isinstance(inner, ast.Import | ast.ImportFrom):
            names |= {a.asname or a.name.partition(".")[0] for a in inner.names}
    return names


def _trimmed(lines: list[str]) -> str:
    """Return lines as text, without blank lines around it."""
    return re.sub(r"\A(?:[ \t]*\n)+", "", "\n".join(lines)).rstrip()


def _worker_variable(node: ast.stmt) -> str | None:
    """Return the variable of `NAME = Worker(...)`; None for any other statement."""
    match node:
        case ast.Assign(targets=[ast.Name(id=variable)], value=ast.Call(func=made)):
            pass
        case ast.AnnAssign(target=ast.Name(id=variable), value=ast.Call(func=made)):
            pass
        case _:
            return None
    return variable if getattr(made, "id", getattr(made, "attr", "")) == "Worker" else None


def _is_main_guard(node: ast.If) -> bool:
    """Return whether a statement is `if __name__ == "__main__":`, without an `else`."""
    match node:
        case ast.If(
            test=ast.Compare(
                left=ast.Name(id="__name__"), ops=[ast.Eq()], comparators=[ast.Constant(value="__main__")]
            ),
            orelse=[],
        ):
            return True
    return False


def _is_docstring(node: ast.stmt) -> bool:
    return (
        isinstance(node, ast.Expr)
        and isinstance(node.value, ast.Constant)
        and isinstance(node.value.value, str)
    )


def _in_both(node: ast.stmt) -> ast.Import | ast.ImportFrom | None:
    """Return the second import of `if __package__: from .x import y` / `else: from x import y`."""
    match node:
        case ast.If(test=ast.Name(id="__package__"), body=[ast.ImportFrom()], orelse=[other]):
            return other if isinstance(other, ast.Import | ast.ImportFrom) else None
    return None


def _locals_named(names: set[str], table: symtable.SymbolTable) -> Iterator[str]:
    for child in table.get_children():
        for symbol in child.get_symbols():
            if symbol.get_name() in names and symbol.is_local():
                yield symbol.get_name()
        yield from _locals_named(names, child)
