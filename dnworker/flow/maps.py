"""`make`: a drawing of facts, folded where there is much, in the places of an earlier one; all maps are."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from typing import Any

import msgspec

from dnworker.flow.around import around
from dnworker.flow.cycles import backwards, find_cycles
from dnworker.flow.drawing import draw
from dnworker.flow.findings import findings
from dnworker.flow.folding import fold
from dnworker.flow.graph import Facts, Graph, build
from dnworker.flow.layout import Layout, lay_out


@dataclass
class Place:
    """Where things were drawn last, so that they stay there."""

    layout: Layout | None = None
    back: set[tuple[str, str]] = field(default_factory=set)
    drawn: int = 0
    """How many boxes there were when all of it was placed anew."""
    lock: threading.Lock = field(default_factory=threading.Lock, repr=False, compare=False)
    """For who draws on threads: two must not place the same map."""


STALE = 0.6
"""Share of the boxes that were placed together below which all of it is placed anew."""


def graph_of(facts: Facts, only: str | None = None) -> Graph:
    """Return the whole graph, or the part around one worker, its cycles found."""
    graph = build(facts)
    find_cycles(graph, backwards(graph, ()))
    return graph if only is None else around(graph, only)


def make(
    facts: Facts,
    place: Place | None = None,
    opened: frozenset[str] = frozenset(),
    closed: frozenset[str] = frozenset(),
    only: str | None = None,
) -> dict[str, Any]:
    """Return the drawing of facts as JSON.

    Args:
        facts: what is known.
        place: where it was drawn before; it is brought up to date.
        opened, closed: the capabilities that a reader has unfolded, and folded.
        only: the worker around which it is drawn; None for all of it.
    """
    place = place or Place()
    graph = build(facts)
    place.back = backwards(graph, place.back)
    find_cycles(graph, place.back)
    if only is not None:
        graph = around(graph, only)
    folded = fold(graph, opened, closed)
    before = place.layout
    if before is not None:
        kept = len(before.cells.keys() & folded.graph.nodes.keys())
        if kept < STALE * max(place.drawn, len(folded.graph.nodes)):
            before = None
    if before is None:
        place.drawn = len(folded.graph.nodes)
    place.layout = lay_out(folded.graph, before, folded.graph.edges.keys() & place.back)
    drawing = draw(folded.graph, place.layout)
    found = findings(graph)
    for one in found:
        one.nodes = list(dict.fromkeys(folded.inside[name] for name in one.nodes))
        edges = {(folded.inside[source], folded.inside[target]): None for source, target in one.edges}
        one.edges = [key for key in edges if key in folded.graph.edges]
    drawing["findings"] = msgspec.to_builtins(found)
    return drawing | {"folded": folded.folded, "whole": len(graph.nodes)}
