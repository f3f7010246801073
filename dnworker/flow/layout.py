"""`Layout`: where boxes, ribbons and bands of a map are drawn, in px; the panel and `svg` draw it as it is.

It depends on the graph alone, never on rates, and on an earlier layout: what stays, stays there.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

from dnworker.flow.boxes import LAST, Cell, place, size_of
from dnworker.flow.cycles import backwards
from dnworker.flow.graph import Graph

Key = tuple[str, str]
"""The two ends of an edge."""

WIDTH = 1196
"""Px of a map, whatever it shows."""

_MARGIN, _BAND_GAP, _BAND_TOP, _BAND_BOTTOM = 8, 12, 28, 16
_TRACK = 20
"""Px of a channel below a pass, in which one ribbon runs past the boxes."""

_PASS_GAP = 14
LOOP = 260
"""Px up to which a way back is one bow; a longer one is bent in the gutters."""


@dataclass(frozen=True)
class Box:
    """One box."""

    x: float
    y: float
    width: float
    height: float

    @property
    def middle(self) -> float:
        """Where ribbons end."""
        return self.y + self.height / 2

    @property
    def right(self) -> float:
        """Its right edge."""
        return self.x + self.width


@dataclass(frozen=True)
class Route:
    """The way of one ribbon: an SVG path, where its label stands, and where it arrives, from which side."""

    path: str
    label: tuple[float, float]
    end: tuple[float, float]
    leftwards: bool = False
    """Whether it arrives from the right."""
    is_straight: bool = False
    in_channel: bool = False


@dataclass(frozen=True)
class Band:
    """The field of a capability."""

    name: str
    y: float
    height: float


@dataclass
class Layout:
    """All of it; `cells` and `back` are for the next layout."""

    width: float = WIDTH
    height: float = 0.0
    boxes: dict[str, Box] = field(default_factory=dict)
    routes: dict[tuple[str, str], Route] = field(default_factory=dict)
    bands: list[Band] = field(default_factory=list)
    cells: dict[str, Cell] = field(default_factory=dict)
    back: set[tuple[str, str]] = field(default_factory=set)


def lay_out(graph: Graph, before: Layout | None = None, back: Collection[Key] = ()) -> Layout:
    """Place a graph.

    Args:
        graph: what is drawn.
        before: the layout of an earlier state of it: nodes that were there keep their place in their band.
        back: edges that lead back in cycles; others may, too.
    """
    back = backwards(graph, {*back, *(before.back if before else ())})
    cells = place(graph, back, before.cells if before else None)
    layout = Layout(cells=cells, back=set(back))
    router = _Router(graph, cells, back)
    _stack(graph, layout, router.tracks)
    layout.routes = {key: router.route(key, layout) for key in graph.edges}
    return layout


def _stack(graph: Graph, layout: Layout, tracks: Mapping[tuple[str, int], int]) -> None:
    """Put the bands and their passes below each other, with room for the channels."""
    y = float(_MARGIN + 8)
    for band in graph.bands:
        names = [node.id for node in graph.nodes.values() if node.band == band]
        top, at = y, y + (_BAND_TOP if band else -_MARGIN)
        for run in sorted({layout.cells[name].run for name in names}):
            bottom = at
            for name in names:
                cell = layout.cells[name]
                if cell.run != run:
                    continue
                size = size_of(graph, graph.nodes[name], cell.column)
                box = Box(
                    graph.grid[cell.column][0], at + cell.middle - size.height / 2, size.width, size.height
                )
                layout.boxes[name] = box
                bottom = max(bottom, box.y + box.height + size.below)
            at = bottom + _PASS_GAP + tracks.get((band, run), 0) * _TRACK
        y = at - _PASS_GAP + _BAND_BOTTOM
        layout.bands.append(Band(band, top, y - top))
        y += _BAND_GAP
    layout.height = max(y - _BAND_GAP + _MARGIN + 8, 60.0)


class _Router:
    """Finds the way of each edge: straight through gutters, else in a channel below a pass."""

    def __init__(self, graph: Graph, cells: Mapping[str, Cell], back: set[tuple[str, str]]) -> None:
        self._graph, self._cells, self._back = graph, cells, back
        self._columns: dict[tuple[str, int, int], list[str]] = {}
        for node in graph.nodes.values():
            cell = cells[node.id]
            self._columns.setdefault((node.band, cell.run, cell.column), []).append(node.id)
        self._rank = {band: number for number, band in enumerate(graph.bands)}
        self._track: dict[tuple[str, str], tuple[tuple[str, int], int]] = {}
        self.tracks: dict[tuple[str, int], int] = {}
        """How many channels there are below each pass of a band."""
        self._assign()
        self._gutters: dict[float, int] = {}

    def _assign(self) -> None:
        taken: dict[tuple[str, int], list[list[tuple[float, float]]]] = {}
        for key in self._graph.edges:
            if self._kind_of_way(key) != "channel":
                continue
            zone = min((self._place(end) for end in key), key=lambda one: (self._rank[one[0]], one[1]))
            low, high = sorted((self._exit(key[0]), self._entry(key[1])))
            lanes = taken.setdefault(zone, [])
            free = (
                n
                for n, lane in enumerate(lanes)
                if all(high + 24 < one or low - 24 > other for one, other in lane)
            )
            number = next(free, len(lanes))
            if number == len(lanes):
                lanes.append([])
            lanes[number].append((low, high))
            self._track[key] = zone, number
            self.tracks[zone] = len(lanes)

    def _place(self, name: str) -> tuple[str, int]:
        return self._graph.nodes[name].band, self._cells[name].run

    def _is_leftwards(self, name: str) -> bool:
        return self._cells[name].run % 2 == 1

    def _exit(self, name: str) -> float:
        left, width = self._graph.grid[self._cells[name].column]
        return left if self._is_leftwards(name) else left + width

    def _entry(self, name: str) -> float:
        left, width = self._graph.grid[self._cells[name].column]
        return left + width if self._is_leftwards(name) else left

    def _kind_of_way(self, key: tuple[str, str]) -> str:
        source, target = (self._cells[name] for name in key)
        same = self._place(key[0]) == self._place(key[1])
        step = -1 if source.run % 2 else 1
        if same and key not in self._back and (target.column - source.column) * step > 0:
            if target.column - source.column == step:
                return "gutter"
            return "through" if self._free_row(key) is not None else "channel"
        if not same and source.run % 2 == target.run % 2 and target.column - source.column == step:
            return "gutter"
        if source.column == LAST and target.column == LAST - 1 and target.run % 2 and not source.run % 2:
            return "turn"
        return "channel"

    def _free_row(self, key: tuple[str, str]) -> float | None:
        """Return the row, in px of the pass, in which an edge passes the boxes of the columns between."""
        source, target = (self._cells[name] for name in key)
        band, run = self._place(key[0])
        low, high = sorted((source.column, target.column))
        for row in (source.middle, target.middle):
            boxes = [n for c in range(low + 1, high) for n in self._columns.get((band, run, c), ())]
            if all(abs(self._cells[name].middle - row) > 40 for name in boxes):
                return row
        return None

    # -- paths -----------------------------------------------------------------------------------------

    def route(self, key: tuple[str, str], layout: Layout) -> Route:
        """Return the way of an edge between boxes that are placed."""
        one, other = layout.boxes[key[0]], layout.boxes[key[1]]
        start = (self._exit(key[0]), one.middle)
        end = (self._entry(key[1]), other.middle)
        match self._kind_of_way(key):
            case "gutter" if self._place(key[0]) == self._place(key[1]):
                middle = (start[0] + end[0]) / 2
                path = f"M{_xy(start)}C{_xy((middle, start[1]), (middle, end[1]), end)}"
                label = (middle, (start[1] + end[1]) / 2)
                straight = abs(start[1] - end[1]) < 4
                return Route(path, label, end, self._is_leftwards(key[1]), straight)
            case "gutter":
                x = self._gutter((start[0] + end[0]) / 2)
                return self._bent([start, (x, start[1]), (x, end[1]), end], key, (x, (start[1] + end[1]) / 2))
            case "through":
                return self._through(key, start, end, one.middle - self._cells[key[0]].middle)
            case "turn":
                return self._turn(key, one, end, layout)
            case _:
                return self._by_channel(key, start, end, layout)

    def _gutter(self, x: float) -> float:
        """Return where in a gutter the next vertical piece runs."""
        number = self._gutters[x] = self._gutters.get(x, -1) + 1
        return x + (0, 5, -5, 10, -10)[number % 5]

    def _through(
        self, key: tuple[str, str], start: tuple[float, float], end: tuple[float, float], top: float
    ) -> Route:
        row = (self._free_row(key) or 0.0) + top
        step = -1 if self._is_leftwards(key[0]) else 1
        first, last = (start[0] + 46 * step, row), (end[0] - 46 * step, row)
        path = (
            f"M{_xy(start)}C{_xy((start[0] + 23 * step, start[1]), (start[0] + 23 * step, row), first)}"
            f"L{_xy(last)}C{_xy((end[0] - 23 * step, row), (end[0] - 23 * step, end[1]), end)}"
        )
        return Route(path, ((first[0] + last[0]) / 2, row), end, self._is_leftwards(key[1]))

    def _turn(self, key: tuple[str, str], one: Box, end: tuple[float, float], layout: Layout) -> Route:
        """Return the way from the last column into the pass that runs back, out of the top or bottom."""
        x, up = one.x + one.width / 2, end[1] < one.y
        low, high = sorted((one.middle, end[1]))
        between = (
            box
            for name, box in layout.boxes.items()
            if name not in key and self._cells[name].column == LAST and low - 20 < box.middle < high + 20
        )
        if any(between):
            x = self._gutter(one.right + 9)
            return self._bent(
                [(one.right, one.middle), (x, one.middle), (x, end[1]), end], key, (x - 60, end[1])
            )
        start = (x, one.y if up else one.y + one.height)
        bend = (x, start[1] + (end[1] - start[1]) * 0.7)
        path = f"M{_xy(start)}C{_xy(bend, (x - 31, end[1]), end)}"
        return Route(path, ((x + end[0]) / 2 - 4, end[1] + (start[1] - end[1]) * 0.06), end, leftwards=True)

    def _by_channel(
        self, key: tuple[str, str], start: tuple[float, float], end: tuple[float, float], layout: Layout
    ) -> Route:
        zone, number = self._track[key]
        bottom = max(
            layout.boxes[name].y
            + layout.boxes[name].height
            + size_of(self._graph, node, self._cells[name].column).below
            for name, node in self._graph.nodes.items()
            if self._place(name) == zone
        )
        row = bottom + 4 + _TRACK * (number + 0.5)
        out = -1 if self._is_leftwards(key[0]) else 1
        inwards = 1 if self._is_leftwards(key[1]) else -1
        label = ((start[0] + end[0]) / 2, row)
        if max(abs(row - start[1]), abs(row - end[1])) < LOOP and abs(start[0] - end[0]) > 90:
            loop = -out if (end[0] - start[0]) * out < 0 else out
            first, last = (start[0] + 20 * loop, row), (end[0] - 20 * loop, row)
            if loop == out:
                first = (start[0] + 46 * out, row)
                last = (end[0] + 46 * inwards, row)
            path = (
                f"M{_xy(start)}C{_xy((start[0] + 46 * out, start[1]), (start[0] + 46 * out, row), first)}"
                f"L{_xy(last)}C{_xy((end[0] + 46 * inwards, row), (end[0] + 46 * inwards, end[1]), end)}"
            )
            return Route(path, label, end, self._is_leftwards(key[1]), in_channel=True)
        x1, x2 = self._gutter(start[0] + 20 * out), self._gutter(end[0] + 20 * inwards)
        if self._cells[key[0]].column == LAST and out > 0:
            x1 = start[0] + 9
        points = [start, (x1, start[1]), (x1, row), (x2, row), (x2, end[1]), end]
        return self._bent(points, key, label, in_channel=True)

    def _bent(
        self,
        points: list[tuple[float, float]],
        key: tuple[str, str],
        label: tuple[float, float],
        *,
        in_channel: bool = False,
    ) -> Route:
        return Route(_rounded(points), label, points[-1], self._is_leftwards(key[1]), in_channel=in_channel)


def _rounded(points: list[tuple[float, float]], radius: float = 10.0) -> str:
    """Return a path along points, its corners round."""
    path = f"M{_xy(points[0])}"
    for before, here, after in zip(points, points[1:], points[2:], strict=False):
        path += f"L{_xy(_towards(here, before, radius))}Q{_xy(here, _towards(here, after, radius))}"
    return f"{path}L{_xy(points[-1])}"


def _towards(start: tuple[float, float], end: tuple[float, float], far: float) -> tuple[float, float]:
    length = max(abs(end[0] - start[0]), abs(end[1] - start[1]))
    share = min(far, length / 2) / length if length else 0.0
    return start[0] + (end[0] - start[0]) * share, start[1] + (end[1] - start[1]) * share


def _xy(*points: tuple[float, float]) -> str:
    return " ".join(f"{_number(x)} {_number(y)}" for x, y in points)


def _number(value: float) -> str:
    return f"{value:.1f}".removesuffix(".0")
