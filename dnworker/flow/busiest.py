"""`busiest`: the flows with the most events, as rows and as a small map; the overview shows them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from dnworker.core.envelope import is_reserved
from dnworker.flow.cycles import backwards
from dnworker.flow.drawing import draw
from dnworker.flow.graph import COMPACT, Edge, Facts, Flow, Graph, Node, build, short
from dnworker.flow.layout import lay_out
from dnworker.flow.maps import Place
from dnworker.flow.words import rate, shown

BESIDE = 2
"""Workers that are drawn of those that hear one kind."""

DEEPEST = 5
"""Columns of the small map, from the source on."""

NAMES = 5

SPARE = 24
"""Px below the boxes that a band would need."""


def busiest(facts: Facts, most: int, place: Place | None = None) -> dict[str, Any]:
    """Return so many flows: `rows`, one a kind, and `map`, the drawing of where they lead."""
    graph = build(facts)
    heard = _heard(graph)
    kinds = _by_events(graph, heard)
    few = _around(graph, kinds, most)
    place = place or Place()
    for key in backwards(few):
        del few.edges[key]
    place.layout = lay_out(few, place.layout)
    return {
        "rows": [_row(graph, node, heard.get(node.id, [])) for node in kinds[:most]],
        "map": _small(draw(few, place.layout)),
    }


def _small(drawing: dict[str, Any]) -> dict[str, Any]:
    """Return a drawing as wide as it must be, with less text."""
    for node in drawing["nodes"]:
        if node["category"] == "worker" and not node["tone"]:
            node["detail"] = node["detail"].partition(", ")[0]
    edges = [edge | {"label": None} for edge in drawing["edges"]]
    right = max((node["x"] + node["width"] for node in drawing["nodes"]), default=0)
    height = max(drawing["height"] - SPARE, 44)
    return drawing | {"edges": edges, "width": max(right, 600), "height": height, "findings": []}


def _heard(graph: Graph) -> dict[str, list[Edge]]:
    """Return the edges that lead from each kind."""
    found: dict[str, list[Edge]] = {}
    for edge in graph.edges.values():
        found.setdefault(edge.source, []).append(edge)
    return found


def _by_events(graph: Graph, heard: Mapping[str, list[Edge]]) -> list[Node]:
    """Return the kinds that somebody hears or publishes, the busiest first."""
    kinds = [n for n in graph.nodes.values() if n.category == "kind" and not n.id.startswith("schedule/")]
    kinds = [n for n in kinds if n.mark != "unheard" or not is_reserved(n.label)]
    return sorted(kinds, key=lambda node: -_events(node, heard.get(node.id, [])).count)


def _events(node: Node, edges: list[Edge]) -> Flow:
    """Return the events of a kind, and how many calls of it failed."""
    most = max([node.flow.count, *(edge.flow.count for edge in edges)])
    return Flow(most, sum(edge.flow.failed for edge in edges))


def _row(graph: Graph, node: Node, edges: list[Edge]) -> dict[str, Any]:
    flow = _events(node, edges)
    per_minute = graph.per_minute(flow)
    return {
        "id": node.id,
        "kind": shown(node.label)[:200],
        "workers": [shown(short(graph.nodes[edge.target]))[:80] for edge in edges[:NAMES]],
        "more": max(0, len(edges) - NAMES),
        "rate": round(per_minute, 2),
        "text": rate(per_minute) if per_minute else "",
        "count": flow.count,
        "failed": flow.failed,
        "bad": any(edge.flow.failed * 2 >= edge.flow.count > 0 for edge in edges),
        "mark": node.mark,
    }


def _around(graph: Graph, kinds: list[Node], most: int) -> Graph:
    """Return the part of the graph that begins at the busiest kinds, first those from outside."""
    into, out_of = graph.into(), graph.out_of()
    outside = {
        node.id: name for node in kinds for name in into[node.id] if graph.nodes[name].category == "source"
    }
    kept: dict[str, None] = {}
    begun = 0
    for kind in sorted(kinds, key=lambda node: node.id not in outside):
        if begun < most and kind.id not in kept:
            begun += 1
            kept |= dict.fromkeys([outside[kind.id]] if kind.id in outside else [])
            _follow(graph, out_of, kind.id, kept)
    few = Graph(
        nodes={}, edges={}, bands=[""] if kept else [], cycles=[], minutes=graph.minutes, grid=COMPACT
    )
    few.nodes = {
        name: msgspec.structs.replace(graph.nodes[name], band="") for name in graph.nodes if name in kept
    }
    few.edges = {key: edge for key, edge in graph.edges.items() if key[0] in kept and key[1] in kept}
    return few


def _follow(graph: Graph, out_of: dict[str, list[str]], start: str, kept: dict[str, None]) -> None:
    """Keep what a kind leads to, the busiest ways, as far as there are columns."""
    level = [start]
    kept[start] = None
    for _ in range(DEEPEST - 1):
        following = []
        for name in level:
            ways = sorted(out_of[name], key=lambda other: -graph.edges[name, other].flow.count)
            following += [way for way in ways[:BESIDE] if way not in kept]
            kept |= dict.fromkeys(following)
        level = following
