"""Reads a script as sections of a notebook: what handlers share, and each handler; used by the importer."""

from __future__ import annotations

import ast
import re
import symtable
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace

from dnworker.core import parsing
from dnworker_jupyter.export.planning.render import PROVIDED_NAMES
from dnworker_jupyter.export.slicing.cells import first_line, last_line, read_cells
from dnworker_jupyter.export.slicing.requirements import is_sdk_module
from dnworker_jupyter.export.slicing.statements import Statement, is_handler, registers
from dnworker_jupyter.importer.comments import Above, lost_comments, read_above
from dnworker_jupyter.importer.placement import Chunk, arranged
from dnworker_jupyter.syntax.cell import Cell
from dnworker_jupyter.syntax.transform import CELL_NAMES

_MACHINE = re.compile(r"#!|#.*coding[:=]\s*[-\w.]+")
"""Lines at the top of a file that only programs read."""
_METADATA = re.compile(r"^# /// script$.*?^# ///$\n?", re.MULTILINE | re.DOTALL)


class ScriptReader:
    """Reads one script; what a cell cannot contain is in `problems`, with its line.

    Args:
        text: of the script.
        path: the script's path, as problems name it.
        worker: the worker's name; None for a module that workers share.
        siblings: the modules beside it; True for one that an export made for several workers.
        plain: whether the cells of an export may be plain Python, where they were that.

    Raises:
        SyntaxError: the text is not valid Python.
    """

    def __init__(
        self,
        text: str,
        path: str,
        worker: str | None,
        siblings: Mapping[str, bool],
        *,
        plain: bool = False,
    ) -> None:
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
        is_export = self.docstring.endswith("exported from a notebook by dnworker.")
        if is_export:
            self.docstring = ""
        self.handle: str | None = None
        """What plain Python called the worker in the notebook that the script was exported from."""
        if worker is not None:
            self._variable = self._find_worker(tree)
            if is_export and plain and self._variable != "worker":
                self.handle = self._variable
            elif self._variable != "worker" and not self.problems:
                text = self._renamed(text, tree)
                tree = parse(text)
        self._lines = text.split("\n")
        kept = [node for node in tree.body if not (self._runs_worker(node) or self._is_the_worker(node))]
        self._needed = {n.id for node in kept for n in ast.walk(node) if isinstance(n, ast.Name)}
        self._check(kept)
        self.sections = arranged(together(self._chunks(text, tree)), self._variable)

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

    # -- statements ------------------------------------------------------------------------------------

    def _check(self, nodes: list[ast.stmt]) -> None:
        """Note what no order of cells can say."""
        for node in nodes:
            if self._worker is not None and self._variable in _binds(node):
                self._bad(node.lineno, f"{self._variable!r} is bound anew; a cell's is its Worker")

    def _chunks(self, text: str, tree: ast.Module) -> Iterator[Chunk]:
        """Cut the text between its statements; comments stay with what they stand above."""
        (cell,) = read_cells([Cell(0, text)])
        lazy = any(isinstance(n, ast.ImportFrom) and n.module == "__future__" for n in tree.body)
        waiting: tuple[str, ...] = ()
        headings: tuple[str, ...] = ()
        after = 0
        for nodes in _by_line(tree.body, self._lines):
            begin, end = first_line(nodes[0]), last_line(nodes[-1], self._lines)
            between = self._above(after, begin)
            above = read_above(between)
            own = self._kept_of(nodes)
            after = end
            headings += above.headings
            if not own or (self._lines[begin - 2 : begin - 1] or [""])[0].strip() == "":
                waiting = _joined(waiting, above.lines)
                above = Above()
            lost = tuple(lost_comments(self._lines[begin - 1 : end], own))
            if not any(own):
                waiting = _joined(waiting, lost)
                continue
            lines = _joined(waiting, (*above.lines, *lost, *own))
            statements = tuple(Statement(cell, node, future=lazy) for node in nodes)
            is_apart = any(not line.strip() for line in between)
            yield Chunk(statements, lines, begin, headings, is_apart, self._handler_in(nodes))
            waiting = headings = ()
        rest = read_above(self._lines[after:])
        if left := _joined(waiting, (*_as_comments((*headings, *rest.headings)), *rest.lines)):
            yield Chunk((), left, after + 1)

    def _above(self, after: int, begin: int) -> list[str]:
        """Return the lines between two statements; of the first, without what is no comment to readers."""
        above = self._lines[after : begin - 1]
        if not after:
            above = _without_metadata(above)
            above = [line for line in above if not _MACHINE.match(line)]
        return above

    def _kept_of(self, nodes: Sequence[ast.stmt]) -> list[str]:
        if len(nodes) == 1:
            return self._kept(nodes[0])
        kept = [self._kept(node) for node in nodes]  # several share a line: each gets its own
        return [
            line
            for node, own in zip(nodes, kept, strict=True)
            if own
            for line in ast.unparse(node).split("\n")
        ]

    def _handler_in(self, nodes: Sequence[ast.stmt]) -> str | None:
        """Return the name of the handler that statements register; None where they register none."""
        names = {self._variable}
        if self._worker is None or not any(is_handler(n, names) or registers(n, names) for n in nodes):
            return None
        return str(getattr(nodes[0], "name", f"line-{nodes[0].lineno}"))

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
        has_names = self._worker is not None and self.handle is None
        return name in self._needed and not (has_names and name in CELL_NAMES)

    def _text(self, node: ast.stmt) -> list[str]:
        return self._lines[node.lineno - 1 : node.end_lineno]

    def _sibling(self, module: str) -> str | None:
        if module not in self._siblings:
            return None
        known = self.shared if self._siblings[module] else self.local
        if module not in known:
            known.append(module)
        return module


