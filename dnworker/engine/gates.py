"""Gates of a capability's workers: which wait for flags that nobody declares, which open and close."""

from __future__ import annotations

import asyncio
from dataclasses import replace

from dnworker.capability.flags import gate_is_open
from dnworker.core.lifecycle import WorkerState
from dnworker.engine.capability import Capability
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
    changed = []
    for worker in capability.workers.values():
        if worker.definition.problem is not None:
            continue  # it is in `error`, whatever its flags are
        is_open = gate_is_open(worker.definition.when, capability.flags)
        if is_open and worker.state is WorkerState.GATED_OFF:
            changed.append(worker.start())
        elif not is_open and worker.state is not WorkerState.GATED_OFF:
            changed.append(worker.close_gate())
    await asyncio.gather(*changed)
