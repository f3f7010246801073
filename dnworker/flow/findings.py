"""What is to be said about a map, in words: failures, cycles, dead ends, closed gates; `maps` asks."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

import msgspec

from dnworker.flow.graph import Edge, Graph, Node, in_words, short
from dnworker.flow.words import counted, rate, shown, span

MOST = 50
"""Findings that are listed."""

LONGEST = 160

Category = Literal["failing", "down", "cycle", "unheard", "unpublished", "gate"]


class Finding(msgspec.Struct):
    """One thing to look at, and the nodes and edges that it is about."""

    category: Category
    title: str
    text: str
    nodes: list[str]
    edges: list[tuple[str, str]] = []


def findings(graph: Graph) -> list[Finding]:
    """Return what is to be said, the worst first."""
    found = [
        *_failing(graph),
        *_down(graph),
        *_cycles(graph),
        *_unheard(graph),
        *_unpublished(graph),
        *_gates(graph),
    ]
    for one in found:
        one.title, one.text = _short(one.title), _short(one.text)
    return found[:MOST]


def _short(text: str) -> str:
    text = shown(text)
    return text if len(text) <= LONGEST else f"{text[: LONGEST - 1]}…"


def _failing(graph: Graph) -> Iterator[Finding]:
    failing = [edge for edge in graph.edges.values() if edge.flow.failed]
    for edge in sorted(failing, key=_share):
        source, target = graph.nodes[edge.source], graph.nodes[edge.target]
        text = f"{edge.flow.failed:,} of {counted(edge.flow.count, 'call')} failed"
        window = f" in {span(graph.minutes * 60)}" if graph.minutes else ""
        title = f"{source.label} → {short(target)}"
        yield Finding("failing", title, text + window, [target.id], [edge.key])


def _share(edge: Edge) -> tuple[float, tuple[str, str]]:
    return -edge.flow.failed / max(1, edge.flow.count), edge.key


def _down(graph: Graph) -> Iterator[Finding]:
    for node in graph.nodes.values():
        if node.category == "worker" and node.state == "error":
            why = (node.error or "It is in error").strip().partition("\n")[0]
            waits = f"; {counted(node.waiting, 'event')} wait" if node.waiting else ""
            yield Finding("down", f"{node.label} is down", why + waits, [node.id], _at(graph, node))


def _at(graph: Graph, node: Node) -> list[tuple[str, str]]:
    return [key for key in graph.edges if node.id == key[1]]


def _cycles(graph: Graph) -> Iterator[Finding]:
    for cycle in graph.cycles:
        way = " → ".join(short(graph.nodes[name]) for name in cycle.nodes)
        back = graph.per_minute(graph.edges[cycle.back].flow)
        often = f", {rate(back)}" if back else ""
        around = list(zip(cycle.nodes, [*cycle.nodes[1:], cycle.nodes[0]], strict=True))
        edges = [key for key in around if key in graph.edges]
        yield Finding("cycle", f"Cycle “{cycle.name}”", way + often, cycle.nodes, edges)


def _unheard(graph: Graph) -> Iterator[Finding]:
    deaf = [node for node in graph.nodes.values() if node.mark == "unheard"]
    if deaf:
        names = in_words(node.label for node in deaf)
        title = f"Nobody listens to {deaf[0].label if len(deaf) == 1 else counted(len(deaf), 'kind')}"
        if len(deaf) == 1:
            names = in_words(_publishers(graph, deaf[0])) + " publishes it"
        yield Finding("unheard", title, names, [node.id for node in deaf])


def _publishers(graph: Graph, node: Node) -> list[str]:
    return [graph.nodes[source].label for source, target in graph.edges if target == node.id]


def _unpublished(graph: Graph) -> Iterator[Finding]:
    for node in graph.nodes.values():
        if node.mark == "unpublished":
            hearers = [graph.nodes[target].label for source, target in graph.edges if source == node.id]
            verb = "waits" if len(hearers) == 1 else "wait"
            title = f"Nobody publishes {node.label}"
            yield Finding("unpublished", title, f"{in_words(hearers)} {verb} for it", [node.id])


def _gates(graph: Graph) -> Iterator[Finding]:
    gated: dict[tuple[str, ...], list[Node]] = {}
    for node in graph.nodes.values():
        if node.gate:
            gated.setdefault(node.gate, []).append(node)
    for flags, nodes in gated.items():
        title = f"Flag {flags[0]} is off" if len(flags) == 1 else f"Flags {in_words(flags)} are off"
        yield Finding("gate", title, f"Gates {in_words(n.label for n in nodes)}", [node.id for node in nodes])
