"""`with_added`: lists agents that were added by hand beside those of capabilities; used by `Engine.info`."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from dnworker.capability.agents import AgentDefinition
from dnworker.core.models import CapabilityInfo, ComponentInfo


def with_added(
    capabilities: Sequence[CapabilityInfo], added: Sequence[AgentDefinition]
) -> list[CapabilityInfo]:
    """Return what the API shows of capabilities, with the agents added to them; nothing given is changed.

    Args:
        capabilities: as they are declared.
        added: agents of which none is declared; a capability of theirs that is not given is listed last.
    """
    shown = {info.name: info for info in capabilities}
    for agent in added:
        home = shown.get(agent.capability) or CapabilityInfo(
            name=agent.capability,
            display_name=agent.capability,
            description="Agents added to the running process",
        )
        shown[agent.capability] = msgspec.structs.replace(
            home,
            agents=[*home.agents, agent.info()],
            components=[*home.components, ComponentInfo(kind="agent", name=agent.name, status="ok")],
        )
    return [*shown.values()]
