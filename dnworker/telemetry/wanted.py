"""`is_wanted` says whether variables switch telemetry on; without it a start imports this and `making`."""

from __future__ import annotations

from collections.abc import Mapping

SPANS_PER_SECOND = 1_000
"""Spans a second after which new traces are left out."""

VARIABLES = (
    *("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"),
    *("OTEL_EXPORTER_OTLP_METRICS_ENDPOINT", "OTEL_EXPORTER_OTLP_LOGS_ENDPOINT"),
)
"""The variables of which one switches telemetry on."""


def is_wanted(environ: Mapping[str, str]) -> bool:
    """Return whether variables switch telemetry on."""
    return any(environ.get(name) for name in VARIABLES) and not is_true(environ, "OTEL_SDK_DISABLED")


def is_true(environ: Mapping[str, str], name: str) -> bool:
    """Return whether a variable is `true`, in letters of any case."""
    return environ.get(name, "").strip().lower() == "true"
