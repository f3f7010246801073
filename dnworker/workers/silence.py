"""Words why nobody knows what the handlers of a worker process do; used by `subprocess_worker`."""

from __future__ import annotations

from itertools import takewhile
from pathlib import Path

from dnworker.capability.manifest import WorkerDefinition
from dnworker.core.text import clip
from dnworker.core.topology import SILENT
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
    return "no Worker of dnworker or of the SDK runs in it"


def _isolated(program: str, args: tuple[str, ...]) -> str | None:
    """Return the option by which Python leaves out `PYTHONPATH` or `sitecustomize`, if it has one."""
    if program.startswith("uv"):
        return None
    for option in takewhile(lambda one: one.startswith("-") and one not in ("-c", "-m", "--"), args):
        if not option.startswith("--") and any(letter in option for letter in "IES"):
            return option
    return None


def told(notice: Notice) -> str:
    """Return what is logged of a notice."""
    text = clip(notice.text, LONGEST)
    return f"{text}; it {SILENT} from now on" if notice.is_over else text
