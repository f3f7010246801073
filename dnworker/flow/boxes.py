"""Places the boxes of a map: columns by depth, rows by neighbours; `layout` calls it.

Column 0 holds sources, odd columns kinds, even columns workers. What is deeper than the last column goes on
below in a pass of its own that runs the other way, so that a map never gets wider than it is drawn.
"""

from __future__ import annotations

from bisect import bisect_right, insort
from collections import defaultdict, deque
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from itertools import pairwise
from statistics import fmean

from dnworker.flow.graph import Graph, Node

LAST = 6
"""The last column."""

GAP = 10
CAPTION = 16
"""Px between two boxes of a column, and of the line below a kind."""

SWEEPS = 6
NEARLY = 16.0
"""Px by which two boxes may differ that are put into one row."""


@dataclass(frozen=True)
class Cell:
    """Where a node is in its band: pass, column, and the middle of its box in px from the top of the pass."""

    run: int
    column: int
    middle: float


@dataclass(frozen=True)
class Size:
    """Width and height of a box, and what must stay free below it."""

    width: float
    height: float
    below: float = 0.0


def size_of(graph: Graph, node: Node, column: int) -> Size:
    """Return the size of a node's box in a column."""
    below = CAPTION if node.category == "kind" and (node.mark or node.waiting) else 0.0
    return Size(graph.grid[column][1], 24.0 if node.category == "kind" else 36.0, below)


def depths(graph: Graph, back: Collection[tuple[str, str]]) -> dict[str, int]:
    """Return how deep each node is: one more than what leads to it; edges of `back` do not count."""
    first = {"source": 0, "kind": 1, "worker": 2, "fold": 2}
    found = {node.id: first[node.category] for node in graph.nodes.values()}
    forward = [key for key in graph.edges if key not in back]
    out_of, missing = defaultdict(list), dict.fromkeys(graph.nodes, 0)
    for source, target in forward:
        out_of[source].append(target)
        missing[target] += 1
    ready = deque(name for name, count in missing.items() if not count)
    while ready:
        node = ready.popleft()
        for target in out_of[node]:
            found[target] = max(found[target], found[node] + 1)
            missing[target] -= 1
            if not missing[target]:
                ready.append(target)
    for box in graph.nodes.values():  # a fold stands where workers do
        if box.category != "source" and found[box.id] % 2 != first[box.category] % 2:
            found[box.id] += 1
    return found


def cell_of(depth: int) -> tuple[int, int]:
    """Return pass and column of a depth: odd passes run from right to left."""
    if depth <= LAST:
        return 0, depth
    run, place = divmod(depth - LAST - 1, LAST - 2)
    return run + 1, LAST - 1 - place if run % 2 == 0 else 3 + place


def place(
    graph: Graph, back: Collection[tuple[str, str]], before: Mapping[str, Cell] | None = None
) -> dict[str, Cell]:
    """Return where each node is in its band.

    Args:
        graph, back: what is placed, and the edges that do not count for depth.
        before: where nodes were; those that may stay there do.
    """
    found: dict[str, Cell] = {}
    deep = depths(graph, back)
    for band in graph.bands:
        names = [node.id for node in graph.nodes.values() if node.band == band]
        shift = max(
            0, (min(deep[name] for name in names if graph.nodes[name].category != "source") - 1) // 2 * 2
        )
        cells = {n: cell_of(deep[n] - shift if graph.nodes[n].category != "source" else 0) for n in names}
        for name in names:
            known = (before or {}).get(name)
            if known is not None and _fits(graph, name, known, back, before or {}):
                cells[name] = known.run, known.column
        for run in sorted({run for run, _ in cells.values()}):
            inside = {name: column for name, (one, column) in cells.items() if one == run}
            kept = {
                name: before[name].middle
                for name in inside
                if before and name in before and cells[name] == (before[name].run, before[name].column)
            }
            middles = _Rows(graph, inside, kept, back).middles()
            found |= {name: Cell(run, inside[name], middle) for name, middle in middles.items()}
    return found


