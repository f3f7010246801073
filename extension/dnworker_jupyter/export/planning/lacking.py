"""What handlers use that only our runtime has, and the code by which their script runs on another client."""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterable, Iterator, Mapping
from textwrap import dedent

from dnworker_jupyter.export.slicing.problems import ExportProblem
from dnworker_jupyter.export.slicing.statements import Statement
from dnworker_jupyter.syntax.cell import Cell
from dnworker_jupyter.syntax.options import Options

COMPLETION = dedent(
    '''
    def _complete_client():
        """Let handlers run on a client without once(...) and publish(dedupe=...), which dnworker's has."""
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

            client_class.once = once
        publish = client_class.publish
        if "dedupe" not in inspect.signature(publish, follow_wrapped=False).parameters:

            @functools.wraps(publish)
            async def publish_again(client, *args, dedupe=None, **fields):
                if dedupe is not None:
                    say("publish(dedupe=...)", "an event of the same key is published again")
                return await publish(client, *args, **fields)

            client_class.publish = publish_again


    _complete_client()
    del _complete_client
    '''
).lstrip()
"""Stands in a script for the reference, between its imports and its handlers."""


def lacking_in(statements: Iterable[Statement]) -> Iterator[ExportProblem]:
    """Warn of each use of what the reference's client does not have."""
    for statement in statements:
        for node in statement.nodes:
            if (found := _use(node)) is not None:
                name, so = found
                yield ExportProblem(
                    name,
                    f"the reference's client does not have it: there {so}, and the log says so once",
                    "make the effect such that it may happen again, or export with --target dnworker",
                    statement.cell.cell,
                    getattr(node, "lineno", None),
                )


def kept_states(
    options: Mapping[str, Options], cell_of: Callable[[str], Cell | None]
) -> Iterator[ExportProblem]:
    """Warn of workers whose state is kept here, which no manifest can say."""
    for worker, given in options.items():
        if given.keep_state:
            yield ExportProblem(
                f"--keep-state of worker {worker!r}",
                "no manifest says so, and the reference keeps no state: it begins empty there at every start",
                f"with dnworker, start it by: dnworker serve --keep-state CAPABILITY:{worker}",
                cell_of(worker),
            )


def _use(node: ast.AST) -> tuple[str, str] | None:
    match node:
        case ast.Call(func=ast.Attribute(attr="once")):
            return "client.once(...)", "the body of the same key runs again"
        case ast.Call(func=ast.Attribute(attr="publish"), keywords=keywords) if any(
            keyword.arg == "dedupe" for keyword in keywords
        ):
            return "publish(dedupe=...)", "an event of the same key is published again"
    return None
