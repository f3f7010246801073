"""Namespaces as a kernel has them, made of source, for the tests of proofs."""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterable
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

from dnworker.core.handlers import HandlerKey
from dnworker.workers.registry import handlers_of
from dnworker.workers.worker import Worker
from dnworker_jupyter.export.proof.child import execute
from dnworker_jupyter.export.proof.compare import Comparison, Unequal, Unknown
from dnworker_jupyter.export.proof.describe import describe
from dnworker_jupyter.export.proof.nodes import Description
from dnworker_jupyter.export.proof.prove import Proof, Script, prove

HEAD = "from dreadnode.capabilities.worker import EventEnvelope, RuntimeClient, Worker\n"
TAIL = '\n\nif __name__ == "__main__":\n    worker.run()\n'


@contextmanager
def module(source: str, name: str):
    """Execute source as a module of that name, which is imported as long as the context is open."""
    made = ModuleType(name)
    before = sys.modules.get(name)
    sys.modules[name] = made
    try:
        exec(compile(source, f"<{name}>", "exec", dont_inherit=True), made.__dict__)
        yield made.__dict__
    finally:
        if before is None:
            del sys.modules[name]
        else:
            sys.modules[name] = before


def found_between(here: str, there: str, names: Iterable[str] = ()) -> list[Unequal | Unknown]:
    """Return what differs between the same names of two sources, the second far below in its file."""
    with module(here, "cells_here") as mine, module("\n" * 30 + there, "cells_there") as theirs:
        chosen = tuple(names) or tuple(n for n in {**mine, **theirs} if not n.startswith("__"))
        one = describe(mine, chosen, ["cells_here"], seconds=60)
        other = describe(theirs, chosen, ["cells_there"], seconds=60)
        comparison = Comparison(one, through_json(other))
        return [found for name in chosen for found in comparison.of(name)]


def through_json(description: Description) -> Description:
    """Return a description as it arrives from another process."""
    import json

    return Description.from_plain(json.loads(json.dumps(description.to_plain())))


def differ(here: str, there: str) -> bool:
    """Return whether two sources have a difference, and nothing that cannot be compared."""
    found = found_between(here, there)
    assert not [one for one in found if isinstance(one, Unknown)], found
    return bool(found)


class Kernel:
    """A namespace, as a kernel has it after cells that define one worker."""

    def __init__(self, source: str) -> None:
        self.names: dict[str, Any] = {"__name__": "__main__", "Worker": Worker}
        self._source = source

    def __enter__(self) -> Kernel:
        execute(ast.parse(self._source), "<cell>", self.names)  # as IPython does
        return self

    def __exit__(self, *_: object) -> None:
        self.names.clear()

    def handlers(self) -> list[tuple[HandlerKey, Any]]:
        worker = self.names.get("worker")
        return [(one.key, one.function) for one in handlers_of(worker)] if worker else []


async def proved(
    cells: str,
    scripts: dict[str, str],
    names: Iterable[str],
    cwd: Path,
    beside: dict[str, str] | None = None,
    **options: Any,
) -> Proof:
    """Prove scripts, by the names of their workers, against the namespace that cells leave."""
    files = {f"workers/{worker}.py": text.encode() for worker, text in scripts.items()}
    files |= {path: text.encode() for path, text in (beside or {}).items()}
    kernel = Kernel(cells)
    with kernel:
        return await prove(
            files,
            [Script(worker, f"workers/{worker}.py", tuple(names)) for worker in scripts],
            kernel.names,
            {worker: kernel.handlers() for worker in scripts},
            cwd=cwd,
            **options,
        )