def _fits(
    graph: Graph, name: str, cell: Cell, back: Collection[tuple[str, str]], before: Mapping[str, Cell]
) -> bool:
    """Return whether a node may stay where it was: behind all that lead to it, in such a column."""
    if cell.column % 2 != (graph.nodes[name].category == "kind") or (cell.column == 0) != (
        graph.nodes[name].category == "source"
    ):
        return False
    here = (cell.run, -cell.column if cell.run % 2 else cell.column)
    for source, target in graph.edges:
        if (
            target == name
            and (source, target) not in back
            and graph.nodes[source].band == graph.nodes[name].band
        ):
            other = before.get(source)
            if other is not None and (other.run, -other.column if other.run % 2 else other.column) >= here:
                return False
    return True


class _Rows:
    """The rows of one pass of a band; `kept` are middles that stay."""

    def __init__(
        self,
        graph: Graph,
        columns: Mapping[str, int],
        kept: Mapping[str, float],
        back: Collection[tuple[str, str]],
    ) -> None:
        self._kept = kept
        self._column = columns
        self._sizes = {name: size_of(graph, graph.nodes[name], column) for name, column in columns.items()}
        self._near: dict[str, list[str]] = {name: [] for name in columns}
        for source, target in graph.edges:
            if source in columns and target in columns and (source, target) not in back:
                self._near[source].append(target)
                self._near[target].append(source)
        closing = {source for source, _ in back}
        self._columns: dict[int, list[str]] = {}
        for name in sorted(columns, key=lambda name: name in closing):  # ways back begin below
            self._columns.setdefault(columns[name], []).append(name)
        self._columns = dict(sorted(self._columns.items()))
        self._middle: dict[str, float] = {}

    def middles(self) -> dict[str, float]:
        """Return the middle of each box, in px from the top of the pass."""
        if self._kept:
            self._add_to_kept()
            return self._middle
        self._columns = uncrossed(self._columns, self._near)
        for names in self._columns.values():
            self._stack(names)
        for _ in range(SWEEPS):
            for columns in (list(self._columns.values()), list(self._columns.values())[::-1]):
                for names in columns:
                    self._spread(names, {name: self._wanted(name) for name in names})
        self._straighten()
        self._pack()
        top = min(self._middle[n] - self._sizes[n].height / 2 for n in self._middle)
        return {name: float(round(middle - top)) for name, middle in self._middle.items()}

    def _straighten(self) -> None:
        """Move boxes to the row of the only one before or behind them, where there is room."""
        for step in (-1, 1):
            for column in list(self._columns)[::-step]:
                for name in self._columns[column]:
                    beside = [other for other in self._near[name] if self._column[other] == column + step]
                    if len(beside) == 1 and abs(self._middle[beside[0]] - self._middle[name]) < NEARLY:
                        self._move(name, self._middle[beside[0]])

    def _move(self, name: str, middle: float) -> None:
        names = self._columns[self._column[name]]
        at = names.index(name)
        lowest = self._middle[names[at - 1]] + self._apart(names[at - 1], name) if at else middle
        below = names[at + 1] if at + 1 < len(names) else None
        highest = middle if below is None else self._middle[below] - self._apart(name, below)
        if lowest <= middle <= highest:
            self._middle[name] = middle

    def _pack(self) -> None:
        """Move what hangs together up as far as there is room."""
        groups = connected(self._near)
        groups.sort(key=lambda group: min(self._middle[name] for name in group))
        filled: dict[int, float] = {}
        for group in groups:
            tops = {name: self._middle[name] - self._sizes[name].height / 2 for name in group}
            room = min(tops[name] - filled.get(self._column[name], 0.0) for name in group)
            for name in group:
                self._middle[name] -= room
                size, column = self._sizes[name], self._column[name]
                bottom = self._middle[name] + size.height / 2 + size.below + GAP
                filled[column] = max(filled.get(column, 0.0), bottom)

    def _stack(self, names: Iterable[str]) -> None:
        at = 0.0
        for name in names:
            size = self._sizes[name]
            self._middle[name] = at + size.height / 2
            at += size.height + size.below + GAP

    def _wanted(self, name: str) -> float:
        near = [self._middle[other] for other in self._near[name] if other in self._middle]
        return fmean(near) if near else self._middle.get(name, 0.0)

    def _apart(self, upper: str, lower: str) -> float:
        """Return how far the middles of two boxes must be apart."""
        one, other = self._sizes[upper], self._sizes[lower]
        return one.height / 2 + one.below + GAP + other.height / 2

    def _spread(self, names: list[str], wanted: Mapping[str, float]) -> None:
        """Put boxes of a column as near to where they are wanted as their order and size allow."""
        offset, offsets = 0.0, [0.0]
        for upper, lower in pairwise(names):
            offset += self._apart(upper, lower)
            offsets.append(offset)
        blocks: list[list[float]] = []  # the sum of what is wanted, less the offset, and how many
        for name, offset in zip(names, offsets, strict=True):
            blocks.append([wanted[name] - offset, 1])
            while len(blocks) > 1 and blocks[-2][0] / blocks[-2][1] > blocks[-1][0] / blocks[-1][1]:
                total, count = blocks.pop()
                blocks[-1][0] += total
                blocks[-1][1] += count
        starts = [total / count for total, count in blocks for _ in range(int(count))]
        for name, start, offset in zip(names, starts, offsets, strict=True):
            self._middle[name] = start + offset

    def _add_to_kept(self) -> None:
        """Leave boxes where they were, and put new ones into the nearest room."""
        self._middle = dict(self._kept)
        for names in self._columns.values():
            there = sorted((n for n in names if n in self._kept), key=self._kept.__getitem__)
            self._push_apart(there)
            for name in names:
                if name not in self._middle:
                    self._middle[name] = self._room(name, there, self._wanted(name))
                    there.append(name)
                    there.sort(key=self._middle.__getitem__)

    def _push_apart(self, names: list[str]) -> None:
        """Move down what has no room any more, as the one above has a line below it now."""
        for upper, lower in pairwise(names):
            self._middle[lower] = max(self._middle[lower], self._middle[upper] + self._apart(upper, lower))

    def _room(self, name: str, there: list[str], wanted: float) -> float:
        """Return the middle nearest to the wanted one where a box fits between those that are there."""
        lowest = self._sizes[name].height / 2
        tries = [max(lowest, wanted)]
        tries += [self._middle[other] + self._apart(other, name) for other in there]
        tries += [self._middle[other] - self._apart(name, other) for other in there]
        free = [
            one
            for one in tries
            if one >= lowest
            and all(
                one >= self._middle[other] + self._apart(other, name)
                or one <= self._middle[other] - self._apart(name, other)
                for other in there
            )
        ]
        nearest: float = min(free, key=lambda one: (abs(one - wanted), one))
        return float(round(nearest))


