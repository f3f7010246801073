"""`Exporting`: what an engine knows of what sends its telemetry; `telemetry/telemetry.py` is one."""

from __future__ import annotations

from typing import Any, Protocol

from dnworker.core.models import TelemetryUse


class Exporting(Protocol):
    """Hears of everything in an engine, and sends it."""

    async def open(self, engine: Any, /) -> None:
        """Hear of an engine from now on; its start calls it."""
        ...

    async def close(self, engine: Any, /, within: float | None = None) -> None:
        """Send what waits within so many seconds, and hear no more; its stop calls it, at times twice."""
        ...

    def state(self) -> list[TelemetryUse]:
        """Return how each signal does."""
        ...
