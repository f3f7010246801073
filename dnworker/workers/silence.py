"""Words why nobody knows what the handlers of a worker process do; used by `subprocess_worker`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from dnworker.capability.manifest import WorkerDefinition
from dnworker.core.text import clip
from dnworker.core.topology import SILENT

if TYPE_CHECKING:
    from dnworker.workers.reports import Notice

LONGEST = 1_000
"""Characters of what a process says about its reports."""

NOTICES_TOLD = 20
"""Notices of one run of a process that are logged."""


def reason(definition: WorkerDefinition, *, is_observed: bool) -> str:
    """Return why a process that runs has said nothing of its handlers."""
    program = Path(definition.command or "").name
    if not program.startswith(("python", "uv", "pypy")):
        return f"{program} reports nothing: Workers in Python do"
    if (option := _isolated(program, definition.args)) is not None:
        return f"its Python runs with {option}, and so without what makes a worker report"
    if not is_observed:
        return "it is not observed, and no Worker of dnworker, which reports by itself, runs in it"
    return "no Worker of dnworker or of the SDK runs in it, or its output goes elsewhere"


def _isolated(program: str, args: tuple[str, ...]) -> str | None:
    """Return the option by which Python leaves out `PYTHONPATH` or `sitecustomize`, if it has one."""
    if program.startswith("uv"):
        return None
    left = iter(args)
    for option in left:
        if not option.startswith("-") or option in ("-", "--"):
            return None
        if option.startswith("--"):
            if option == "--check-hash-based-pycs":
                next(left, None)
            continue
        for at, letter in enumerate(option[1:], 2):
            if letter in "IES":
                return option
            if letter in "cm":
                return None
            if letter in "WX":  # what follows is its value
                if at == len(option):
                    next(left, None)
                break
    return None


def told(notice: Notice) -> str:
    """Return what is logged of a notice."""
    text = clip(notice.text, LONGEST)
    return f"{text}; it {SILENT} from now on" if notice.is_over else text


def why_silent(worker: object) -> str | None:
    """Return why nobody knows what a worker's handlers do; None where it reports, or does not run."""
    why: str | None = getattr(worker, "why_silent", None)
    return why


def why_not_retried(worker: object) -> str | None:
    """Return why events of a worker are not tried again, though they are to be; None where they are."""
    why: str | None = getattr(worker, "why_not_retried", None)
    return why
