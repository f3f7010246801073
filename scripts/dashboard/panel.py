"""`Panel`: what a panel of the Grafana dashboard shows, as data, and the pieces that queries are made of."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from grafana_foundation_sdk.models.dashboard import DataSourceRef

SOURCE = DataSourceRef(type_val="prometheus", uid="${datasource}")

RUNTIME = '{job=~"$job",instance=~"$instance"}'
WORKER = '{job=~"$job",instance=~"$instance",worker=~"($capability)(:.*)?",worker=~"$worker"}'
"""Which series a panel is about: those of the nodes, or of the workers, that are chosen above."""


FAILED, IN_ERROR, OF_TURNS = (
    f"{chosen[:-1]},{matcher}}}"
    for chosen, matcher in (
        (WORKER, 'outcome="error"'),
        (WORKER, 'dnworker_worker_state="error"'),
        (RUNTIME, 'kind=~"turn[.].*"'),
    )
)


@dataclass(frozen=True)
class Query:
    """One query of Prometheus, and what its lines are called."""

    expr: str
    legend: str = ""


@dataclass(frozen=True)
class Panel:
    """One panel.

    Attributes:
        kind: what draws it.
        unit: as Grafana calls it.
        width: of the 24 columns.
        steps: colours, each with the value from which it holds; the first one's is left out.
        states: texts and colours of values.
        stacked: whether lines are drawn on top of each other.
        columns: of a table, the labels and values that are shown, in order, with their titles.
        units: of a table, by the title of a column.
        sort: of a table, the title of the column by which it is sorted, and whether the largest stands first.
    """

    kind: Literal["stat", "lines", "table"]
    title: str
    description: str
    queries: tuple[Query, ...]
    unit: str = "short"
    width: int = 12
    height: int = 8
    steps: tuple[tuple[float | None, str], ...] = ((None, "green"),)
    states: tuple[tuple[str, str, str], ...] = ()
    stacked: bool = False
    columns: tuple[tuple[str, str], ...] = ()
    units: tuple[tuple[str, str], ...] = ()
    sort: tuple[str, bool] | None = None


def or_zero(expr: str) -> str:
    """Return a query that answers 0 where `expr` has no answer."""
    return f"{expr} or on () vector(0)"


def quantile(share: float, by: str = "", *, window: str = "$__rate_interval") -> str:
    """Return a query of durations; what did not run has none."""
    labels = f"le, {by}" if by else "le"
    rate = f"rate(dnworker_handler_duration_seconds_bucket{WORKER}[{window}])"
    return f"histogram_quantile({share}, sum by ({labels}) ({rate})) >= 0"


def errors_of(by: str = "", window: str = "$__rate_interval") -> str:
    """Return the share of runs that failed, 0 where nothing ran; `by` are the labels that it is told by."""
    total = f"sum by ({by}) (rate(dnworker_handler_runs_total{WORKER}[{window}]))"
    failed = f"sum by ({by}) (rate(dnworker_handler_runs_total{FAILED}[{window}]))"
    return f"{failed} / ({total} > 0) or {total} * 0"


RED_FROM_1 = ((None, "green"), (1.0, "red"))
BY_HANDLER = "worker, handler"
STATES = (
    ("running", "running", "green"),
    ("error", "error", "red"),
    ("starting", "starting", "blue"),
    ("loading", "loading", "blue"),
    ("stopping", "stopping", "yellow"),
    ("stopped", "stopped", "yellow"),
    ("gated_off", "off by a flag", "text"),
    ("standby", "runs elsewhere", "text"),
)
SHARED = " Nodes that share a broker all tell the same number; the highest is shown."
