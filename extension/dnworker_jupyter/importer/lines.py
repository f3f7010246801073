"""Writes the `%%worker` line of a worker of a manifest; used by the importer."""

from __future__ import annotations

import re
from pathlib import Path

from dnworker.capability.manifest import ROOT_REFERENCE, WorkerDefinition


def worker_options(worker: WorkerDefinition, root: Path) -> list[str]:
    """Return the words of the line for the flags and the variables of a worker."""
    words = [word for flag in worker.when for word in ("--when", flag)]
    for name, value in worker.env.items():
        words += ["--env", quoted(f"{name}={with_reference(value, root)}")]
    return words


def handle_arguments(worker: WorkerDefinition, root: Path) -> str:
    """Return the arguments of `dn.worker` for a worker: its name, flags and variables."""
    given = [f'"{worker.name}"']
    given += [f"when={list(worker.when)!r}"] if worker.when else []
    env = {name: with_reference(value, root) for name, value in worker.env.items()}
    return ", ".join(given + ([f"env={env!r}"] if env else []))


def with_reference(text: str, root: Path) -> str:
    """Return a text of a manifest as it was written: with the reference instead of its directory."""
    return text.replace(str(root), ROOT_REFERENCE)


def quoted(word: str) -> str:
    """Return a word as the line of a magic needs it to stay one word."""
    return word if re.fullmatch(r"[\w./:=+-]+", word) else repr(word)
