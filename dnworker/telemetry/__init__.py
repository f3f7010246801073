"""Spans, metrics and lines of logs of a runtime for an OpenTelemetry collector."""
