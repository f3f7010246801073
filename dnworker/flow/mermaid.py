"""`mermaid`: a graph as a Mermaid flowchart, which GitHub draws; the README of an export has one."""

from __future__ import annotations

from dnworker.flow.graph import Edge, Graph, Node
from dnworker.flow.words import rate, shown

MOST = 400
"""Edges that a chart has: drawers of Mermaid refuse larger ones."""

LONGEST = 80

_PLAIN = frozenset(" .:_-/,*→…%()")


def mermaid(graph: Graph, *, with_rates: bool = True) -> str:
    """Return a graph as Mermaid, the same text for the same graph.

    Args:
        graph: with its cycles found.
        with_rates: False for what is kept, such as in a README: nothing of it is from what happened.
    """
    names = {node: f"n{number}" for number, node in enumerate(graph.nodes)}
    lines = ["flowchart LR"]
    for number, band in enumerate(graph.bands):
        lines.append(f'  subgraph b{number}["{escaped(band)}"]')
        nodes = [node for node in graph.nodes.values() if node.band == band]
        lines += [f"    {names[node.id]}{_box(node)}" for node in nodes]
        lines.append("  end")
    edges = list(graph.edges.values())
    lines += [f"  {names[e.source]} {_arrow(graph, e, with_rates)} {names[e.target]}" for e in edges[:MOST]]
    if len(edges) > MOST:
        lines.append(f"  %% and {len(edges) - MOST} more edges")
    return "\n".join([*lines, *_marks(graph, names, with_rates), ""])


def escaped(text: str) -> str:
    """Return a text for quotes of Mermaid, in which nothing of it means anything."""
    text = shown(text)
    text = text if len(text) <= LONGEST else f"{text[: LONGEST - 1]}…"
    return "".join(c if c.isalnum() or c in _PLAIN else f"#{ord(c)};" for c in text)


def _box(node: Node) -> str:
    text = escaped(node.label)
    match node.category:
        case "kind":
            return f'(["{text}"])'
        case "source":
            return f'[/"{text}"/]'
        case _:
            return f'["{text}"]'


def _arrow(graph: Graph, edge: Edge, with_rates: bool) -> str:
    words = []
    if edge.cycle is not None and any(cycle.back == edge.key for cycle in graph.cycles):
        words.append(f"cycle {escaped(edge.cycle)}")
    if with_rates and graph.minutes and edge.flow.count:
        words.append(rate(graph.per_minute(edge.flow)))
        if edge.flow.failed:
            words.append(f"{edge.flow.failed} of {edge.flow.count} failed")
    line = "-.->" if edge.is_gated and with_rates else "-->"
    return f'{line}|"{", ".join(words)}"|' if words else line


def _marks(graph: Graph, names: dict[str, str], with_rates: bool) -> list[str]:
    """Return the styles of what nobody hears or publishes, and of what fails."""
    styles = {
        "unheard": "stroke:#c98412,stroke-dasharray:4 3",
        "unpublished": "stroke:#666d7c,stroke-dasharray:4 3",
    }
    found = []
    for mark, style in styles.items():
        marked = [names[node.id] for node in graph.nodes.values() if node.mark == mark]
        if marked:
            found += [f"  classDef {mark} {style}", f"  class {','.join(marked)} {mark}"]
    failing = [
        names[node.id]
        for node in graph.nodes.values()
        if with_rates and node.category == "worker" and (node.state == "error" or node.flow.failed)
    ]
    if failing:
        found += [
            "  classDef failing stroke:#d93a42,stroke-width:2px",
            f"  class {','.join(failing)} failing",
        ]
    return found
