"""Gates of a capability's workers: which wait for flags that nobody declares, which open and close."""

from __future__ import annotations

import asyncio

from msgspec.structs import replace

from dnworker.core.errors import NotFound
from dnworker.engine.agreed_flags import AgreedFlags
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


async def set_flag(capability: Capability, flag: str, value: bool, agreed: AgreedFlags) -> None:
    """Keep a flag's value, and start and stop what it gates.

    It is kept for all nodes where several share a broker, else for this user; that of added workers for this
    process.

    Args:
        capability: whose flag it is.
        flag: its name.
        value: on or off.
        agreed: those that all nodes share.

    Raises:
        NotFound: the capability has no such flag.
        OSError: it cannot be kept.
    """
    if flag not in capability.flags:
        known = ", ".join(capability.flags) or "none"
        raise NotFound(f"capability {capability.name!r} has no flag {flag!r}; it has: {known}", code="DN405")
    if agreed.is_open and not capability.live:
        await agreed.set(capability.name, flag, value)
        await follow_agreed(capability)
        return
    capability.set_flag(flag, value)
    await follow_gates(capability)


async def follow_agreed(capability: Capability) -> None:
    """Start and stop workers by what the cluster has agreed on, where that is news here."""
    if capability.failure is not None:
        return
    capability.resolve_flags()
    await follow_gates(capability)


async def _follow(worker: ManagedWorker) -> None:
    try:
        await worker.follow_gate()
    except Retired as exc:  # what runs in its place has read the flags, or reads them now
        if exc.successor is not None and exc.successor.definition.problem is None:
            await _follow(exc.successor)
