"""The flow map as `view` sends it: boxes, ribbons and findings; they stay in place between updates."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, Literal, NamedTuple
from weakref import WeakKeyDictionary

import msgspec

from dnworker.core.text import valid_text
from dnworker.engine.flow import LIVE, RECENT
from dnworker.events.flow_counts import QUARTER
from dnworker.flow.busiest import busiest
from dnworker.flow.graph import Facts
from dnworker.flow.maps import Place, graph_of, make
from dnworker.flow.mermaid import mermaid
from dnworker.flow.svg import svg

if TYPE_CHECKING:
    from dnworker.panel.model import PanelModel
    from dnworker.panel.pace import Pace

INTERVAL = 2.0
"""Seconds between two looks at a map."""

PLACES_KEPT = 20
"""Ways to look at a map, by what is hidden and unfolded, whose places are remembered."""

HIDDEN_KEPT, LONGEST_HIDDEN = 200, 300
MOST_BUSIEST = 50

COST_FACTOR, SHORT = 10, 0.05
"""A map that took longer than so many seconds of work is made again after ten times that."""


class Kept(NamedTuple):
    """A map as it was made last, and until when it is sent again, in seconds."""

    until: float
    value: dict[str, Any]


_kept: WeakKeyDictionary[PanelModel, OrderedDict[bytes, Kept]] = WeakKeyDictionary()
_places: WeakKeyDictionary[PanelModel, OrderedDict[object, Place]] = WeakKeyDictionary()


class Wanted(msgspec.Struct):
    """What a view wants to see; unknown fields are ignored.

    `window` is `live`, `15m` or `code`. `hide` has capabilities, workers and kinds to leave out; `open` and
    `fold` the capabilities that are unfolded and folded; `node` is the one of which the last 15 minutes are
    shown. `busiest` is how many flows are wanted instead of a map.
    """

    window: str = "live"
    hide: list[str] = []
    open: list[str] = []
    fold: list[str] = []
    node: str | None = None
    busiest: int = 0


async def read(model: PanelModel, wanted: dict[str, Any], pace: Pace) -> dict[str, Any]:
    """Return the map, or the busiest flows."""
    asked = _read(wanted)
    kept = _kept.setdefault(model, OrderedDict())
    key = msgspec.json.encode(asked)
    if key in kept and time.monotonic() < kept[key].until:
        return kept[key].value
    value, took = await _made(model, asked, pace)
    kept[key] = Kept(time.monotonic() + (took * COST_FACTOR if took > SHORT else 0.0), value)
    kept.move_to_end(key)
    if len(kept) > PLACES_KEPT:
        kept.popitem(last=False)
    return value


async def _made(model: PanelModel, asked: Wanted, pace: Pace) -> tuple[dict[str, Any], float]:
    """Return what is wanted, and the seconds of work that drawing it has taken."""
    facts, side = await _facts(model, asked), model.engine.side_threads
    capabilities = list(dict.fromkeys(worker.capability for worker in facts.workers))
    shown = without(facts, set(asked.hide[:HIDDEN_KEPT]))
    await pace.rest()
    if asked.busiest:
        most = max(1, min(asked.busiest, MOST_BUSIEST))
        place = _place(model, (frozenset(asked.hide), most))
        flows, took = await side.run(_timed, place, busiest, shown, most, place)
        return {"window": asked.window, "minutes": round(facts.minutes, 2), **flows}, took
    opened, closed = frozenset(asked.open[:HIDDEN_KEPT]), frozenset(asked.fold[:HIDDEN_KEPT])
    place = _place(model, (frozenset(asked.hide), opened, closed))
    # On a thread: of a thousand workers it takes some tenths of a second, for which the loop must not wait.
    drawing, took = await side.run(_timed, place, make, shown, place, opened, closed)
    more = {
        "window": asked.window,
        "minutes": round(facts.minutes, 2),
        "capabilities": [valid_text(name)[:LONGEST_HIDDEN] for name in capabilities[:HIDDEN_KEPT]],
        "hidden": asked.hide[:HIDDEN_KEPT],
        "selected": _selected(model, asked.node, drawing),
    }
    return drawing | more, took


async def text(model: PanelModel, wanted: dict[str, Any], form: Literal["mermaid", "svg"], pace: Pace) -> str:
    """Return what is wanted of the map as Mermaid, all of it, or as SVG, folded and placed as it is shown."""
    asked = _read(wanted)
    facts, side = await _facts(model, asked), model.engine.side_threads
    shown = without(facts, set(asked.hide[:HIDDEN_KEPT]))
    await pace.rest()
    if form == "mermaid":
        return await side.run(lambda: mermaid(graph_of(shown), with_rates=shown.minutes > 0))
    opened, closed = frozenset(asked.open[:HIDDEN_KEPT]), frozenset(asked.fold[:HIDDEN_KEPT])
    place = _place(model, (frozenset(asked.hide), opened, closed))
    return await side.run(lambda: svg(_alone(place, make, shown, place, opened, closed)))


async def _facts(model: PanelModel, asked: Wanted) -> Facts:
    return await model.engine.flow.facts({"15m": RECENT, "code": 0.0}.get(asked.window, LIVE))


def _read(wanted: dict[str, Any]) -> Wanted:
    try:
        return msgspec.convert(wanted, Wanted)
    except msgspec.ValidationError:
        return Wanted()


def _alone(place: Place, draw: Callable[..., dict[str, Any]], *args: Any) -> dict[str, Any]:
    """Draw while nobody else does in this place: several views may look at the same map."""
    with place.lock:
        return draw(*args)


def _timed(place: Place, draw: Callable[..., dict[str, Any]], *args: Any) -> tuple[dict[str, Any], float]:
    """Draw alone; returns also the seconds that this thread has worked for it."""
    with place.lock:
        began = time.thread_time()
        return draw(*args), time.thread_time() - began


def _place(model: PanelModel, key: object) -> Place:
    places = _places.setdefault(model, OrderedDict())
    place = places.setdefault(key, Place())
    places.move_to_end(key)
    if len(places) > PLACES_KEPT:
        places.popitem(last=False)
    return place


def without(facts: Facts, hidden: Iterable[str]) -> Facts:
    """Return facts without the capabilities, workers and kinds of these names."""
    left_out = set(hidden)
    if not left_out:
        return facts
    workers = [
        msgspec.structs.replace(
            worker,
            hears={kind: flow for kind, flow in worker.hears.items() if kind not in left_out},
            published={kind: count for kind, count in worker.published.items() if kind not in left_out},
            writes=worker.writes - left_out,
        )
        for worker in facts.workers
        if worker.capability not in left_out and worker.name not in left_out
    ]
    gone = {kind for worker in facts.workers if worker.capability in left_out for kind in worker.hears}
    gone -= {kind for worker in workers for kind in (*worker.hears, *worker.published)}
    sources = {
        name: {kind: count for kind, count in kinds.items() if kind not in left_out and kind not in gone}
        for name, kinds in facts.sources.items()
    }
    return Facts(workers, sources, facts.minutes)


def _selected(model: PanelModel, node: str | None, drawing: dict[str, Any]) -> dict[str, Any] | None:
    """Return the last 15 minutes of a worker or kind, in quarters of a minute."""
    if node is None or all(one["id"] != node for one in drawing["nodes"]):
        return None
    category, _, name = node.partition("/")
    flow = model.engine.flow
    match category:
        case "worker":
            series = flow.series(worker=name)
        case "kind":
            series = flow.series(kind=name)
        case _:
            return {"id": node, "series": None}
    return {"id": node, "seconds": QUARTER, "series": [list(pair) for pair in series]}
