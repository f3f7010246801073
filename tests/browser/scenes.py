"""The data of the screens that are compared with their pictures: one day of an invented shop, 14:32:08."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

from dnworker.flow.busiest import busiest
from dnworker.flow.graph import Facts, Flow, WorkerFacts
from dnworker.flow.maps import make

from .scene import NOW_MS

DATA = Path(__file__).parents[1] / "data" / "scenes"
Scene = dict[str, Any]

PER_S, DROPS, TURNS, PRICES, PAID = 1890, 24, 90, 33, 1800
"""Counts of a quarter of an hour: of what comes 2.1 times a second, and of the others."""


def read(name: str) -> dict[str, Any]:
    """Return one file of data."""
    return json.loads((DATA / f"{name}.json").read_text(encoding="utf-8"))


def scene(failing: int = 3, *, hosted: bool = False, logged: bool = True, **looks: Any) -> Scene:
    """Return a scene with what every view shows; in a notebook nobody names the runtime."""
    log = read("log") if logged else {"logbar": {"count": 0, "dropped": 0, "last": None}}
    parts = {
        "runtime": {"id": "r", "url": None, "events": 4818, "name": None if hosted else "acme-ops"},
        "attention": {"prompts": 0, "failing": failing},
        "workers": {"order": [], "changed": []},
        "clock": {"virtual": False, "now": None},
        "paused": None,
        **log,
    }
    return {"parts": parts, "looks": looks, "answers": {"lines": {"window": "w", "lines": []}}}


def worker(
    name: str,
    hears: dict[str, Flow] | None = None,
    publishes: dict[str, int] | None = None,
    p95: float | None = None,
    **more: Any,
) -> WorkerFacts:
    """Return what is known of one worker; `p95` is in milliseconds."""
    return WorkerFacts(
        name,
        more.pop("capability", name.partition(":")[0]),
        state=more.pop("state", "running"),
        hears=hears or {},
        published=publishes or {},
        p95=None if p95 is None else p95 / 1000,
        handlers=1,
        **more,
    )


def facts() -> Facts:
    """Return what flows where on the map."""
    often, rows = Flow(PER_S), Flow(52, 41)
    paid = {"orders.paid": PAID, "orders.retry": TURNS}
    workers = [
        worker(
            "orders:intake",
            {"orders.placed": Flow(1800), "orders.retry": Flow(TURNS)},
            {"orders.taken": PER_S},
            3.1,
        ),
        worker("orders:fraud", {"orders.placed": often}, None, 12.4),
        worker("orders:audit", {"orders.placed": often}, None, 8.4),
        worker("orders:payment", {"orders.taken": Flow(1904, 6)}, paid, 480),
        worker("orders:shipping", {"orders.taken": often}, None, 45),
        worker("orders:invoices", {"orders.paid": Flow(PAID)}, None, 22.8),
        worker("orders:pricing", {"price_changed": Flow(PRICES)}, None, 45),
        worker("csvdrop:watcher", {"csvdrop.dropped": Flow(DROPS)}, {"csvdrop.opened": DROPS}, 3.2),
        worker("csvdrop:parser", {"csvdrop.opened": Flow(DROPS)}, {"csvdrop.rows": 150}, 54.2),
        worker("csvdrop:importer", {"csvdrop.rows": rows}, {"price_changed": PRICES}, 38.2),
        worker(
            "gateway:relay",
            {"ws.message": Flow()},
            {"ws.relayed": 0},
            state="error",
            error="Exited, code 1",
            waiting={"ws.message": 14},
        ),
        worker("gateway:ws", {"ws.relayed": Flow(465)}, None, 2.2),
        worker("frontdesk:triage", {"turn.completed": Flow(TURNS)}, {"desk.callback": TURNS}, 210),
        worker("frontdesk:reply", {"desk.callback": Flow(TURNS)}, {"desk.said": TURNS}, 3200),
        worker("notebook:bridge", {"turn.completed": Flow(TURNS)}, {"demo.answered": TURNS}, 0.3),
        worker("nightly:report", {"nightly.due": Flow()}, state="gated_off", gate=("mail",)),
        worker("nightly:sweep", {"nightly.due": Flow(3)}, None, 96),
        worker(
            "orders:mailer",
            {"nightly.digest": Flow()},
            state="gated_off",
            gate=("mail",),
            capability="nightly",
        ),
    ]
    sources = {
        "HTTP": {"orders.placed": PER_S},
        "Files": {"csvdrop.dropped": DROPS},
        "WebSocket": {"ws.message": 0},
        "Sessions": {"turn.completed": TURNS},
        "Schedules": {"nightly.due": 30},
    }
    return Facts(workers, sources, 15)


def few_facts() -> Facts:
    """Return what flows where on the overview."""
    often, rows = Flow(PER_S), Flow(52, 41)
    workers = [
        worker("orders:intake", {"orders.placed": often}, {"orders.taken": PER_S}),
        worker("orders:fraud", {"orders.placed": often}),
        worker("orders:audit", {"orders.placed": Flow(PER_S - 1)}),
        worker("orders:payment", {"orders.taken": Flow(1904, 6)}, {"orders.paid": PAID}),
        worker("orders:shipping", {"orders.taken": often}),
        worker("orders:invoices", {"orders.paid": Flow(PAID)}),
        worker("csvdrop:importer", {"csvdrop.rows": rows}, {"price_changed": PRICES}),
        worker("orders:pricing", {"price_changed": Flow(PRICES)}, {"repriced": PRICES}),
        worker("orders:search", {"repriced": Flow(PRICES)}),
        worker("frontdesk:triage", {"turn.completed": Flow(TURNS)}, {"desk.callback": TURNS}),
        worker("frontdesk:reply", {"desk.callback": Flow(TURNS)}, {"desk.said": TURNS}),
        worker("nightly:report", {"nightly.due": Flow()}, state="gated_off", gate=("mail",)),
    ]
    sources = {
        "HTTP": {"orders.placed": PER_S + 15},
        "Files": {"csvdrop.rows": 150},
        "Sessions": {"turn.completed": TURNS},
        "Schedules": {"nightly.due": 30},
    }
    return Facts(workers, sources, 15)


def overview(*, hosted: bool = False, flows: int = 4) -> Scene:
    """Return the overview; `flows` is how many it has room for."""
    few = {"window": "live", "minutes": 15, **busiest(few_facts(), flows)}
    return scene(hosted=hosted, overview=read("overview"), **{"map#busiest": few})


def runs(*, hosted: bool = False) -> Scene:
    """Return the list of runs with the newest of them."""
    found = scene(hosted=hosted, **read("runs"))
    log = found["parts"]["log"]
    found["answers"]["lines"] = {"window": log["window"], "lines": log["lines"]}
    return found


def workers() -> Scene:
    """Return fifty workers, with all of one."""
    data = read("workers")
    found = scene(worker=data["worker"], life=data["life"], code=data["code"], state=data["before"])
    found["parts"]["workers"] = data["workers"]
    return found | {"later": {"state": data["state"]}}


def flow_map() -> Scene:
    """Return the whole map, drawn by the layout as it is."""
    calls = [14, 14, 12, 10, 14, 14, 15, 12, 16, 17, 12, 14, 15, 12, 17, 13, 14, 14, 12, 15]
    series = [[n, 0] for n in calls * 2] + [[n, n] for n in calls]
    selected = {"id": "worker/csvdrop:importer", "seconds": 15, "series": series}
    drawing = make(facts()) | {
        "window": "live",
        "minutes": 15,
        "capabilities": ["orders", "csvdrop", "gateway", "frontdesk", "notebook", "nightly"],
        "hidden": ["metrics", "sync"],
        "selected": selected,
    }
    return scene(map=drawing)


# -- states ----------------------------------------------------------------------------------------------


def _overview_with(**fields: Any) -> dict[str, Any]:
    found = copy.deepcopy(read("overview"))
    found["series"] |= fields.pop("series", {})
    return found | {"marks": [], "changed": [], "span": None} | fields


def _well() -> dict[str, Any]:
    due = read("overview")["due"]["rows"]
    kept = [
        due[0],
        due[1] | {"worker": "sync:crm", "name": "pull", "every": 60, "key": ["every", "60s", "pull"]},
        due[2],
    ]
    return _overview_with(
        failures={"rows": [], "all": 0, "handlers": 0},
        failed=0,
        workers={"running": 46, "gated_off": 2},
        due={"rows": kept, "all": 3},
        series={"failed": [0] * 60},
    )


def _one() -> dict[str, Any]:
    calls, failed = [0] * 60, [0] * 60
    took: list[float | None] = [None] * 60
    for bucket, ms in ((41, 18.0), (48, 20.0), (59, 22.4)):
        calls[bucket], took[bucket] = 1, ms
    failed[59] = 1
    row = read("overview")["failures"]["rows"][1] | {
        "id": 9,
        "worker": "shop:till",
        "handler": "on_sale",
        "handlers": [{"worker": "shop:till", "handler": "on_sale", "failed": 1}],
        "error": "TypeError: unsupported operand type(s) for *: int and NoneType",
        "failed": 1,
        "calls": 3,
        "spark": [0] * 19 + [1],
        "first": NOW_MS - 4000,
        "last": NOW_MS - 4000,
        "location": "cell [3], line 5",
        "line": 5,
        "source": 'total = event.payload["price"] * event.payload["count"]',
    }
    series = {
        "calls": calls,
        "failed": failed,
        "p50": took,
        "p95": took,
        "recent": {"p50": 20.0, "p95": 22.4},
    }
    return _overview_with(
        handlers=4,
        workers={"running": 2},
        calls=3,
        failed=1,
        failures={"rows": [row], "all": 1, "handlers": 1},
        due={"rows": [], "all": 0},
        series=series,
    )


def _storm() -> dict[str, Any]:
    rows = read("overview")["failures"]["rows"]
    handlers = [{"worker": f"shop:w{n}", "handler": "work", "failed": 11} for n in range(20)]
    cause = rows[1] | {
        "id": 9,
        "worker": "shop:w1",
        "handler": "work",
        "handlers": handlers,
        "count": 29,
        "error": "ConnectionError: redis:6379 refused",
        "failed": 331,
        "calls": 512,
        "spark": [0] * 17 + [9, 60, 80],
        "first": NOW_MS - 28_000,
        "last": NOW_MS - 500,
    }
    calls = read("overview")["series"]["calls"]
    failed = [0] * 55 + [
        round(n * share) for n, share in zip(calls[55:], (0.2, 0.5, 0.7, 0.75, 0.72), strict=True)
    ]
    return _overview_with(
        failures={"rows": [cause, *rows[:2]], "all": 3, "handlers": 31},
        series={"failed": failed},
    )


def _state(failing: int, overview: dict[str, Any], flows: Facts, **more: Any) -> Scene:
    found = scene(failing, hosted=True, logged=more.pop("logged", True), overview=overview)
    found["looks"]["map#busiest"] = {"window": "live", "minutes": 15, **busiest(flows, 2)}
    return found | more


def _ends(overview: dict[str, Any], end: int) -> dict[str, Any]:
    """Return an overview of which the newest bucket ends then."""
    overview["series"]["end"] = end
    return overview


def states() -> dict[str, Scene]:
    """Return six small panels by their titles."""
    none = {"rows": [], "all": 0}
    nobody = _overview_with(workers={}, handlers=0, failures=none | {"handlers": 0}, due=none)
    till = Facts([worker("shop:till", {"shop.sale": Flow(3, 1)})], {"HTTP": {"shop.sale": 3}}, 15)
    fired = {"replay": {"event": "e5", "seq": 5, "kind": "shop.sale"}}
    return {
        "Empty": _state(0, nobody, Facts(), logged=False, kernel="idle"),
        "All well": _state(0, _well(), few_facts(), logged=False),
        "One failure": _state(1, _one(), till, logged=False, answers=fired),
        "Storm": _state(31, _storm(), few_facts()),
        "Busy": _state(0, _ends(_well(), NOW_MS - 9_000), few_facts(), kernel="busy"),
        "Gone": _state(0, _ends(_well(), NOW_MS - 9_000), few_facts()),
    }
