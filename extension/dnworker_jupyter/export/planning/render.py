"""The text of a script, with its PEP 723 header, and of the module that scripts share; used by planning."""

from __future__ import annotations

import ast
import json
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass

from dnworker_jupyter.export.slicing.requirements import Requirement, is_sdk_module
from dnworker_jupyter.export.slicing.shared_module import Script, SharedModule
from dnworker_jupyter.export.slicing.slice import BOUND
from dnworker_jupyter.export.slicing.statements import Statement

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
) -> str:
    """Return the text of one worker's script.

    Args:
        source: what is in it.
        target: what it imports its Worker from.
        requirements: distributions that it needs.
        requires_python: the bound of its Python.
        shared: the name of the module that it shares with other scripts.
        local: the local modules that are exported beside it.
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
        "from __future__ import annotations\n",
        *_imports(piece.imports, piece.import_names, target, local),
        f"from {target.module} import {names}\n",
        *([_from_shared(shared, source.from_shared)] if shared and source.from_shared else []),
        "\n".join([f'{own} = Worker(name="{piece.worker}")', *(f"{other} = {own}" for other in others), ""]),
    ]
    parts += _blocks(piece.definitions)
    parts += _blocks(piece.handlers)
    parts.append(f'\nif __name__ == "__main__":\n    {own}.run()\n')
    return "\n".join(parts)


_SHARED_MODULE = '"""What several workers share, exported from a notebook by dnworker."""\n'


def is_shared_module(text: str) -> bool:
    """Tell whether a module is one that `shared_module` made."""
    return text.startswith(_SHARED_MODULE)


def shared_module(shared: SharedModule, target: Target, local: Collection[str] = ()) -> str:
    """Return the text of the module that several scripts share; `local` are the modules beside it."""
    used = {name for s in shared.definitions for name in s.needs} & (PROVIDED_NAMES | BOUND)
    parts = [
        _SHARED_MODULE,
        "from __future__ import annotations\n",
        *_imports(shared.imports, shared.import_names, target, local),
        *([f"from {target.module} import {', '.join(sorted(used))}\n"] if used else []),
        *_blocks(shared.definitions),
    ]
    return "\n".join(parts)


def _from_shared(module: str, names: Sequence[str]) -> str:
    listed = ", ".join(names)
    return _in_both(f"from .{module} import {listed}", f"from {module} import {listed}")


def _in_both(as_sibling: str, as_script: str) -> str:
    """Import what lies beside the script in both topologies."""
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


def _imports(
    imports: Iterable[Statement], used: Collection[str], target: Target, local: Collection[str]
) -> list[str]:
    """Render the imports with only the names that are used, those of local modules last."""
    lines: dict[str, str] = {}
    beside: dict[str, str] = {}
    bound: set[tuple[str, str, str | None]] = set()
    for statement in imports:
        node = statement.node
        assert isinstance(node, ast.Import | ast.ImportFrom)
        if isinstance(node, ast.ImportFrom) and node.module == "__future__":
            continue
        kept = [a for a in node.names if (a.asname or a.name.partition(".")[0]) in used]
        if isinstance(node, ast.ImportFrom) and is_sdk_module(node.module):
            # The head imports these; under another name they come from where the head has them.
            kept = [a for a in kept if a.asname or a.name not in PROVIDED_NAMES]
            if kept and all(a.name in PROVIDED_NAMES for a in kept):
                node = ast.ImportFrom(target.module, kept, 0)
        module = f"{node.module}." if isinstance(node, ast.ImportFrom) else ""
        kept = [a for a in kept if (module, a.name, a.asname) not in bound]  # two cells may say the same
        bound |= {(module, a.name, a.asname) for a in kept}
        if not kept:
            continue
        above = "".join(f"{comment}\n" for comment in statement.comments_above)
        if isinstance(node, ast.ImportFrom):
            line = ast.unparse(ast.ImportFrom(node.module, kept, node.level))
            if (node.module or "").partition(".")[0] in local:
                beside[_in_both(ast.unparse(ast.ImportFrom(node.module, kept, 1)), line)] = above
            else:
                lines[line] = lines.get(line) or f"{above}{line}{statement.comment_behind}"
            continue
        for alias in [a for a in kept if a.name in local]:
            kept.remove(alias)
            sibling = ast.unparse(ast.ImportFrom(None, [alias], 1))
            beside[_in_both(sibling, ast.unparse(ast.Import([alias])))] = above
        if kept:
            line = ast.unparse(ast.Import(kept))
            lines[line] = lines.get(line) or f"{above}{line}{statement.comment_behind}"
    together = ["\n".join(lines.values()) + "\n"] if lines else []
    return [*together, *(f"{above}{text}" for text, above in beside.items())]


def _blocks(statements: Iterable[Statement]) -> list[str]:
    """Render statements, simple ones together, and others with blank lines around them."""
    blocks: list[str] = []
    together = False
    for statement in statements:
        is_simple = not isinstance(statement.node, _COMPOUND)
        if is_simple and together:
            blocks[-1] += f"{statement.source}\n"
        else:
            above = "\n" if blocks or not is_simple else ""
            blocks.append(f"{above}{statement.source}\n")
        together = is_simple
    return blocks
