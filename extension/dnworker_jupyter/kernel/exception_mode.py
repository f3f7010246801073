"""What `%xmode` says, as the detail that errors of handlers are told with; `loading` installs it."""

from __future__ import annotations

from typing import Any

from dnworker.core.detail import Detail


def chosen_detail(shell: Any) -> Detail:
    """Return how much the shell's user wants to be told of exceptions."""
    match shell.InteractiveTB.mode:
        case "Minimal":
            return "minimal"
        case "Verbose":
            return "verbose"
    return "normal"
