"""Finds and names cycles of a graph: events that lead to themselves; `layout` draws their way back apart."""

from __future__ import annotations

from collections import deque
from collections.abc import Collection

from dnworker.flow.graph import Cycle, Graph, short

NAMED = 20
"""Cycles that are named; more are drawn, and not told apart."""


def backwards(graph: Graph, before: Collection[tuple[str, str]] = ()) -> set[tuple[str, str]]:
    """Return edges without which the graph has no cycle.

    Args:
        graph: which of them depends on the order of its nodes, not on rates.
        before: the edges that ran backwards in an earlier map; they do so again while they close a cycle.
    """
    kept = {key for key in before if key in graph.edges}
    back = _by_search(graph, kept)
    removed = back | kept
    for key in sorted(kept):  # it may close no cycle any more, or only one that another edge cuts
        if _way(graph, key[1], key[0], removed) is None:
            removed.discard(key)
    return removed


def _by_search(graph: Graph, left_out: Collection[tuple[str, str]]) -> set[tuple[str, str]]:
    out_of, into = graph.out_of(), graph.into()
    rank = {"source": 0, "kind": 1, "worker": 2, "fold": 2}
    roots = sorted(graph.nodes.values(), key=lambda node: (bool(into[node.id]), rank[node.category]))
    back: set[tuple[str, str]] = set()
    open_, done = set[str](), set[str]()
    for root in roots:
        if root.id in done:
            continue
        stack = [(root.id, iter(out_of[root.id]))]
        open_.add(root.id)
        while stack:
            node, following = stack[-1]
            for target in following:
                if (node, target) in left_out:
                    continue
                if target in open_:
                    back.add((node, target))
                elif target not in done:
                    open_.add(target)
                    stack.append((target, iter(out_of[target])))
                    break
            else:
                stack.pop()
                open_.discard(node)
                done.add(node)
    return back


def find_cycles(graph: Graph, back: Collection[tuple[str, str]]) -> None:
    """Name the cycle that each of these edges closes, and mark the edges that lead back, in the graph."""
    graph.cycles = []
    for source, target in sorted(back, key=list(graph.edges).index)[:NAMED]:
        way = _way(graph, target, source, {(source, target)})
        if not way:
            continue
        kind = source if graph.nodes[source].category == "kind" else target
        name = short(graph.nodes[kind])
        graph.edges[source, target].cycle = name
        beside = (way[-2], source) if kind == source and len(way) > 1 else None
        if beside in graph.edges:
            graph.edges[beside].cycle = name
        if graph.nodes[way[0]].category != "kind":
            way = [*way[1:], way[0]]
        graph.cycles.append(Cycle(name, way, (source, target)))


def _way(graph: Graph, start: str, end: str, left_out: Collection[tuple[str, str]] = ()) -> list[str] | None:
    """Return the shortest way between two nodes; None where there is none."""
    out_of = graph.out_of()
    came: dict[str, str | None] = {start: None}
    waiting = deque([start])
    while waiting:
        node = waiting.popleft()
        if node == end:
            way = [node]
            while (previous := came[way[-1]]) is not None:
                way.append(previous)
            return way[::-1]
        for target in out_of[node]:
            if target not in came and (node, target) not in left_out:
                came[target] = node
                waiting.append(target)
    return None
