"""`FlowMap`: a map that does not change any more, as SVG, Mermaid, JSON and text; what `dn.map()` returns."""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import cached_property
from pathlib import PurePath
from typing import Any, Literal

from dnworker.core.errors import UsageError
from dnworker.flow.drawing import told
from dnworker.flow.graph import Facts, Graph
from dnworker.flow.maps import graph_of, make
from dnworker.flow.mermaid import mermaid
from dnworker.flow.svg import svg
from dnworker.flow.words import shown

LINES = 200
"""Flows that are listed as text."""


Form = Literal["text", "svg", "mermaid", "json"]
"""The forms that a map has as text."""

OPTIONS: tuple[Form, ...] = ("svg", "mermaid", "json")
"""The forms that an option of the same name asks for."""

SUFFIXES: dict[str, Form] = {".svg": "svg", ".mmd": "mermaid", ".mermaid": "mermaid", ".json": "json"}
"""The forms that names of files tell."""


def form_of(wanted: Sequence[Form], output: PurePath | None) -> Form:
    """Return the form that options ask for, else the one that the name of a file tells, else text.

    Raises:
        UsageError: two forms are wanted.
    """
    if len(wanted) > 1:
        raise UsageError(f"a map has one form; leave out --{wanted[0]} or --{wanted[1]}", code="DN916")
    named = SUFFIXES.get(output.suffix.lower(), "text") if output is not None else "text"
    return wanted[0] if wanted else named


class FlowMap:
    """What flows where, as it was when it was made.

    Args:
        facts: what it shows.
        title: what it is called where it is not seen.
        only: the worker that it shows, with those that publish and hear the same kinds; None for all.
    """

    def __init__(self, facts: Facts, title: str = "What flows where", *, only: str | None = None) -> None:
        self._facts = facts
        self._title = title
        self._only = only

    @cached_property
    def _graph(self) -> Graph:
        return graph_of(self._facts, self._only)

    @cached_property
    def _drawing(self) -> dict[str, Any]:
        return make(self._facts, only=self._only)

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

    def as_text(self, form: Form) -> str:
        """Return it in one of its forms, as a file has it."""
        match form:
            case "svg":
                return self.svg
            case "mermaid":
                return self.mermaid
            case "json":
                return json.dumps(self.to_json(), indent=1) + "\n"
        return f"{self}\n"

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
