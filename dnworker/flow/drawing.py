"""`draw`: what a map shows, as data: boxes with texts, ribbons with widths; panel and `svg` draw it."""

from __future__ import annotations

from math import sqrt
from typing import Any

from dnworker.flow.graph import Edge, Graph, Node, short
from dnworker.flow.layout import Box, Layout, Route
from dnworker.flow.words import (
    DETAIL_ROOM,
    KIND_ROOM,
    NAME_ROOM,
    bare_rate,
    columns,
    counted,
    duration,
    fit,
    rate,
    share,
    shown,
)

WIDEST = 14.0
"""Px of a ribbon."""

LONGEST_NAME = 200


def width_of(per_minute: float) -> float:
    """Return the width of a ribbon in px."""
    return round(min(WIDEST, 1.25 + 0.75 * sqrt(per_minute)), 1)


def draw(graph: Graph, layout: Layout) -> dict[str, Any]:
    """Return the map as JSON: sizes and places in px, texts as they are shown."""
    alone = _only_listeners(graph)
    return {
        "width": layout.width,
        "height": round(layout.height, 1),
        "minutes": graph.minutes,
        "bands": [
            {"name": fit(b.name, 120), "y": round(b.y, 1), "height": round(b.height, 1)}
            for b in layout.bands
            if b.name
        ],
        "nodes": [_node(graph, node, layout.boxes[node.id]) for node in graph.nodes.values()],
        "findings": [],
        "edges": [_edge(graph, e, layout.routes[e.key], e.key in alone) for e in graph.edges.values()],
    }


def _only_listeners(graph: Graph) -> set[tuple[str, str]]:
    """Return the edges whose rate stands beside them: from sources, and the only ones of their node."""
    out_of = graph.out_of()
    return {
        edge.key
        for edge in graph.edges.values()
        if graph.nodes[edge.source].category == "source" or len(out_of[edge.source]) == 1
    }


# -- nodes -------------------------------------------------------------------------------------------------


def _node(graph: Graph, node: Node, box: Box) -> dict[str, Any]:
    detail, tone = _detail(graph, node)
    label = fit(node.label, KIND_ROOM, keep_end=True)
    if node.category != "kind":
        room = 9 if node.category == "source" else NAME_ROOM
        label = fit(node.label if columns(node.label) <= room else short(node), room)
    return {
        "id": node.id,
        "category": node.category,
        "name": shown(node.label)[:LONGEST_NAME],
        "label": label,
        "detail": fit(detail, DETAIL_ROOM),
        "told": shown(detail)[:LONGEST_NAME],
        "tone": tone,
        "state": node.state,
        "band": node.band[:LONGEST_NAME],
        "mark": node.mark,
        "caption": _caption(node),
        "rate": round(graph.per_minute(node.flow), 2),
        "count": node.flow.count,
        "failed": node.flow.failed,
        "p95": None if node.p95 is None else round(node.p95 * 1000, 3),
        "written": node.is_written,
        **{"x": box.x, "y": round(box.y, 1), "width": box.width, "height": box.height},
    }


def _detail(graph: Graph, node: Node) -> tuple[str, str]:
    """Return the second line of a box and its tone: `bad` (all red), `failing`, `gated`, `quiet` or none."""
    flow = node.flow
    if node.category == "fold":
        return (
            f"{counted(node.workers, 'worker')}, {counted(node.kinds, 'kind')}",
            "failing" if flow.failed else "",
        )
    if node.category == "source":
        return (rate(graph.per_minute(flow)) if graph.minutes else ""), ""
    if node.category == "kind":
        return (rate(graph.per_minute(flow)) if graph.minutes else ""), ""
    if node.state == "error":
        return (node.error or "In error").strip().partition("\n")[0], "bad"
    if node.gate:
        return f"Gated by {', '.join(node.gate)}", "gated"
    if flow.failed:
        text = f"{flow.failed:,} of {flow.count:,} failed"
        return text, "bad" if flow.failed * 2 >= flow.count else "failing"
    if node.state and node.state != "running":
        return node.state.replace("_", " ").capitalize(), "quiet"
    if not graph.minutes:
        return counted(node.handlers, "handler") if node.handlers else "", ""
    took = "" if node.p95 is None else f", {duration(node.p95)}"
    return (rate(graph.per_minute(flow)) + took if flow.count else f"Idle{took}"), ""