def connected(near: Mapping[str, Iterable[str]]) -> list[list[str]]:
    """Return the nodes in groups that hang together."""
    seen: set[str] = set()
    groups = []
    for start in near:
        if start in seen:
            continue
        seen.add(start)
        group, waiting = [], [start]
        while waiting:
            name = waiting.pop()
            group.append(name)
            fresh = [other for other in near[name] if other not in seen]
            seen.update(fresh)
            waiting += dict.fromkeys(fresh)
        groups.append(group)
    return groups


def uncrossed(columns: Mapping[int, list[str]], near: Mapping[str, list[str]]) -> dict[int, list[str]]:
    """Return the columns in orders in which ribbons cross less; of equal ones, the first that was found."""
    best = order = {column: [*names] for column, names in columns.items()}
    fewest = crossings(order, near)
    for number in range(2 * SWEEPS):
        step = -1 if number % 2 == 0 else 1  # by those before, then by those behind
        order = {column: [*names] for column, names in order.items()}
        for column in list(order)[::-step]:
            place = {name: at for at, name in enumerate(order.get(column + step, ()))}
            own = {name: at for at, name in enumerate(order[column])}
            scale = len(place) / max(1, len(own))

            def wanted(name: str) -> tuple[float, int]:
                beside = [place[other] for other in near[name] if other in place]  # noqa: B023
                return (fmean(beside) if beside else own[name] * scale), own[name]  # noqa: B023

            order[column].sort(key=wanted)
        count = crossings(order, near)
        if count < fewest or (number == 0 and count == fewest):
            best, fewest = order, count
    return best


def crossings(columns: Mapping[int, list[str]], near: Mapping[str, list[str]]) -> int:
    """Return how often ribbons between neighbouring columns cross."""
    total = 0
    for column, names in columns.items():
        place = {name: at for at, name in enumerate(columns.get(column + 1, ()))}
        seen: list[int] = []
        for name in names:
            ends = sorted(place[other] for other in near[name] if other in place)
            total += sum(len(seen) - bisect_right(seen, end) for end in ends)
            for end in ends:
                insort(seen, end)
    return total
