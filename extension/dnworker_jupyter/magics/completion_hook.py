"""`install_completion` has IPython ask for completions of our magics; `loading` uses it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from dnworker_jupyter.magics.context import MagicContext


def install_completion(shell: Any, context: MagicContext) -> Callable[[], None]:
    """Let IPython ask for completions of our magics; returns what ends that."""
    from IPython.core.completer import SimpleCompletion, context_matcher

    @context_matcher()  # type: ignore[untyped-decorator]
    def dnworker_matcher(cursor: Any) -> Any:
        from dnworker_jupyter.magics.completion import complete  # and all magics, at the first Tab

        found = complete(context, cursor.line_with_cursor[: cursor.cursor_position], cursor.token)
        return {
            "completions": [SimpleCompletion(text=text, type="magic") for text in found or ()],
            "suppress": found is not None,  # of a magic's line, Python's own words are no part
        }

    matchers = shell.Completer.custom_matchers
    matchers.append(dnworker_matcher)
    return lambda: matchers.remove(dnworker_matcher) if dnworker_matcher in matchers else None
