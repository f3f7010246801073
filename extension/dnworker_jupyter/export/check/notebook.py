"""Runs the notebook's handlers once more in a runtime of their own: the notebook's side of a check."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from msgspec.structs import replace

from dnworker.capability.components import Components, read_components
from dnworker.engine.capability import LIVE_CAPABILITY
from dnworker.runtime import Runtime
from dnworker_jupyter.export.check.observe import Scene, observe
from dnworker_jupyter.export.check.record import CheckRun
from dnworker_jupyter.export.check.turns import Reply, Script
from dnworker_jupyter.export.planning.types import OnProgress

if TYPE_CHECKING:
    from dnworker.capability.agents import AgentDefinition
    from dnworker.capability.manifest import CapabilityManifest
    from dnworker.workers.worker import Worker

START_SECONDS = 60.0
"""Seconds until the notebook's workers must be up: what they import is imported already."""


@dataclass(frozen=True)
class NotebookRequest:
    """What is asked of the notebook's side."""

    scene: Scene
    manifest: CapabilityManifest
    """Of the export, whose files are at its root: its agents are there for handlers of the notebook, too."""
    afresh: Sequence[str] = ()
    """Names that begin with what the export gives them, instead of what they are by now."""


@dataclass(frozen=True)
class Company:
    """What the notebook's workers have around them."""

    script: Script = field(default_factory=Script)
    agents: Mapping[str, Sequence[AgentDefinition]] = field(default_factory=dict)
    """The agents that the capabilities of the notebook's runtime declare."""
    tools: Mapping[str, Reply] = field(default_factory=dict)
    """The functions that scripted agents may call."""


async def run_workers(
    workers: Sequence[Worker], request: NotebookRequest, company: Company, on_progress: OnProgress
) -> CheckRun:
    """Return what workers do in a runtime of their own, which has what export and notebook have.

    Handlers run for real, their startup, tasks and schedules too: a socket or a file that one opens is
    opened.
    """
    manifest = request.manifest
    flags = {manifest.name: dict.fromkeys(manifest.flags, True)}
    async with Runtime(port=None, flags=flags, telemetry=False) as runtime:
        _furnish(runtime, manifest, company)

        async def start(runtime: Runtime) -> None:
            names = ", ".join(str(worker.name) for worker in workers)
            on_progress(f"starting {names} once more, for the comparison", 0, 1)
            await asyncio.gather(*(_start(runtime, worker, manifest.name) for worker in workers))

        return await observe(runtime, request.scene, start, on_progress, company.script)


async def _start(runtime: Runtime, worker: Worker, capability: str) -> None:
    try:
        async with asyncio.timeout(START_SECONDS):
            await runtime.add(worker, capability=capability)
    except TimeoutError:
        return  # its state says that it is not up


def _furnish(runtime: Runtime, manifest: CapabilityManifest, company: Company) -> None:
    """Give a runtime the agents of the export, and those that the notebook's runtime knows."""
    home = runtime.capability(manifest.name)
    home.declare(manifest)
    own = [*company.agents.get(manifest.name, ()), *company.agents.get(LIVE_CAPABILITY, ())]
    parts = read_components(manifest)
    known = {agent.name for agent in parts.agents}
    agents = [*parts.agents, *(agent for agent in own if agent.name not in known)]
    home.parts = replace(parts, agents=agents)
    for name, declared in company.agents.items():
        if name not in (manifest.name, LIVE_CAPABILITY) and declared:
            runtime.capability(name).parts = Components(agents=[*declared])
    for name, function in company.tools.items():
        runtime.tools.register(function, name=name)
