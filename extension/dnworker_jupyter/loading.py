"""`%load_ext dnworker`, again, `%reload_ext` and `%unload_ext`."""

from __future__ import annotations

from typing import Any


def load(shell: Any) -> None:
    """Start the runtime on the running loop and register everything; a second call changes nothing."""
    from dnworker_jupyter.notebook import start

    start(shell)


def unload(shell: Any) -> None:
    """Stop the runtime and take every hook out again; harmless when it is not loaded."""
    from dnworker_jupyter.notebook import end

    end()
