"""The endpoints that show the nodes which share a broker, reload them, and choose the version they run."""

from __future__ import annotations

import msgspec

from dnworker.engine.node_records import Move, NodeRow
from dnworker.engine.node_reloads import NodeReload
from dnworker.server.api import ApiCall, Fields, endpoint
from dnworker.server.rights import Right

NODES_SHOWN = 200
"""Nodes of an answer at most, those that are there first; `more` counts the others."""

WORKERS_SHOWN = 5_000
"""Workers of an answer at most, of all nodes together; `held` of a node counts all that it holds."""


class Nodes(msgspec.Struct, kw_only=True):
    """The nodes as the one sees them that answers; times are seconds since 1970."""

    is_shared: bool
    """Whether the broker is shared; where it is not, there is no node."""
    broker: str
    node: str | None
    """The one that answers."""
    failure: str | None
    """Why it sees the others no more, or they it; the nodes are as they were seen last."""
    nodes: list[NodeRow]
    more: int
    timeline: list[Move]
    """The newest steps of all nodes, oldest first."""


@endpoint("GET", "/api/nodes", right=Right.RUNTIME, answer=Nodes)
async def nodes(call: ApiCall) -> object:
    """Tell which nodes share the broker, what each holds, and who took what over."""
    found, broker = call.engine.nodes, call.engine.bus.broker
    if found.is_open:
        await found.read()
    rows = found.rows() if found.is_open else []
    left = WORKERS_SHOWN
    for row in rows[:NODES_SHOWN]:
        row.workers = row.workers[:left]
        left -= len(row.workers)
    return Nodes(
        is_shared=found.is_shared,
        broker=broker.name,
        node=found.name if found.is_open else None,
        failure=found.failure or broker.failure,
        nodes=rows[:NODES_SHOWN],
        more=max(0, len(rows) - NODES_SHOWN),
        timeline=found.moves() if found.is_open else [],
    )


class NodeReloadsAnswer(msgspec.Struct, kw_only=True):
    """How the reload of each node went, in the order in which they were asked."""

    nodes: list[NodeReload]


class Capability(Fields):
    """The only capability that is meant; all of them by default."""

    capability: str | None = None


class TargetAnswer(msgspec.Struct, kw_only=True):
    """What the nodes are to run of a capability."""

    capability: str
    version: str
    digest: str
    node: str
    """The node that made it the target."""


class OneCapability(Fields):
    """The capability that is meant."""

    capability: str


@endpoint("POST", "/api/nodes/reload", right=Right.RELOAD, query=Capability, answer=NodeReloadsAnswer)
async def reload_nodes(call: ApiCall) -> object:
    """Reload this node, then all others that share its broker, one by one; one that fails ends it."""
    return NodeReloadsAnswer(nodes=await call.engine.reload_nodes(call.query.capability))


@endpoint(
    "POST",
    "/api/nodes/target",
    right=Right.RELOAD,
    query=OneCapability,
    answer=TargetAnswer,
    errors=(404, 409, 507),
)
async def make_target(call: ApiCall) -> object:
    """Have all nodes run the version of a capability that this one has, also an older one."""
    made = await call.engine.make_target(call.query.capability)
    return TargetAnswer(
        capability=made.capability, version=made.loaded.version, digest=made.loaded.digest, node=made.node
    )


endpoints = [nodes, reload_nodes, make_target]