def _without_metadata(lines: list[str]) -> list[str]:
    """Return lines without the metadata of a script (PEP 723)."""
    # Not beyond the last line that ends some: what begins there would be searched to the end, line by line.
    last = max((number for number, line in enumerate(lines, 1) if line == "# ///"), default=0)
    first, rest = ("".join(f"{line}\n" for line in part) for part in (lines[:last], lines[last:]))
    return f"{_METADATA.sub('', first)}{rest}".split("\n")


def parse(text: str) -> ast.Module:
    """Parse a script.

    Raises:
        SyntaxError: the text is not valid Python; for a null byte too, where Python raises ValueError.
    """
    try:
        return parsing.parse(text)
    except (RecursionError, MemoryError) as exc:
        raise SyntaxError("nested too deep to be read") from exc
    except ValueError as exc:
        raise SyntaxError(str(exc)) from exc


def _by_line(body: Sequence[ast.stmt], lines: Sequence[str]) -> Iterator[list[ast.stmt]]:
    """Yield the statements of a module, those that share a line together."""
    found: list[ast.stmt] = []
    for node in body:
        if found and first_line(node) > last_line(found[-1], [*lines]):
            yield found
            found = []
        found.append(node)
    if found:
        yield found


def _joined(above: Sequence[str], below: Sequence[str]) -> tuple[str, ...]:
    """Return two groups of lines with a blank line between, where there are two."""
    return (*above, *([""] if above and below else []), *below)


def _as_comments(headings: Iterable[str]) -> list[str]:
    return [f"# {line}".rstrip() for heading in headings for line in heading.split("\n") if line]


def together(chunks: Iterable[Chunk]) -> list[Chunk]:
    """Join handlers of one name into one cell: in two cells, the later would replace the earlier."""
    found: list[Chunk] = []
    positions: dict[str, int] = {}
    for chunk in chunks:
        at = positions.get(chunk.handler) if chunk.handler is not None else None
        if at is not None:
            first = found[at]
            statements = (*first.statements, *chunk.statements)
            lines = (*first.lines, "", "", *_as_comments(chunk.headings), *chunk.lines)
            found[at] = replace(first, statements=statements, lines=lines)
            continue
        if chunk.handler is not None:
            positions[chunk.handler] = len(found)
        found.append(chunk)
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
