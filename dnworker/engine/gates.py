"""Gates of a capability's workers: which wait for flags that nobody declares, which open and close."""

from __future__ import annotations

import asyncio
from dataclasses import replace

from dnworker.engine.capability import Capability
from dnworker.workers.access import Retired
from dnworker.workers.managed import ManagedWorker


def note_undeclared(capability: Capability) -> list[ManagedWorker]:
    """Note which workers wait for flags that are not declared, and which do no more; returns both.

    Such a worker is in `error` from its next start on, and no other is affected (contract 4.3).
    """
    declared, changed = capability.manifest.flags, []
    for worker in capability.workers.values():
        definition, problem = worker.definition, None
        if unknown := [flag for flag in definition.when if flag not in declared]:
            known = ", ".join(declared) or "none"
            problem = (
                f"worker {worker.name!r}: when names undeclared flag {', '.join(unknown)}; declared: {known} "
                "[CAP-FLAG-012]"
            )
        if problem != definition.problem:
            worker.definition = replace(definition, problem=problem)
            changed.append(worker)
    return changed


async def follow_gates(capability: Capability) -> None:
    """Start and stop the workers whose gate has opened or closed."""
    # A worker whose definition has a problem is in `error`, whatever its flags are.
    workers = [worker for worker in capability.workers.values() if worker.definition.problem is None]
    await asyncio.gather(*(_follow(worker) for worker in workers))


async def _follow(worker: ManagedWorker) -> None:
    try:
        await worker.follow_gate()
    except Retired as exc:  # what runs in its place has read the flags, or reads them now
        if exc.successor is not None and exc.successor.definition.problem is None:
            await _follow(exc.successor)
