"""Workers that react to runtime events, written live in a notebook and exported as capabilities.

The public names load on first use: a worker script that says `from dnworker import Worker` pays for
neither the server, the client, IPython nor numpy. What is not in `__all__` is not public, and may move.

Examples in docstrings run where `await` may stand anywhere, as in a notebook. They have all public names of
`dnworker` and `dnworker.testing`, and:

- `runtime`: a started `Runtime` with a `VirtualClock`, in whose directory the capability `demo` lies;
- `worker`: `Worker("bridge")`, which the runtime does not run yet;
- `client`: a client of that worker;
- the agent `echo`, which answers "You said: " and the message.

Those of the notebook run as its cells, after `%load_ext dnworker` and the cell of a first worker.
"""

from __future__ import annotations

import sys
from importlib import import_module
from types import FrameType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dnworker._version import __version__ as __version__
    from dnworker.client.client import RuntimeClient
    from dnworker.core.clock import RealClock, SwitchClock, VirtualClock, sleep
    from dnworker.core.envelope import EventEnvelope
    from dnworker.core.errors import (
        ApiError,
        CommandError,
        DnworkerError,
        HandlerFailed,
        JournalError,
        ManifestError,
        RuntimeUnavailable,
        TurnCancelledError,
        TurnFailedError,
        UsageError,
    )
    from dnworker.core.lifecycle import WorkerState
    from dnworker.core.restarts import RestartPolicy
    from dnworker.events.journal import JournalReader
    from dnworker.events.trace import Trace
    from dnworker.runtime import Runtime
    from dnworker.sessions.turn import Turn
    from dnworker.workers.worker import Worker

_HOMES = {
    "ApiError": "dnworker.core.errors",
    "CommandError": "dnworker.core.errors",
    "DnworkerError": "dnworker.core.errors",
    "EventEnvelope": "dnworker.core.envelope",
    "HandlerFailed": "dnworker.core.errors",
    "JournalError": "dnworker.core.errors",
    "JournalReader": "dnworker.events.journal",
    "ManifestError": "dnworker.core.errors",
    "RealClock": "dnworker.core.clock",
    "RestartPolicy": "dnworker.core.restarts",
    "Runtime": "dnworker.runtime",
    "RuntimeClient": "dnworker.client.client",
    "RuntimeUnavailable": "dnworker.core.errors",
    "SwitchClock": "dnworker.core.clock",
    "Trace": "dnworker.events.trace",
    "Turn": "dnworker.sessions.turn",
    "TurnCancelledError": "dnworker.core.errors",
    "TurnFailedError": "dnworker.core.errors",
    "UsageError": "dnworker.core.errors",
    "VirtualClock": "dnworker.core.clock",
    "Worker": "dnworker.workers.worker",
    "WorkerState": "dnworker.core.lifecycle",
    "sleep": "dnworker.core.clock",
}
"""Where each public name is defined."""

__all__ = [  # noqa: RUF022  in the order in which people meet them
    "Worker",
    "EventEnvelope",
    "RuntimeClient",
    "TurnFailedError",
    "TurnCancelledError",
    "CommandError",
    "Runtime",
    "RestartPolicy",
    "WorkerState",
    "Trace",
    "Turn",
    "JournalReader",
    "RealClock",
    "VirtualClock",
    "SwitchClock",
    "sleep",
    "DnworkerError",
    "HandlerFailed",
    "ApiError",
    "ManifestError",
    "JournalError",
    "RuntimeUnavailable",
    "UsageError",
]


def __getattr__(name: str) -> Any:
    home = "dnworker._version" if name == "__version__" else _HOMES.get(name)
    if home is None:
        raise _no_such_name(name, sys._getframe(1))
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


def _no_such_name(name: str, asker: FrameType) -> Exception:
    """Return the error for a name that is not public, with the one that was probably meant."""
    if name.startswith("__"):  # Python and its tools ask for those, and expect none
        return AttributeError(f"module 'dnworker' has no attribute {name!r}")
    import difflib
    import dis

    near = difflib.get_close_matches(name, __all__, n=1, cutoff=0.75)
    hint = f"did you mean {near[0]!r}?" if near else f"it has: {', '.join(__all__)}"
    # `from dnworker import x` replaces the text of an AttributeError by one of its own.
    if dis.opname[asker.f_code.co_code[asker.f_lasti]] == "IMPORT_FROM":
        return ImportError(f"cannot import name {name!r} from 'dnworker'; {hint}", name="dnworker")
    return AttributeError(f"module 'dnworker' has no attribute {name!r}; {hint}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


def load_ipython_extension(shell: Any) -> None:
    """Start the notebook's runtime and register the magics: `%load_ext dnworker`."""
    from dnworker.core.collection import collection_held

    with collection_held():
        _extension().load(shell)


def unload_ipython_extension(shell: Any) -> None:
    """Stop the runtime and remove every hook: `%unload_ext dnworker`."""
    _extension().unload(shell)


def _extension() -> Any:
    from dnworker.core.extensions import load_part

    return load_part("extension")
