"""Lets debuggers attach to a worker process; `sitecustomize` runs it before the script begins.

With `DNWORKER_DEBUG` in its environment the process listens for clients of the Debug Adapter Protocol, on the
loopback address alone. The variable is `PORT` or `PORT:wait`; the latter waits for a client before the script
runs. debugpy comes from the environment of the process. Nothing else of ours is imported: the environment is
not ours.
"""

from __future__ import annotations

import os
import sys

VARIABLE = "DNWORKER_DEBUG"
HOST = "127.0.0.1"
MISSING = (
    "dnworker: this worker is to be debugged, and {python} has no debugpy ({why}); "
    "install it there: pip install 'dnworker[debug]' or pip install debugpy"
)
_QUIET = "PYDEVD_DISABLE_FILE_VALIDATION"


def listen() -> None:
    """Listen, and wait for a client where that is asked; a process that cannot ends, and says why."""
    if sys.argv[:1] in (["-c"], []):
        return  # a helper of uv, which builds an environment before the script runs
    port, _, wait = os.environ.pop(VARIABLE, "").partition(":")  # what the script starts must not listen, too
    if not port:
        return
    quiet = os.environ.get(_QUIET)
    os.environ[_QUIET] = "1"  # a warning about frozen modules, on the worker's log
    try:
        import debugpy

        debugpy.configure(subProcess=False)
        debugpy.listen((HOST, int(port)))
        if wait:
            print(f"waiting for a debugger to attach to {HOST}:{port}", flush=True)  # noqa: T201
            debugpy.wait_for_client()
    except ImportError as exc:
        _end(MISSING.format(python=sys.executable, why=exc))
    except Exception as exc:
        _end(f"dnworker: debugpy cannot listen on {HOST}:{port}: {exc!r}; restart the worker")
    finally:
        if quiet is None:
            os.environ.pop(_QUIET, None)
        else:
            os.environ[_QUIET] = quiet


def _end(text: str) -> None:
    """End the process: an exception in a `sitecustomize` is printed, and the script runs all the same."""
    sys.stdout.flush()
    os.write(2, f"{text}\n".encode())
    os._exit(1)
