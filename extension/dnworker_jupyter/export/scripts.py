"""Takes a worker's script apart into cells: what handlers share, and the handlers, with their comments."""

from __future__ import annotations

import ast
import re
import symtable
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from dnworker_jupyter.export.render import PROVIDED, is_ours
from dnworker_jupyter.export.slice import BOUND
from dnworker_jupyter.transform import DECORATORS

_METADATA = re.compile(r"^# /// script$.*?^# ///$\n?", re.MULTILINE | re.DOTALL)


@dataclass(frozen=True)
class Piece:
    """The text of one cell; `handler` is the function's name where it is one, `line` where it stood."""

    text: str
    line: int
    handler: str | None = None


class ScriptReader:
    """One script, read; what a cell cannot say is in `problems`, with its line.

    Args:
        text: of the script.
        path: what problems call it.
        worker: the worker's name; None for a module that workers share.
        siblings: the modules beside it, and of each whether an export made it for several workers.

    Raises:
        SyntaxError: it is no Python.
    """

    def __init__(self, text: str, path: str, worker: str | None, siblings: Mapping[str, bool]) -> None:
        self.problems: list[str] = []
        self.shared: list[str] = []
        """The modules that an export made, whose statements are cells too."""
        self.local: list[str] = []
        """Other modules beside it, which stay modules."""
        self._path = path
        self._worker = worker
        self._siblings = siblings
        self._variable = "worker"
        tree = ast.parse(text)
        self.docstring = ast.get_docstring(tree) or ""
        if self.docstring.endswith("exported from a notebook by dnworker."):
            self.docstring = ""
        if worker is not None:
            self._variable = self._find_worker(tree)
            if self._variable != "worker" and not self.problems:
                text = self._renamed(text, tree)
                tree = ast.parse(text)
        self._lines = text.split("\n")
        self._needed = _needs_of(tree, self._dropped_by(tree))
        self.pieces = [*self._pieces(tree)]

    def _bad(self, line: int | None, what: str) -> None:
        place = self._path if line is None else f"{self._path}, line {line}"
        self.problems.append(f"{place}: {what}")

    # -- the worker's name -----------------------------------------------------------------------------

    def _find_worker(self, tree: ast.Module) -> str:
        """Return the variable of the Worker that the script makes."""
        found = [node for node in tree.body if self._makes_worker(node)]
        if len(found) != 1:
            count = "no Worker" if not found else f"{len(found)} Workers"
            self._bad(None, f"makes {count} at its top level by NAME = Worker(...)")
            return "worker"
        target = found[0].targets[0] if isinstance(found[0], ast.Assign) else found[0].target  # type: ignore[attr-defined]
        assert isinstance(target, ast.Name)
        return target.id

    @staticmethod
    def _makes_worker(node: ast.stmt) -> bool:
        match node:
            case ast.Assign(targets=[ast.Name()], value=ast.Call(func=made)):
                pass
            case ast.AnnAssign(target=ast.Name(), value=ast.Call(func=made)):
                pass
            case _:
                return False
        return getattr(made, "id", getattr(made, "attr", "")) == "Worker"

    def _renamed(self, text: str, tree: ast.Module) -> str:
        """Return the script with its Worker called `worker`, as cells call theirs."""
        old = self._variable
        local = next(_locals_named({old, "worker"}, symtable.symtable(text, self._path, "exec")), None)
        if local is not None or any(isinstance(n, ast.Name) and n.id == "worker" for n in ast.walk(tree)):
            what = (
                f"{local!r} is a local name too" if local is not None else "'worker' is something else there"
            )
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

    def _pieces(self, tree: ast.Module) -> Iterator[Piece]:
        """Cut the text between its statements; comments stay with what they stand above."""
        waiting: list[str] = []
        first = 0
        after = 0
        for node in tree.body:
            begin, end = _first_line(node), node.end_lineno or node.lineno
            if begin <= after:
                self.problems.append(
                    f"{self._path}, line {begin}: several statements share a line; give each its own"
                )
                continue
            above = self._lines[after : begin - 1]
            if not after:
                above = _METADATA.sub("", "".join(f"{line}\n" for line in above)).splitlines()
                above = [line for line in above if not line.startswith("#!")]
            own = self._kept(node)
            after = end
            if self._is_handler(node):
                if any(line.strip() for line in waiting):
                    yield Piece(_trimmed(waiting), first)
                waiting = []
                yield Piece(_trimmed([*above, *own]), begin, str(node.name))  # type: ignore[attr-defined]
            elif own is not _NOTHING:
                first = first or begin
                first = begin if not waiting else first
                waiting += [*above, *own]
            elif any(line.strip() for line in above) and not _is_docstring(node):
                waiting += above
        waiting += self._lines[after:]
        if any(line.strip() for line in waiting):
            yield Piece(_trimmed(waiting), first or 1)

    def _kept(self, node: ast.stmt) -> list[str]:
        """Return a statement's lines as the cell has them; `_NOTHING` for what the export writes anew."""
        lines = self._lines[_first_line(node) - 1 : node.end_lineno]
        if _is_docstring(node) or _is_guard(node) or self._is_the_worker(node):
            return _NOTHING
        imported = self._imported(node)
        if imported is not None:
            return imported
        for inner in ast.walk(node):
            if isinstance(inner, ast.ImportFrom) and inner.level:
                self._bad(
                    inner.lineno,
                    "imports relative to a package inside of other code, which "
                    "a notebook is not; move it to the top level",
                )
        return lines

    def _is_the_worker(self, node: ast.stmt) -> bool:
        return self._worker is not None and self._makes_worker(node)

    def _imported(self, node: ast.stmt) -> list[str] | None:
        """Return an import as cells write it; None for what is none."""
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
            return self._text(node) if self._worker is not None else _NOTHING
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
                return _NOTHING
            return [ast.unparse(ast.ImportFrom(node.module, node.names, 0))]
        if is_ours(node.module):
            kept = [a for a in node.names if a.asname or a.name not in PROVIDED or self._wants(a.name)]
            if not kept:
                return _NOTHING
            if len(kept) < len(node.names):
                return [ast.unparse(ast.ImportFrom(node.module, kept, 0))]
        return self._text(node)

    def _wants(self, name: str) -> bool:
        """Tell whether the code needs a name that cells do not find bound."""
        return name not in BOUND and name in self._needed

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

    def _dropped_by(self, tree: ast.Module) -> list[ast.stmt]:
        return [node for node in tree.body if _is_guard(node) or self._is_the_worker(node)]


_NOTHING: list[str] = []
"""By identity: a statement that the export writes anew."""


def _needs_of(tree: ast.Module, dropped: list[ast.stmt]) -> set[str]:
    return {
        inner.id
        for node in tree.body
        if node not in dropped
        for inner in ast.walk(node)
        if isinstance(inner, ast.Name)
    }


def _first_line(node: ast.stmt) -> int:
    decorators: list[ast.expr] = getattr(node, "decorator_list", [])
    return min([node.lineno, *(d.lineno for d in decorators)])


def _trimmed(lines: list[str]) -> str:
    """Return lines without blank ones around them, and no more than two in a row within."""
    return re.sub(r"\n{4,}", "\n\n\n", "\n".join(lines).strip("\n"))


def _is_docstring(node: ast.stmt) -> bool:
    return (
        isinstance(node, ast.Expr)
        and isinstance(node.value, ast.Constant)
        and isinstance(node.value.value, str)
    )


def _is_guard(node: ast.stmt) -> bool:
    """Tell whether it is `if __name__ == "__main__":`."""
    match node:
        case ast.If(test=ast.Compare(left=ast.Name(id="__name__"))):
            return True
    return False


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
