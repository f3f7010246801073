"""`%debug` also opens what handlers raised: the newest failure, `%debug #12`, `%debug bridge.on_turn`.

All other uses of IPython's `%debug` are as they are; `%reset` lets the kept frames go.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from contextlib import ExitStack
from typing import Any

from dnworker.core.errors import UsageError
from dnworker.core.invocation import current_invocation
from dnworker_jupyter.kernel.post_mortem import PostMortem


def install_debug(shell: Any, post_mortem: PostMortem) -> Callable[[], None]:
    """Put ours before IPython's `%debug` and `%reset`; returns what takes it away again."""
    undo = ExitStack()
    magics = shell.magics_manager.magics
    for kind, name, make in (
        ("line", "debug", _debugging),
        ("cell", "debug", _debugging),
        ("line", "reset", _resetting),
    ):
        original = shell.find_magic(name, kind)  # not from the table: IPython loads some at their first use
        if original is None:
            continue
        ours = magics[kind][name] = make(original, post_mortem)
        undo.callback(_restore, magics[kind], name, ours, original)
    return undo.close


def _restore(magics: dict[str, Any], name: str, ours: Any, original: Any) -> None:
    if magics.get(name) is ours:
        magics[name] = original


def _debugging(original: Callable[..., Any], post_mortem: PostMortem) -> Callable[..., Any]:
    @functools.wraps(original)
    def debug(line: str = "", *args: Any, **fields: Any) -> Any:
        if current_invocation.get() is not None:
            raise UsageError("%debug works in a cell; in a handler, write breakpoint()", code="DN120")
        if not args:  # no body
            words = line.strip()
            failure = post_mortem.named(words) if words else post_mortem.newest()
            if failure is not None:
                return post_mortem.open(failure)
        return original(line, *args, **fields)

    return debug


def _resetting(original: Callable[..., Any], post_mortem: PostMortem) -> Callable[..., Any]:
    @functools.wraps(original)
    def reset(*args: Any, **fields: Any) -> Any:
        post_mortem.forget()
        return original(*args, **fields)

    return reset
