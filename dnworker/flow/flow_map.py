"""`FlowMap`: a map that does not change any more, as SVG, Mermaid, JSON and text; what `dn.map()` returns."""

from __future__ import annotations

from functools import cached_property
from typing import Any

from dnworker.flow.drawing import told
from dnworker.flow.graph import Facts, Graph
from dnworker.flow.maps import graph_of, make
from dnworker.flow.mermaid import mermaid
from dnworker.flow.svg import svg
from dnworker.flow.words import shown

LINES = 200
"""Flows that are listed as text."""


class FlowMap:
    """What flows where, as it was when it was made.

    Args:
        facts: what it shows.
        title: what it is called where it is not seen.
    """

    def __init__(self, facts: Facts, title: str = "What flows where") -> None:
        self._facts = facts
        self._title = title

    @cached_property
    def _graph(self) -> Graph:
        return graph_of(self._facts)

    @cached_property
    def _drawing(self) -> dict[str, Any]:
        return make(self._facts)

    @property
    def svg(self) -> str:
        """The text of an SVG file, which needs no other file and is light or dark as its reader prefers."""
        return svg(self._drawing, self._title)

    @property
    def mermaid(self) -> str:
        """A Mermaid flowchart."""
        return mermaid(self._graph, with_rates=self._facts.minutes > 0)

    def to_json(self) -> dict[str, Any]:
        """Return boxes, ribbons and bands with their places in px, and the findings."""
        return self._drawing

    @property
    def findings(self) -> list[str]:
        """What is to be said about it: failures, cycles, kinds that nobody hears or publishes, gates."""
        return [f"{one['title']}: {one['text']}" for one in self._drawing["findings"]]

    def __str__(self) -> str:
        """Return the flows as lines, then the findings."""
        graph, lines = self._graph, []
        for band in graph.bands:
            inside = {node.id for node in graph.nodes.values() if node.band == band}
            ends = {end for key in graph.edges for end in key}
            alone = [graph.nodes[name].label for name in graph.nodes if name in inside and name not in ends]
            lines += [shown(band), *(f"  {words}" for start, words in self._told if start in inside)]
            lines += [f"  {shown(label)}: hears and publishes nothing that is known" for label in alone]
        if len(lines) > LINES:
            lines = [*lines[:LINES], f"... and {len(lines) - LINES:,} more"]
        return "\n".join([*lines, *(f"! {text}" for text in self.findings)]) or "Nothing flows yet."

    @cached_property
    def _told(self) -> list[tuple[str, str]]:
        """The flows in words, each with the node that it starts at."""
        graph = self._graph
        return [(e.source, told(graph, e, graph.per_minute(e.flow))) for e in graph.edges.values()]

    def __repr__(self) -> str:
        workers = sum(node.category == "worker" for node in self._graph.nodes.values())
        kinds = sum(node.category == "kind" for node in self._graph.nodes.values())
        return f"<FlowMap of {workers:,} workers and {kinds:,} kinds>"

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, str]:
        return {"image/svg+xml": self.svg, "text/plain": str(self)}
