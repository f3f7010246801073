"""The files with which Prometheus and Grafana watch a runtime; `dnworker deploy monitoring` writes them."""

from __future__ import annotations

from importlib.resources import files

NAMES = ("dnworker-dashboard.json", "dnworker-rules.yml", "prometheus.yml")
"""The dashboard of Grafana, the alerts of Prometheus, and how Prometheus finds the runtime."""


def monitoring_files() -> dict[str, str]:
    """Return the texts of the files, by their names."""
    directory = files("dnworker.deploy") / "monitoring_files"
    return {name: (directory / name).read_text(encoding="utf-8") for name in NAMES}
