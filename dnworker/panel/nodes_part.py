"""The part `nodes` for `parts`: the nodes that share a broker, what they hold, and who took what over.

nodes: {"node": "a" or none} -> {"node": who answers, "rows": [...], "all": 3, "workers": [...],
"allWorkers": 12, "moves": [...], "allMoves": 40}; with a node, the workers and steps of that one alone.
Times are ms since 1970.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from dnworker.core.text import shorten
from dnworker.engine.node_records import members_here
from dnworker.engine.versions import SHOWN_DIGITS

if TYPE_CHECKING:
    from dnworker.engine.node_records import HeldWorker, Move, NodeRow
    from dnworker.panel.model import PanelModel
    from dnworker.panel.pace import Pace

NODES_INTERVAL = 0.5
"""Seconds between two looks: a node tells several things at once."""

CAPABILITIES_SHOWN = 20
ROWS_SHOWN, WORKERS_SHOWN, MOVES_SHOWN = 100, 200, 50

LONGEST = 100
"""Characters of a text that another node wrote."""


async def nodes_to_json(model: PanelModel, wanted: dict[str, Any], pace: Pace) -> dict[str, Any]:
    """Return the nodes as they were seen last; see the fields of the dictionary."""
    nodes, broker = model.engine.nodes, model.engine.bus.broker
    rows = nodes.rows() if nodes.is_open else []
    await pace.rest()
    only = wanted.get("node") if any(row.name == wanted.get("node") for row in rows) else None
    there = [row for row in rows if row.state != "gone"]
    shown = [row for row in there if only in (None, row.name)]
    held = sorted(
        ((one, row) for row in shown for one in row.workers), key=lambda pair: (pair[0].worker, pair[1].name)
    )
    await pace.rest()
    moves = [
        move for move in (nodes.moves() if nodes.is_open else []) if only in (None, move.node, move.before)
    ]
    failure = nodes.failure or broker.failure
    return {
        "isShared": nodes.is_open,
        "node": nodes.name if nodes.is_open else None,
        "only": only,
        "broker": broker.name,
        "failure": None if failure is None else shorten(failure, LONGEST * 3),
        "rows": [_row(row) for row in rows[:ROWS_SHOWN]],
        "all": len(rows),
        "up": sum(row.state == "up" for row in rows),
        "lost": [row.name for row in rows if row.state != "up" and not row.has_left][:ROWS_SHOWN],
        "workers": [_worker(one, row) for one, row in held[:WORKERS_SHOWN]],
        "allWorkers": sum(row.held for row in shown),
        "held": sum(row.held for row in there),
        "backlog": sum(row.backlog for row in there),
        "pending": sum(row.pending for row in there),
        "moves": _moves(reversed(moves[-MOVES_SHOWN:])),
        "allMoves": len(moves),
    }


def _row(row: NodeRow) -> dict[str, Any]:
    return {
        "name": row.name,
        "state": row.state,
        "isHere": row.is_here,
        "version": shorten(row.version, LONGEST),
        "labels": [shorten(label, LONGEST) for label in row.labels[:ROWS_SHOWN]],
        "capabilities": [
            {
                "name": shorten(one.name, LONGEST),
                "version": shorten(one.version, LONGEST),
                "digest": one.digest[:SHOWN_DIGITS],
                "isOld": one.is_old,
            }
            for one in row.capabilities[:CAPABILITIES_SHOWN]
        ],
        "host": shorten(row.host, LONGEST),
        "pid": row.pid,
        "since": _millis(row.since),
        "goneAt": _millis(row.gone_at),
        "seenAt": _millis(row.seen_at),
        "hasLeft": row.has_left,
        "clockOff": row.clock_off_sec,
        "held": row.held,
        "backlog": row.backlog,
        "pending": row.pending,
        "lag": row.lag_ms,
        "failure": None if row.failure is None else shorten(row.failure, LONGEST * 3),
    }


def _worker(one: HeldWorker, row: NodeRow) -> dict[str, Any]:
    return {
        "name": one.worker,
        "node": row.name,
        "members": members_here(one, row.workers),
        "state": one.state,
        "fence": one.fence,
        "backlog": one.backlog,
        "pending": one.pending,
        "handled": one.handled,
        "failed": one.failed,
    }


def _moves(moves: Iterable[Move]) -> list[dict[str, Any]]:
    return [
        {
            "at": _millis(move.at),
            "kind": move.kind,
            "node": move.node,
            "worker": move.worker,
            "before": move.before,
            "fence": move.fence,
        }
        for move in moves
    ]


def _millis(moment: float | None) -> int | None:
    return None if moment is None else round(moment * 1000)
