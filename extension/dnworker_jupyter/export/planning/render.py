"""Writes the text of a script, with its PEP 723 header, and of the shared module; used by planning."""

from __future__ import annotations

import ast
import json
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass

from dnworker_jupyter.export.planning.annotations import as_text, envelope_names
from dnworker_jupyter.export.planning.carried import CARRIED, RULES
from dnworker_jupyter.export.slicing.requirements import Requirement, is_sdk_module
from dnworker_jupyter.export.slicing.shared_module import Script, SharedModule
from dnworker_jupyter.export.slicing.slice import BOUND
from dnworker_jupyter.export.slicing.statements import Statement, names_of_star

PROVIDED_NAMES = (BOUND - {"worker"}) | {"Worker"}
"""Names that the head of a script imports, whichever package the notebook has them from."""

_COMPOUND = (
    *(ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef, ast.If, ast.Try, ast.For, ast.AsyncFor),
    *(ast.While, ast.With, ast.AsyncWith, ast.Match, ast.TryStar),
)

SDK_REQUIREMENT = "dreadnode>=2.0,<3.0"
SDK_MODULE = "dreadnode.capabilities.worker"


@dataclass(frozen=True)
class Target:
    """What a script imports its Worker from, and what it requires for that."""

    module: str
    requirement: str
    sources: tuple[str, ...] = ()


def script(
    source: Script,
    target: Target,
    requirements: Iterable[Requirement],
    requires_python: str,
    shared: str | None = None,
    local: Collection[str] = (),
    completion: str = "",
) -> str:
    """Return the text of one worker's script.

    Args:
        source: the statements that it contains.
        target: the SDK that it imports its Worker from.
        requirements: the distributions that it needs.
        requires_python: the bounds of its Python version.
        shared: the name of the module that it shares with other scripts.
        local: the local modules that are exported beside it.
        completion: code that stands before its handlers, by which they run on another client.
    """
    piece = source.piece
    own, *others = piece.names
    needed = list(requirements)
    header = pep723(
        requires_python,
        [target.requirement, *map(str, needed)],
        [*target.sources, *(r.source for r in needed if r.source)],
    )
    used = {name for s in (*piece.handlers, *piece.definitions) for name in s.needs} & BOUND
    names = ", ".join(sorted({"Worker", *used} - {"worker"}))
    parts = [
        header,
        f'"""Worker {piece.worker}, exported from a notebook by dnworker."""\n',
        *([_FUTURE] if piece.has_future else []),
        *_imports(piece.imports, piece.import_names, target, local),
        f"from {target.module} import {names}\n",
        *([_from_shared(shared, source.from_shared)] if shared and source.from_shared else []),
        *([f"\n{completion}"] if completion else []),
        "\n".join([f'{own} = Worker(name="{piece.worker}")', *(f"{other} = {own}" for other in others), ""]),
    ]
    edit = _edit(target, piece.imports, has_future=piece.has_future)
    parts += _blocks(piece.body, lambda s: "".join(_imports([s], s.defines, target, local)), edit)
    parts.append(f'\nif __name__ == "__main__":\n    {own}.run()\n')
    return "\n".join(parts)


_FUTURE = "from __future__ import annotations\n"
_SHARED_MODULE = '"""What several workers share, exported from a notebook by dnworker."""\n'


def is_shared_module(text: str) -> bool:
    """Return whether a module is one that `shared_module` made."""
    return text.startswith(_SHARED_MODULE)


def shared_module(shared: SharedModule, target: Target, local: Collection[str] = ()) -> str:
    """Return the text of the module that scripts share; `local` are the local modules beside it."""
    used = {name for s in shared.definitions for name in s.needs} & (PROVIDED_NAMES | BOUND)
    has_future = any(s.future for s in shared.definitions)
    parts = [
        _SHARED_MODULE,
        *([_FUTURE] if has_future else []),
        *_imports(shared.imports, shared.import_names, target, local),
        *([f"from {target.module} import {', '.join(sorted(used))}\n"] if used else []),
        *_blocks(
            shared.definitions,
            lambda s: f"{s.source}\n",
            _edit(target, shared.imports, has_future=has_future),
        ),
    ]
    return "\n".join(parts)


def _from_shared(module: str, names: Sequence[str]) -> str:
    listed = ", ".join(names)
    return _in_both(f"from .{module} import {listed}", f"from {module} import {listed}")


def _in_both(as_sibling: str, as_script: str) -> str:
    """Return an import of a module beside the script that works in-process and as a script."""
    return f"if __package__:  # loaded by a runtime, in-process\n    {as_sibling}\nelse:\n    {as_script}\n"


def pep723(requires_python: str, dependencies: Sequence[str], sources: Sequence[str]) -> str:
    """Return the script's metadata block (PEP 723)."""
    lines = [f"requires-python = {json.dumps(requires_python)}", "dependencies = ["]
    lines += [f"    {json.dumps(dependency)}," for dependency in dependencies]
    lines.append("]")
    if sources:
        lines += ["", "[tool.uv.sources]", *sources]
    body = "\n".join(f"# {line}".rstrip() for line in lines)
    return f"# /// script\n{body}\n# ///"


