"""`Graph`: who publishes which kind and who hears it; `build` makes it of facts, layout and texts show it.

A node is a source (such as HTTP), a kind, a worker, or several that are folded into one. An edge leads from
who publishes to the kind, and from the kind to the worker that hears it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from fnmatch import fnmatchcase
from typing import Literal

import msgspec

from dnworker.core.envelope import is_noise, is_reserved
from dnworker.core.schedule import seconds_of
from dnworker.flow.words import span

Category = Literal["source", "kind", "worker", "fold"]
Mark = Literal["", "unheard", "unpublished"]

SESSIONS, RUNTIME, SCHEDULES = "Sessions", "Runtime", "Schedules"
"""The sources that the runtime itself is: it publishes the reserved kinds, and starts schedules."""

GRID = ((24, 84), (155, 122), (324, 138), (509, 122), (678, 138), (863, 122), (1032, 138))
COMPACT = ((0, 84), (151, 122), (336, 138), (541, 122), (720, 138), (925, 122), (1110, 138))
"""Left edge and width of each column, in px: of a whole map, and of one of few flows without bands."""

MERGED = 6
"""Workers of several capabilities that share one band at most, where they hear the same kind from outside."""

HEARD_BY_PEOPLE = frozenset({"notify"})
"""Kinds that are for who looks at the runtime; that no worker listens to them is no finding."""


class Flow(msgspec.Struct):
    """What went along an edge or through a node in the window that is looked at."""

    count: int = 0
    failed: int = 0

    def add(self, other: Flow) -> None:
        """Add another to it."""
        self.count += other.count
        self.failed += other.failed


class Node(msgspec.Struct):
    """One box; `flow` counts calls of a worker, and events of a source or a kind."""

    id: str
    category: Category
    label: str
    band: str = ""
    flow: Flow = msgspec.field(default_factory=Flow)
    mark: Mark = ""
    """Of a kind: published and not heard, or heard and not published."""
    is_written: bool = False
    """Whether it is known from source, not only from what happened."""
    # workers
    state: str = ""
    error: str | None = None
    gate: tuple[str, ...] = ()
    """The flags that hold it back; empty where none does."""
    p95: float | None = None
    """Seconds that its calls take."""
    waiting: int = 0
    """Events that wait for it, or of a kind."""
    handlers: int = 0
    # folds
    workers: int = 0
    kinds: int = 0


class Edge(msgspec.Struct):
    """One ribbon; `flow` counts events, and of a kind's edge the calls that they caused."""

    source: str
    target: str
    flow: Flow = msgspec.field(default_factory=Flow)
    is_written: bool = False
    is_gated: bool = False
    cycle: str | None = None
    """The name of the cycle of which it is the way back."""

    @property
    def key(self) -> tuple[str, str]:
        """Its two ends."""
        return self.source, self.target


class Cycle(msgspec.Struct):
    """Events that lead to themselves: the nodes on the way, the first kind first."""

    name: str
    nodes: list[str]
    back: tuple[str, str]
    """The edge that runs backwards."""


class WorkerFacts(msgspec.Struct):
    """What is known of one worker."""

    name: str
    capability: str
    state: str = ""
    error: str | None = None
    gate: tuple[str, ...] = ()
    p95: float | None = None
    waiting: Mapping[str, int] = {}
    """By kind, the events that wait for it."""
    hears: dict[str, Flow] = {}
    schedules: dict[str, Flow] = {}
    """By the label of a schedule."""
    tasks: Flow = msgspec.field(default_factory=Flow)
    published: dict[str, int] = {}
    """By kind, what it has published."""
    writes: frozenset[str] = frozenset()
    """The kinds that its source publishes, also as patterns such as `orders.*`."""
    written: frozenset[str] = frozenset()
    """The kinds and schedules that are known from source."""
    handlers: int = 0


class Facts(msgspec.Struct):
    """All that a map is made of; counts are those of so many minutes, 0 where nothing was counted."""

    workers: list[WorkerFacts] = []
    sources: dict[str, dict[str, int]] = {}
    """By source and kind, what came from outside of handlers."""
    minutes: float = 0.0


