"""Which members workers have on a node; used by `capabilities`."""

from __future__ import annotations

from collections.abc import Iterator

from msgspec.structs import replace

from dnworker.capability.manifest import CapabilityManifest, WorkerDefinition
from dnworker.core.errors import Conflict
from dnworker.core.members import ALONE, member_name
from dnworker.workers.managed import ManagedWorker
from dnworker.workers.services import Services


def members_of(manifest: CapabilityManifest, services: Services) -> Iterator[WorkerDefinition]:
    """Yield what a manifest declares, once for each member of a worker."""
    for definition in manifest.workers.values():
        qualified = f"{manifest.name}:{definition.name}"
        count = services.partitions.get(qualified, ALONE).of
        problem = definition.problem
        if count > 1 and problem is None and (definition.keep_state or qualified in services.keep_state):
            problem = f"{why_one_state(qualified)}; leave out --replicas or --keep-state"
        for n in range(count):
            name = member_name(definition.name, n)
            yield replace(definition, name=name, problem=problem, members=count)


def why_one_state(worker: str) -> str:
    """Return why a worker whose state is kept has one member."""
    return f"{worker} has a state that is kept, of which each member would have another"


def check_alone(managed: ManagedWorker, services: Services) -> None:
    """Raise Conflict where a worker that is no file is to have several members."""
    count = services.partitions.get(managed.qualified_name, ALONE).of
    if count > 1 and managed.definition.members == 1:
        raise Conflict(
            f"worker {managed.qualified_name!r} is in this process only, with one member, and replicas says "
            f"{count}; export it, or leave that out",
            code="DN812",
        )
