"""`Exporting`: what an engine knows of what sends its telemetry; `telemetry/telemetry.py` is one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from dnworker.core.models import TelemetryUse

if TYPE_CHECKING:
    from dnworker.engine.engine import Engine


class Exporting(Protocol):
    """Hears of everything in an engine, and sends it."""

    async def open(self, engine: Engine, /) -> None:
        """Hear of an engine from now on; its start calls it."""
        ...

    async def close(self, engine: Engine, /, within: float | None = None) -> None:
        """Send what waits within so many seconds, and hear no more; its stop calls it, at times twice."""
        ...

    def state(self) -> list[TelemetryUse]:
        """Return how each signal does."""
        ...