class Graph(msgspec.Struct):
    """The nodes and edges, in the order in which they were found, which does not change by rates."""

    nodes: dict[str, Node] = {}
    edges: dict[tuple[str, str], Edge] = {}
    bands: list[str] = []
    cycles: list[Cycle] = []
    minutes: float = 0.0
    grid: tuple[tuple[int, int], ...] = GRID

    def per_minute(self, flow: Flow) -> float:
        """Return a count as a rate."""
        return flow.count / self.minutes if self.minutes else 0.0

    def out_of(self) -> dict[str, list[str]]:
        """Return where edges of each node lead."""
        found: dict[str, list[str]] = {name: [] for name in self.nodes}
        for source, target in self.edges:
            found[source].append(target)
        return found

    def into(self) -> dict[str, list[str]]:
        """Return where edges into each node come from."""
        found: dict[str, list[str]] = {name: [] for name in self.nodes}
        for source, target in self.edges:
            found[target].append(source)
        return found


def kind_id(kind: str) -> str:
    """Return the id of a kind's node."""
    return f"kind/{kind}"


def worker_id(name: str) -> str:
    """Return the id of a worker's node."""
    return f"worker/{name}"


def short(node: Node) -> str:
    """Return the last part of a name: `taken` of `orders.taken`, `intake` of `orders:intake`."""
    if node.category == "worker":
        return node.label.rpartition(":")[2]
    return node.label.rpartition(".")[2] or node.label


def build(facts: Facts) -> Graph:
    """Make the graph of what is known; cycles are found by `cycles`."""
    return _Builder(facts).build()


class _Builder:
    def __init__(self, facts: Facts) -> None:
        self._facts = facts
        self._graph = Graph(nodes={}, edges={}, bands=[], cycles=[], minutes=facts.minutes)
        self._bands = _bands_of(facts)
        self._heard = {kind for worker in facts.workers for kind in worker.hears}
        published = {kind for worker in facts.workers for kind in worker.published}
        outside = {kind for kinds in facts.sources.values() for kind in kinds}
        self._matched: dict[str, list[str]] = {}
        """By pattern, the known kinds that it stands for."""
        self._known = list(dict.fromkeys([*self._all_kinds(), *sorted(published | outside)]))

    def _all_kinds(self) -> Iterator[str]:
        for worker in self._facts.workers:
            yield from sorted(worker.hears)
            yield from sorted(kind for kind in worker.writes if "*" not in kind)

    def build(self) -> Graph:
        for worker in self._facts.workers:
            self._add_worker(worker)
        for worker in self._facts.workers:
            self._add_heard(worker)
        for worker in self._facts.workers:
            self._add_published(worker)
        self._add_outside()
        self._mark_kinds()
        used = {node.band for node in self._graph.nodes.values()}
        order = dict.fromkeys(self._bands[worker.capability] for worker in self._facts.workers)
        self._graph.bands = [*(band for band in order if band in used), *sorted(used - {*order})]
        return self._graph

    def _add_worker(self, facts: WorkerFacts) -> None:
        total = Flow()
        for flow in (*facts.hears.values(), *facts.schedules.values(), facts.tasks):
            total.add(flow)
        self._graph.nodes[worker_id(facts.name)] = Node(
            worker_id(facts.name),
            "worker",
            facts.name,
            band=self._bands[facts.capability],
            flow=total,
            is_written=facts.handlers > 0 or bool(facts.writes),
            state=facts.state,
            error=facts.error,
            gate=facts.gate,
            p95=facts.p95,
            waiting=sum(facts.waiting.values()),
            handlers=facts.handlers,
        )

    def _kind(self, kind: str, band: str) -> Node:
        found = self._graph.nodes.get(kind_id(kind))
        if found is None:
            found = self._graph.nodes[kind_id(kind)] = Node(kind_id(kind), "kind", kind, band=band)
        return found

    def _join(self, source: str, target: str, flow: Flow, *, written: bool, gated: bool = False) -> None:
        edge = self._graph.edges.get((source, target))
        if edge is None:
            edge = self._graph.edges[source, target] = Edge(source, target, flow=Flow())
        edge.flow.add(flow)
        edge.is_written |= written
        edge.is_gated |= gated
        for end in (source, target):
            self._graph.nodes[end].is_written |= written

    def _add_heard(self, facts: WorkerFacts) -> None:
        band, me, gated = self._bands[facts.capability], worker_id(facts.name), bool(facts.gate)
        for kind in sorted(facts.hears):
            node = self._kind(kind, band)
            node.waiting = max(node.waiting, facts.waiting.get(kind, 0))
            self._join(node.id, me, facts.hears[kind], written=kind in facts.written, gated=gated)
        for label in sorted(facts.schedules):
            flow, written = facts.schedules[label], label in facts.written
            name = f"schedule/{band}/{label}"
            seconds = seconds_of(label)
            words = label if seconds is None else f"every {span(seconds)}"
            node = self._graph.nodes.setdefault(name, Node(name, "kind", words, band=band))
            node.flow.add(flow)
            self._join(name, me, flow, written=written, gated=gated)
            self._join(self._source(SCHEDULES, band), name, flow, written=written, gated=gated)

    def _add_published(self, facts: WorkerFacts) -> None:
        band, me, gated = self._bands[facts.capability], worker_id(facts.name), bool(facts.gate)
        matched = {one for kind in facts.writes if "*" in kind for one in self._matching(kind)}
        for kind in sorted({*facts.published, *facts.writes, *matched}):
            if "*" in kind and self._matching(kind):
                continue
            if kind not in self._heard and kind not in facts.writes and is_reserved(kind):
                continue
            count = facts.published.get(kind, 0)
            node = self._kind(kind, band)
            node.flow.count += count
            self._join(me, node.id, Flow(count), written=kind in facts.writes or kind in matched, gated=gated)

    def _matching(self, pattern: str) -> list[str]:
        found = self._matched.get(pattern)
        if found is None:
            found = self._matched[pattern] = [kind for kind in self._known if fnmatchcase(kind, pattern)]
        return found

    def _source(self, name: str, band: str) -> str:
        node_id = f"source/{name}/{band}"
        if node_id not in self._graph.nodes:
            self._graph.nodes[node_id] = Node(node_id, "source", name, band=band)
        return node_id

    def _add_outside(self) -> None:
        first = self._facts.workers[0].capability if self._facts.workers else None
        default = self._bands[first] if first is not None else "outside"
        for source, kinds in self._facts.sources.items():
            for kind, count in sorted(kinds.items()):
                if kind not in self._heard and (is_reserved(kind) or is_noise(kind)):
                    continue
                node = self._kind(kind, default)
                node.flow.count += count
                self._join(self._source(source, node.band), node.id, Flow(count), written=False)
        for kind in sorted(self._heard):
            if is_reserved(kind):
                source = RUNTIME if is_noise(kind) else SESSIONS
                node = self._graph.nodes[kind_id(kind)]
                self._join(self._source(source, node.band), node.id, Flow(), written=node.is_written)
        for edge in self._graph.edges.values():
            if (node := self._graph.nodes[edge.source]).category == "source":
                node.flow.add(edge.flow)

    def _mark_kinds(self) -> None:
        into, out_of = self._graph.into(), self._graph.out_of()
        for node in self._graph.nodes.values():
            if node.category != "kind" or node.label in HEARD_BY_PEOPLE:
                continue
            if not out_of[node.id]:
                node.mark = "unheard"
            elif not into[node.id]:
                node.mark = "unpublished"


