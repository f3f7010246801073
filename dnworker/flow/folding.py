"""`fold`: a large graph with capabilities, and workers that are alike, as one box each; `maps` folds."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from itertools import takewhile
from typing import NamedTuple

import msgspec

from dnworker.flow.graph import Edge, Flow, Graph, Node, short
from dnworker.flow.words import counted

FROM = 40
"""Nodes from which on a map is folded."""

MOST, MOST_EDGES = 100, 300
"""Nodes and edges that are drawn, whatever was unfolded."""

ALIKE = 4
"""Workers that hear and publish the same, from which on they are one box."""


class Folded(NamedTuple):
    """What is drawn, and in which of its nodes each node of the whole graph is."""

    graph: Graph
    inside: Mapping[str, str]
    folded: list[str]
    """The bands that are one box now, or could be: those that a reader may unfold."""


def fold(graph: Graph, opened: Collection[str] = (), closed: Collection[str] = ()) -> Folded:
    """Return a graph that can be drawn.

    Args:
        graph: the whole, with its cycles found; it stays as it is.
        opened: the bands that a reader has unfolded, however large.
        closed: those that a reader has folded, however small.
    """
    inside = {name: name for name in graph.nodes}
    sizes = dict.fromkeys(graph.bands, 0)
    for node in graph.nodes.values():
        sizes[node.band] += 1
    if len(graph.nodes) > FROM:
        inside |= _alike(graph)
    total, folded = len(set(inside.values())), [band for band in graph.bands if band in closed]
    for band in sorted(graph.bands, key=lambda one: (-sizes[one], one)):
        if band in folded or (total > FROM and band not in opened and sizes[band] > 2):
            folded += [band] if band not in folded else []
            total -= len({inside[n.id] for n in graph.nodes.values() if n.band == band}) - 1
            inside |= {n.id: f"fold/{band}" for n in graph.nodes.values() if n.band == band}
    between = _between(graph, folded)
    if len(between) <= MOST // 2:  # else folds are joined without the kinds between them
        inside |= {name: name for name in between}
    _cap(graph, inside)
    return Folded(_joined(graph, inside), inside, folded)


def _alike(graph: Graph) -> dict[str, str]:
    """Return the box of workers which hear and publish the same."""
    into, out_of = graph.into(), graph.out_of()
    groups: dict[tuple[object, ...], list[str]] = {}
    for node in graph.nodes.values():
        if node.category == "worker" and (into[node.id] or out_of[node.id]):
            alike = node.band, frozenset(into[node.id]), frozenset(out_of[node.id])
            groups.setdefault(alike, []).append(node.id)
    large = [group for group in groups.values() if len(group) >= ALIKE]
    return {name: f"alike/{group[0]}" for group in large for name in group}


def _between(graph: Graph, folded: Collection[str]) -> list[str]:
    """Return the kinds of folded bands that others publish or hear: they tell what is between them."""
    hidden = set(folded)
    found: dict[str, None] = {}
    for edge in graph.edges.values():
        source, target = graph.nodes[edge.source], graph.nodes[edge.target]
        if source.band != target.band:
            found |= {
                one.id: None for one in (source, target) if one.category == "kind" and one.band in hidden
            }
    return list(found)


def _cap(graph: Graph, inside: dict[str, str]) -> None:
    """Put what is more than can be drawn into one box a band, and of too many bands into one."""
    if len(drawn := list(dict.fromkeys(inside.values()))) <= MOST:
        return
    band_of = {box: graph.nodes[name].band for name, box in inside.items()}
    kept: set[str] = set()
    left = MOST - 1
    for band in graph.bands:
        boxes = [box for box in drawn if band_of[box] == band]
        if len(boxes) <= left:
            kept.update(boxes)
            left -= len(boxes)
        elif left > 1:
            kept.update(boxes[: left - 1])
            left = 0
    for name, box in inside.items():
        if box not in kept:
            inside[name] = "rest"


def _joined(graph: Graph, inside: Mapping[str, str]) -> Graph:
    """Return the graph of the boxes."""
    found = Graph(nodes={}, edges={}, bands=[], cycles=[], minutes=graph.minutes)
    members: dict[str, list[Node]] = {}
    for node in graph.nodes.values():
        members.setdefault(inside[node.id], []).append(node)
    for name, nodes in members.items():
        found.nodes[name] = nodes[0] if name == nodes[0].id else _box(name, nodes)
    for edge in graph.edges.values():
        source, target = inside[edge.source], inside[edge.target]
        if source == target:
            continue
        if (source, target) not in found.edges and len(found.edges) == MOST_EDGES:
            continue
        one = found.edges.setdefault((source, target), Edge(source, target, flow=Flow()))
        one.flow.add(edge.flow)
        one.is_written |= edge.is_written
        one.cycle = edge.cycle if edge.key == one.key else None
        one.is_gated |= edge.is_gated
    for source, target in list(found.edges):  # what a fold publishes and hears is its own matter
        is_own = source.startswith(("fold/", "rest")) and (target, source) in found.edges
        if is_own:
            del found.edges[target, source]
    used = {node.band for node in found.nodes.values()}
    found.bands = [band for band in graph.bands if band in used] + [b for b in ("more",) if b in used]
    found.cycles = [
        c for c in graph.cycles if c.back in found.edges and all(n in found.nodes for n in c.nodes)
    ]
    return found


def _box(name: str, nodes: list[Node]) -> Node:
    workers = [node for node in nodes if node.category == "worker"]
    kinds = sum(node.category == "kind" for node in nodes)
    flow = Flow()
    for node in workers:
        flow.add(node.flow)
    band = nodes[0].band
    if name == "rest":
        band, label = "more", f"{counted(len(nodes), 'more box', 'more boxes')}"
    elif name.startswith("alike/"):
        stem = _stem([short(node) for node in workers]) or short(workers[0])
        label = f"{stem} \N{MULTIPLICATION SIGN} {len(workers):,}"
    else:
        label = band
    state = "error" if any(node.state == "error" for node in workers) else ""
    made = Node(name, "fold", label, band=band, flow=flow, state=state, workers=len(workers), kinds=kinds)
    return msgspec.structs.replace(made, is_written=any(node.is_written for node in nodes))


def _stem(names: list[str]) -> str:
    """Return what names begin with in common, without the number that tells them apart."""
    alike = takewhile(lambda letters: len(set(letters)) == 1, zip(*names, strict=False))
    return "".join(letters[0] for letters in alike).rstrip("-0123456789")