class _Imports:
    """The imports of a file: only the names that are used, and local modules last."""

    def __init__(self, used: Collection[str], target: Target, local: Collection[str]) -> None:
        self._used = used
        self._target = target
        self._local = local
        self._bound: set[tuple[str, str, str | None]] = set()
        # Import lines, and for each of them its text with comments
        self._installed: dict[str, str] = {}
        self._beside: dict[str, str] = {}

    def add(self, statement: Statement) -> None:
        """Add an import of the notebook; a `__future__` import is left out, as the head has its own."""
        match statement.node:
            case ast.ImportFrom(module="__future__"):
                return
            case ast.ImportFrom() as node:
                self._add_from(statement, node)
            case ast.Import(names=names):
                self._add_modules(statement, names)

    def blocks(self) -> list[str]:
        """Return the imports as blocks of lines."""
        together = ["\n".join(self._installed.values()) + "\n"] if self._installed else []
        return [*together, *self._beside.values()]

    def _add_from(self, statement: Statement, node: ast.ImportFrom) -> None:
        names = node.names
        if names[0].name == "*":
            names = [ast.alias(name) for name in sorted(names_of_star(node))]
        kept = [a for a in names if (a.asname or a.name) in self._used]
        module, level = node.module, node.level
        if module == RULES and self._target.module == SDK_MODULE:
            self._add_rules(statement, kept)
            return
        if is_sdk_module(module):
            # The head imports these names; under another name they come from the same module.
            kept = [a for a in kept if a.asname or a.name not in PROVIDED_NAMES]
            if all(a.name in PROVIDED_NAMES for a in kept):
                module, level = self._target.module, 0
        kept = self._not_yet_bound(f"{module}.", kept)
        if not kept:
            return
        line = ast.unparse(ast.ImportFrom(module, kept, level))
        if (module or "").partition(".")[0] in self._local:
            self._add_beside(statement, ast.unparse(ast.ImportFrom(module, kept, 1)), line)
        else:
            self._add_installed(statement, line)

    def _add_rules(self, statement: Statement, kept: Sequence[ast.alias]) -> None:
        """Import rules from the module that the script carries."""
        if names := self._not_yet_bound(f"{RULES}.", kept):
            as_sibling = ast.unparse(ast.ImportFrom(CARRIED, names, 1))
            self._add_beside(statement, as_sibling, ast.unparse(ast.ImportFrom(CARRIED, names, 0)))

    def _add_modules(self, statement: Statement, names: Iterable[ast.alias]) -> None:
        used = [a for a in names if (a.asname or a.name.partition(".")[0]) in self._used]
        kept = self._not_yet_bound("", used)
        for alias in kept:
            if alias.name in self._local:
                sibling = ast.unparse(ast.ImportFrom(None, [alias], 1))
                self._add_beside(statement, sibling, ast.unparse(ast.Import([alias])))
        if installed := [alias for alias in kept if alias.name not in self._local]:
            self._add_installed(statement, ast.unparse(ast.Import(installed)))

    def _not_yet_bound(self, module: str, aliases: Iterable[ast.alias]) -> list[ast.alias]:
        """Return the names that no earlier import binds: two cells may have the same import."""
        kept = [a for a in aliases if (module, a.name, a.asname) not in self._bound]
        self._bound |= {(module, a.name, a.asname) for a in kept}
        return kept

    def _add_installed(self, statement: Statement, line: str) -> None:
        text = f"{_comments_above(statement)}{line}{statement.comment_behind}"
        self._installed.setdefault(line, text)

    def _add_beside(self, statement: Statement, as_sibling: str, as_script: str) -> None:
        text = _in_both(as_sibling, as_script)
        self._beside[text] = f"{_comments_above(statement)}{text}"


def _imports(
    imports: Iterable[Statement], used: Collection[str], target: Target, local: Collection[str]
) -> list[str]:
    rendered = _Imports(used, target, local)
    for statement in imports:
        rendered.add(statement)
    return rendered.blocks()


def _comments_above(statement: Statement) -> str:
    return "".join(f"{comment}\n" for comment in statement.comments_above)


def _edit(target: Target, imports: Iterable[Statement], *, has_future: bool) -> Callable[[str], str]:
    """Return what is done to the text of a statement: for the reference, some annotations become text."""
    if target.module != SDK_MODULE or has_future:
        return lambda source: source
    names = envelope_names(imports)
    return lambda source: as_text(source, names)


def _blocks(
    statements: Iterable[Statement], render_import: Callable[[Statement], str], edit: Callable[[str], str]
) -> list[str]:
    """Render statements, simple ones together, and others with blank lines around them."""
    blocks: list[str] = []
    together = False
    for statement in statements:
        is_simple = not isinstance(statement.node, _COMPOUND)
        is_import = statement.category == "import"
        text = render_import(statement) if is_import else f"{edit(statement.source)}\n"
        if is_simple and together:
            blocks[-1] += text
        else:
            above = "\n" if blocks or not is_simple else ""
            blocks.append(f"{above}{text}")
        together = is_simple
    return blocks
