"""Workers that react to runtime events, written live in a notebook and exported as capabilities.

The public names load on first use: a worker script that says `from dnworker import Worker` pays for
neither the server, the client, IPython nor numpy.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from dnworker._version import __version__ as __version__

if TYPE_CHECKING:
    from dnworker.client.client import RuntimeClient
    from dnworker.core.clock import RealClock, VirtualClock, sleep
    from dnworker.core.envelope import EventEnvelope
    from dnworker.core.errors import (
        DnworkerError,
        HandlerFailed,
        ManifestError,
        TurnCancelledError,
        TurnFailedError,
    )
    from dnworker.core.lifecycle import WorkerState
    from dnworker.events.trace import Trace
    from dnworker.runtime import Runtime
    from dnworker.sessions.turn import Turn
    from dnworker.workers.worker import Worker

_HOMES = {
    "DnworkerError": "dnworker.core.errors",
    "EventEnvelope": "dnworker.core.envelope",
    "HandlerFailed": "dnworker.core.errors",
    "ManifestError": "dnworker.core.errors",
    "RealClock": "dnworker.core.clock",
    "Runtime": "dnworker.runtime",
    "RuntimeClient": "dnworker.client.client",
    "Trace": "dnworker.events.trace",
    "TurnCancelledError": "dnworker.core.errors",
    "Turn": "dnworker.sessions.turn",
    "TurnFailedError": "dnworker.core.errors",
    "VirtualClock": "dnworker.core.clock",
    "Worker": "dnworker.workers.worker",
    "WorkerState": "dnworker.core.lifecycle",
    "sleep": "dnworker.core.clock",
}

__all__ = [  # noqa: RUF022  in the order of design 5
    "Worker",
    "EventEnvelope",
    "RuntimeClient",
    "TurnFailedError",
    "TurnCancelledError",
    "Runtime",
    "WorkerState",
    "Trace",
    "Turn",
    "RealClock",
    "VirtualClock",
    "sleep",
    "DnworkerError",
    "HandlerFailed",
    "ManifestError",
]


def __getattr__(name: str) -> Any:
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module 'dnworker' has no attribute {name!r}")
    try:
        value = getattr(import_module(home), name)
    except ModuleNotFoundError as exc:
        if (exc.name or "").partition(".")[0] == "dnworker":
            raise
        raise ImportError(
            f"{name} needs {exc.name!r}; install it with: pip install 'dnworker[runtime]'", name=exc.name
        ) from exc
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


def load_ipython_extension(shell: Any) -> None:
    """`%load_ext dnworker`: start the notebook's runtime and register the magics."""
    _extension().load(shell)


def unload_ipython_extension(shell: Any) -> None:
    """`%unload_ext dnworker`: stop the runtime and take every hook out again."""
    _extension().unload(shell)


def _extension() -> Any:
    try:
        return import_module("dnworker_jupyter.loading")
    except ModuleNotFoundError as exc:
        raise ImportError(
            f"the notebook extension needs {exc.name!r}; install it with: pip install 'dnworker[jupyter]'"
        ) from exc