def _bands_of(facts: Facts) -> dict[str, str]:
    """Return the band of each capability: its own, or one of small ones that hear the same from outside."""
    sizes = Counter(worker.capability for worker in facts.workers)
    published = {kind for worker in facts.workers for kind in (*worker.published, *worker.writes)}
    together = {capability: [capability] for capability in sizes}
    hearers: dict[str, list[str]] = {}
    for worker in facts.workers:
        for kind in worker.hears:
            hearers.setdefault(kind, []).append(worker.capability)
    for kind, capabilities in sorted(hearers.items()):
        groups: list[list[str]] = []
        for capability in capabilities:
            if together[capability] not in groups:
                groups.append(together[capability])
        joined = [one for group in groups for one in group]
        if kind not in published and len(groups) > 1 and sum(sizes[one] for one in joined) <= MERGED:
            joined.sort(key=list(sizes).index)
            together |= dict.fromkeys(joined, joined)
    return {capability: in_words(group) for capability, group in together.items()}


def in_words(names: Iterable[str], most: int = 3) -> str:
    """Return names as a list in words: `a, b and c`, `a, b and 7 more`."""
    listed = list(names)
    if len(listed) > most:
        listed = [*listed[: most - 1], f"{len(listed) - most + 1} more"]
    return " and ".join([*([", ".join(listed[:-1])] if listed[:-1] else []), *listed[-1:]])
