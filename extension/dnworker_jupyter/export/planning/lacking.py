"""What handlers use that only our runtime has, and the code by which their script runs on another client."""

from __future__ import annotations

import ast
import shlex
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from pathlib import Path
from textwrap import dedent

from dnworker_jupyter.export.planning.local_files import local_code
from dnworker_jupyter.export.planning.types import TargetName
from dnworker_jupyter.export.slicing.nodes import find, nodes_in, text_constants
from dnworker_jupyter.export.slicing.problems import ExportProblem
from dnworker_jupyter.export.slicing.requirements import Needs
from dnworker_jupyter.export.slicing.slice import Slice
from dnworker_jupyter.syntax.cell import Cell
from dnworker_jupyter.syntax.options import Options

COMPLETION = dedent(
    '''
    def _complete_client():
        """Let handlers run on a client without what dnworker's has beside the contract."""
        if Worker.__module__.startswith("dnworker"):
            return
        import contextlib
        import functools
        import importlib
        import inspect
        import logging

        client_class = importlib.import_module("dreadnode.app.client.runtime_client").RuntimeClient
        said = set()

        def say(what, so):
            if what not in said:
                said.add(what)
                logging.getLogger(__name__).warning("this client has no %s: %s", what, so)

        if not hasattr(client_class, "once"):

            @contextlib.asynccontextmanager
            async def once(client, key):
                say("once(...)", "the body of the same key runs again")
                yield True

            once.forgets = True
            client_class.once = once

        def take(method, keyword, so):
            theirs = getattr(client_class, method)
            if keyword in inspect.signature(theirs, follow_wrapped=False).parameters:
                return

            @functools.wraps(theirs)
            async def call(client, *args, **fields):
                if fields.pop(keyword, None):
                    say(f"{method}({keyword}=...)", so)
                return await theirs(client, *args, **fields)

            setattr(client_class, method, call)

        take("publish", "dedupe", "an event of the same key is published again")
        take("run_turn", "retry", "a turn that was cut off is not started again")


    _complete_client()
    del _complete_client
    '''
).lstrip()
"""Stands in a script for the reference, between its imports and its handlers."""


_KEYWORDS = {
    "publish": ("dedupe", "an event of the same key is published again"),
    "run_turn": ("retry", "a turn that was cut off is not started again"),
}
"""Keywords that only our client's methods take, and what happens without them."""


def lacking_in(piece: Slice, needs: Needs) -> list[ExportProblem]:
    """Return a warning for each use of what the reference's client does not have, in a script's code.

    Args:
        piece: what the script is made of.
        needs: what it needs from elsewhere, its modules beside the notebook among that.
    """
    code: list[tuple[ast.AST, Cell | None, Path | None]] = [
        *((s.node, s.cell.cell, None) for s in (*piece.definitions, *piece.handlers)),
        *((tree, None, file) for file, _, tree in local_code(needs)),
    ]
    trees = [tree for tree, _, _ in code]
    uses_once = any(one.attr == "once" for tree in trees for one in find(tree, ast.Attribute))
    entered = {id(node) for one in _entered(trees) for node in ast.walk(one)} if uses_once else set()
    named = {method for method, (word, _) in _KEYWORDS.items() if any(_names(tree, word) for tree in trees)}
    return [
        ExportProblem(
            name if file is None else f"{name} ({file}, line {line})",
            f"the reference's client does not have it: there {so}, and the log says so once",
            "make the effect such that it may happen again, or export with --target dnworker",
            cell,
            line if file is None else None,
        )
        for tree, cell, file in code
        for line, name, so in sorted(_uses(tree, entered, named))
    ]


def options_of_ours(
    options: Mapping[str, Options],
    capability: str,
    target: TargetName,
    into: Path | None,
    cell_of: Callable[[str], Cell | None],
) -> Iterator[ExportProblem]:
    """Warn of options of workers that only our runtime has, which no manifest can say."""
    exported = "" if target == "dnworker" else "export with --target dnworker, and "
    for worker, given in options.items():
        if given.keep_state:
            command = serve(into, "--keep-state", [f"{capability}:{worker}"])
            yield ExportProblem(
                f"--keep-state of worker {worker!r}",
                "no manifest says so, and the reference keeps no state: it begins empty there at every start",
                f"{exported}start it by: {command}",
                cell_of(worker),
            )
        if given.check_payloads:
            command = serve(into, "--check-payloads", [f"{capability}:{worker}"])
            yield ExportProblem(
                f"--check-payloads of worker {worker!r}",
                "no manifest says so, and the reference checks no payloads",
                f"{exported}start it by: {command}",
                cell_of(worker),
            )


def serve(directory: Path | None, option: str, words: Iterable[str]) -> str:
    """Return the command, to be copied into a shell, that runs an export with an option for each word."""
    paths = [] if directory is None else [str(directory)]
    return shlex.join(["dnworker", "serve", *paths, *(part for word in words for part in (option, word))])


def _uses(tree: ast.AST, entered: Collection[int], named: Collection[str]) -> Iterator[tuple[int, str, str]]:
    """Go through the uses in some code: line, name, and what happens there instead.

    Args:
        tree: the code.
        entered: the identities of nodes in what is entered: others have a `once`, too.
        named: the methods whose keyword may be in what is given by `**`, or to a method that is handed on.
    """
    found = [node for node in find(tree, ast.Attribute) if node.attr == "once" or node.attr in _KEYWORDS]
    calls = {id(node.func): node for node in find(tree, ast.Call)} if found else {}
    for node in found:
        match node:
            case ast.Attribute(attr="once") if id(node) in entered:
                yield node.lineno, "client.once(...)", "the body of the same key runs again"
            case ast.Attribute(attr=method) if method in _KEYWORDS:
                word, so = _KEYWORDS[method]
                call = calls.get(id(node))
                given = {keyword.arg for keyword in call.keywords} if call is not None else {None}
                if word in given or (method in named and None in given):
                    yield node.lineno, f"{method}({word}=...)", so


def _entered(trees: Iterable[ast.AST]) -> list[ast.expr]:
    """Return what `async with` and exit stacks enter, and what the names in that stand for."""
    nodes = [node for tree in trees for node in nodes_in(tree)]
    found: list[ast.expr] = []
    for node in nodes:
        match node:
            case ast.AsyncWith(items=items):
                found += [item.context_expr for item in items]
            case ast.Call(func=ast.Attribute(attr="enter_async_context"), args=args):
                found += args
    names = {_name(inner) for expression in found for inner in ast.walk(expression)} - {None}
    for node in nodes:
        match node:
            case ast.Assign(targets=[target], value=value) if _name(target) in names:
                found.append(value)
            case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name) if name in names:
                returned = [inner.value for inner in ast.walk(node) if isinstance(inner, ast.Return)]
                found += filter(None, returned)
    return found


def _name(node: ast.AST) -> str | None:
    match node:
        case ast.Name(id=name) | ast.Attribute(attr=name):
            return name
    return None


def _names(tree: ast.AST, word: str) -> bool:
    return word in text_constants(tree) or any(keyword.arg == word for keyword in find(tree, ast.keyword))
