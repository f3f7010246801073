"""Writes the Grafana dashboard that `dnworker deploy monitoring` hands out, by Grafana's own library.

Run `python -m scripts.dashboard` after a change, and commit what it writes; a test makes it again and compares.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from grafana_foundation_sdk.builders import dashboard as builders
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models.dashboard import (
    DashboardCursorSync,
    DashboardLinkType,
    VariableOption,
    VariableRefresh,
    VariableSort,
)

from .panel import RUNTIME, SOURCE, WORKER
from .panels import ROWS
from .parts import build

FILE = Path(__file__).parents[2] / "dnworker" / "deploy" / "monitoring_files" / "dnworker-dashboard.json"
DOCS = "https://dnworker.github.io/dnworker/how-to/watch-with-prometheus/"


def text() -> str:
    """Return the dashboard as JSON, the same for the same program."""
    board = json.loads(json.dumps(made().build(), cls=JSONEncoder))
    board.pop("style", None)  # or it would be dark for everybody
    return json.dumps(board, indent=1, sort_keys=True, ensure_ascii=False) + "\n"


def made() -> builders.Dashboard:
    """Return the dashboard; its colours are those of the reader's theme, light or dark."""
    board = (
        builders.Dashboard("dnworker")
        .uid("dnworker")
        .description(
            "What runtimes of dnworker do: what fails and since when, how long it takes, what waits."
        )
        .tags(["dnworker"])
        .time("now-1h", "now")
        .refresh("30s")
        .timezone("browser")
        .tooltip(DashboardCursorSync.CROSSHAIR)
        .editable()
    )
    _add_variables(board)
    _add_annotations(board)
    _add_links(board)
    number = 0
    for title, panels in ROWS:
        number += 1
        board.with_row(builders.Row(title).id(number))
        for panel in panels:
            number += 1
            board.with_panel(build(panel, number))
    return board


def _add_variables(board: builders.Dashboard) -> None:
    board.with_variable(builders.DatasourceVariable("datasource").label("Prometheus").type("prometheus"))
    for name, label, query, regex, all_value in (
        ("job", "Job", "label_values(dnworker_info, job)", "", None),
        ("instance", "Node", 'label_values(dnworker_info{job=~"$job"}, instance)', "", None),
        (
            "capability",
            "Capability",
            f"label_values(dnworker_worker_state{RUNTIME}, worker)",
            "/^([^:]+):/",
            ".*",
        ),
        (
            "worker",
            "Worker",
            'label_values(dnworker_worker_state{job=~"$job",instance=~"$instance",'
            'worker=~"($capability)(:.*)?"}, worker)',
            "",
            ".*",
        ),
    ):
        variable = (
            builders.QueryVariable(name)
            .label(label)
            .datasource(SOURCE)
            .query({"query": query, "refId": f"variable-{name}"})
            .regex(regex)
            .refresh(VariableRefresh.ON_TIME_RANGE_CHANGED)
            .sort(VariableSort.ALPHABETICAL_ASC)
            .multi(True)
            .include_all(True)
            .current(VariableOption(selected=True, text=["All"], value=["$__all"]))
        )
        board.with_variable(variable if all_value is None else variable.all_value(all_value))


def _add_annotations(board: builders.Dashboard) -> None:
    for name, colour, query in (
        ("Runtime restarted", "purple", f"changes(dnworker_start_time_seconds{RUNTIME}[2m]) > 0"),
        ("Reloaded", "blue", f"increase(dnworker_reloads_total{RUNTIME}[2m]) > 0"),
        (
            "Worker started again after a failure",
            "orange",
            f"sum by (worker) (increase(dnworker_worker_restarts_total{WORKER}[2m])) > 0",
        ),
    ):
        board.annotation(
            builders.AnnotationQuery()
            .name(name)
            .datasource(SOURCE)
            .icon_color(colour)
            .expr(query)
            .enable(True)
        )


def _add_links(board: builders.Dashboard) -> None:
    for title, url, tooltip in (
        ("What to do", DOCS, "The page of the documentation about these numbers and the alerts"),
        (
            "Panel",
            "http://${instance}/panel",
            "The runtime's own panel; `dnworker panel` prints its address with a ticket",
        ),
    ):
        board.link(
            builders.DashboardLink(title)
            .type(DashboardLinkType.LINK)
            .url(url)
            .tooltip(tooltip)
            .target_blank(True)
        )


def main() -> int:
    """Write the dashboard; returns the exit code."""
    FILE.write_text(text(), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
