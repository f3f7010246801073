"""What nodes write about themselves in the key-value store of a shared broker, and what the API shows of it.

Times are seconds since 1970 by the clock of the node that wrote them, and are for people alone: no node is
judged by them, for clocks differ. `nodes.py` writes and reads the records.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Iterable
from typing import Literal, NamedTuple, Protocol

import msgspec

from dnworker.core.members import family_of

WORKERS_TOLD = 250
"""Workers that a record lists, those with most events that wait first; it counts the others."""

CAPABILITIES_TOLD = 100
"""Capabilities that a record lists, by name."""

LONGEST_FAILURE = 300

NodeState = Literal["up", "silent", "gone"]
"""`silent`: it has said nothing for longer than it may, and the broker has not dropped it yet."""


class Held(NamedTuple):
    """A worker that runs on this node, as what decides about that says it."""

    worker: str
    """Its qualified name."""
    fence: int | None = None
    """The fencing number; None where nothing decides who runs it."""
    before: str | None = None
    """The node that held it before, where that is known."""
    is_failover: bool | None = None
    """Whether that one was lost; None where it is not known."""


class Holdings(Protocol):
    """Decides which workers this node holds."""

    def held(self) -> Iterable[Held]:
        """Return those that it holds now."""


class HeldWorker(msgspec.Struct, frozen=True, kw_only=True):
    """A worker as the node says it that holds it."""

    worker: str
    state: str
    fence: int | None = None
    backlog: int = 0
    """Events that wait for it on that node."""
    pending: int = 0
    """Events that its handlers work on, and which are not acknowledged."""
    handled: int = 0
    """Calls that have ended since its last start, failed ones among them."""
    failed: int = 0
    members: int = 1
    """How many members its worker has, this one included."""


def members_here(one: HeldWorker, workers: Iterable[HeldWorker]) -> str | None:
    """Return how many members of a worker a node has, as `2 of 4 here`; None where it has one only."""
    if one.members == 1:
        return None
    family = family_of(one.worker)
    return f"{sum(family_of(other.worker) == family for other in workers)} of {one.members} here"


class NodeCapability(msgspec.Struct, frozen=True, kw_only=True):
    """A capability as a node has loaded it from disk."""

    name: str
    version: str
    digest: str
    """Of its files: two nodes with the same have the same code."""
    is_old: bool = False
    """Whether the cluster is to run another version: workers leave this node for those that have that."""


class NodeRecord(msgspec.Struct, frozen=True, kw_only=True):
    """What a node says of itself every few seconds."""

    name: str
    instance: str
    """The id of the runtime: a node that starts again has another."""
    version: str
    labels: list[str] = []
    host: str = ""
    pid: int = 0
    since: float
    """When it started."""
    at: float
    """When this was written."""
    url: str | None = None
    workers: list[HeldWorker] = []
    capabilities: list[NodeCapability] = []
    held: int = 0
    backlog: int = 0
    pending: int = 0
    lag_ms: float | None = None
    """How late its loop has turned lately, the 99th percentile; None before it was measured."""
    failure: str | None = None
    """Why it could write nothing until now."""


class PastRecord(msgspec.Struct, frozen=True, kw_only=True):
    """What is left of a node for a day, also where nobody saw its end."""

    name: str
    instance: str
    version: str
    labels: list[str] = []
    host: str = ""
    pid: int = 0
    since: float
    seen_at: float
    """When it was there, as it said itself the last time."""
    gone_at: float | None = None
    """Since when nothing was heard of it, by the clock of who saw that; None while it is there."""
    has_left: bool = False
    """Whether it ended by itself."""


MoveKind = Literal["joined", "left", "gone", "back", "started", "moved", "failover"]


class Move(msgspec.Struct, frozen=True, kw_only=True):
    """One step of the timeline."""

    at: float
    """By the clock of the node that wrote it."""
    kind: MoveKind
    node: str
    """Who joined, left, is gone or is back; of a worker, who holds it now."""
    worker: str | None = None
    before: str | None = None
    """The node that held the worker before."""
    fence: int | None = None


class NodeRow(msgspec.Struct, kw_only=True):
    """A node as the API shows it."""

    name: str
    state: NodeState
    is_here: bool = False
    """Whether it is the one that answers."""
    instance: str
    version: str
    labels: list[str]
    host: str
    pid: int
    url: str | None = None
    since: float
    heard_sec: float | None = None
    """Seconds since it was last heard of, by the monotonic clock of the node that answers."""
    gone_at: float | None = None
    seen_at: float | None = None
    """When it was there last, of one that is gone and whose end nobody saw."""
    has_left: bool = False
    clock_off_sec: float | None = None
    """How far its clock is ahead of that of the node that answers, where that is seconds."""
    held: int = 0
    backlog: int = 0
    pending: int = 0
    lag_ms: float | None = None
    failure: str | None = None
    workers: list[HeldWorker] = []
    capabilities: list[NodeCapability] = []


def host_and_pid() -> tuple[str, int]:
    """Return where this process runs."""
    return socket.gethostname(), os.getpid()


def bounded(workers: Iterable[HeldWorker]) -> list[HeldWorker]:
    """Return as many as a record lists, in the order of their names."""
    found = sorted(workers, key=lambda one: (-one.backlog - one.pending, one.worker))[:WORKERS_TOLD]
    return sorted(found, key=lambda one: one.worker)


def past_of(record: NodeRecord, *, gone_at: float | None = None, has_left: bool = False) -> PastRecord:
    """Return what is left of a node."""
    return PastRecord(
        name=record.name,
        instance=record.instance,
        version=record.version,
        labels=record.labels,
        host=record.host,
        pid=record.pid,
        since=record.since,
        seen_at=record.at,
        gone_at=gone_at,
        has_left=has_left,
    )


def row_of_past(past: PastRecord) -> NodeRow:
    """Return the row of a node that is gone."""
    return NodeRow(
        name=past.name,
        state="gone",
        instance=past.instance,
        version=past.version,
        labels=past.labels,
        host=past.host,
        pid=past.pid,
        since=past.since,
        gone_at=past.gone_at,
        seen_at=past.seen_at,
        has_left=past.has_left,
    )
