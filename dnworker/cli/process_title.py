"""Hides words of the command line from the list of processes, which every user of the machine can read."""

from __future__ import annotations

import logging
import sys
from collections.abc import Collection
from pathlib import Path

log = logging.getLogger("dnworker.serve")
_ARG_START, _ARG_END = 47, 48
"""Fields of `/proc/self/stat`: between which addresses the arguments are; see proc(5), counted from 0."""


def hide_arguments(secrets: Collection[str]) -> bool:
    """Write stars over what stands before an `@` in the arguments of this process; return whether it worked.

    Where it does not, a warning says how to pass it. `sys.argv` and `sys.orig_argv` have stars, too.
    """
    if not secrets:
        return True
    for arguments in (sys.argv, sys.orig_argv):
        arguments[:] = [_starred(argument, secrets) for argument in arguments]
    try:
        _write_stars({secret.encode(errors="surrogateescape") for secret in secrets})
    except (OSError, ValueError, IndexError) as exc:
        log.warning(
            "the password of --broker is shown in the list of processes (%s); give NATS_USER and "
            "NATS_PASSWORD, or --creds FILE",
            type(exc).__name__,
        )
        return False
    return True


def _starred(text: str, secrets: Collection[str]) -> str:
    for secret in secrets:
        text = text.replace(f"{secret}@", f"{'*' * len(secret)}@")
    return text


def _write_stars(secrets: Collection[bytes]) -> None:
    fields = Path("/proc/self/stat").read_bytes().rpartition(b") ")[2].split()
    start, end = int(fields[_ARG_START - 2]), int(fields[_ARG_END - 2])
    with Path("/proc/self/mem").open("r+b", buffering=0) as memory:
        memory.seek(start)
        arguments = memory.read(end - start)
        for secret in secrets:
            arguments = arguments.replace(secret + b"@", b"*" * len(secret) + b"@")
        memory.seek(start)
        memory.write(arguments)