def _caption(node: Node) -> str:
    if node.category != "kind":
        return ""
    if node.waiting:
        return f"{node.waiting:,} wait"
    return {"unheard": "Nobody listens", "unpublished": "Never published"}.get(node.mark, "")


# -- edges -------------------------------------------------------------------------------------------------


def _edge(graph: Graph, edge: Edge, route: Route, is_told: bool) -> dict[str, Any]:
    per_minute = graph.per_minute(edge.flow)
    failed = edge.flow.failed / edge.flow.count if edge.flow.count else 0.0
    width, tone = width_of(per_minute), _tone(graph, edge)
    if tone in ("idle", "gated"):
        width = 1.2
    return {
        "source": edge.source,
        "target": edge.target,
        "path": route.path,
        "width": width,
        "core": round(max(1.5, width * failed), 1) if failed else 0,
        "tone": tone,
        "arrow": _arrow(route) if tone != "run" or route.leftwards or route.in_channel else "",
        "label": _label(graph, edge, route, per_minute, is_told),
        "rate": round(per_minute, 2),
        "count": edge.flow.count,
        "failed": edge.flow.failed,
        "written": edge.is_written,
        "told": told(graph, edge, per_minute),
    }


def _tone(graph: Graph, edge: Edge) -> str:
    target = graph.nodes[edge.target]
    if edge.is_gated:
        return "gated"
    if edge.cycle is not None:
        return "cycle"
    if target.category == "worker" and target.state == "error":
        return "bad"
    if graph.minutes and not edge.flow.count:
        return "idle"
    return "run"


def _arrow(route: Route) -> str:
    """Return the path of an arrow head."""
    x, y = route.end
    way = 6 if route.leftwards else -6
    return f"M{x + way:g} {y - 4:g}L{x:g} {y:g}L{x + way:g} {y + 4:g}"


def _label(graph: Graph, edge: Edge, route: Route, per_minute: float, is_told: bool) -> dict[str, Any] | None:
    text, tone = "", ""
    cycle = next((one for one in graph.cycles if one.back == edge.key), None)
    if edge.flow.failed:
        text, tone = share(edge.flow.failed, edge.flow.count), "bad"
    elif cycle is not None:
        way = [name for name in cycle.nodes if name != cycle.back[1] or graph.nodes[name].category == "kind"]
        often = f", {rate(per_minute)}" if per_minute else ""
        text = f"Cycle “{cycle.name}”: {' → '.join(short(graph.nodes[name]) for name in way)}{often}"
        text, tone = fit(text, 60), "cycle"
    elif per_minute and (route.leftwards or (is_told and route.is_straight)):
        text = (
            rate(per_minute)
            if per_minute >= 60 and edge.source.startswith("source/")
            else bare_rate(per_minute)
        )
    if not text:
        return None
    width = round(columns(text) * 5.6 + (18 if columns(text) < 12 else 24))
    return {"x": route.label[0], "y": route.label[1], "width": width, "text": text, "tone": tone}


def told(graph: Graph, edge: Edge, per_minute: float) -> str:
    """Return an edge in words, for its tooltip and for who does not see it."""
    source, target = shown(graph.nodes[edge.source].label), shown(graph.nodes[edge.target].label)
    words = [f"{source[:LONGEST_NAME]} → {target[:LONGEST_NAME]}"]
    if graph.minutes:
        words.append(rate(per_minute))
    if edge.flow.failed:
        words.append(f"{edge.flow.failed:,} of {counted(edge.flow.count, 'call')} failed")
    if edge.is_gated:
        words.append("gated")
    if edge.cycle is not None:
        words.append(f"part of cycle “{shown(edge.cycle)}”")
    return ", ".join(words)
