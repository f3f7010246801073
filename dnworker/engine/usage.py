"""`Usage`: what is used of the limits of a runtime; `/api/runtime` and `%runtime doctor` show it."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from dnworker.core.models import LimitUse

if TYPE_CHECKING:
    from dnworker.core.limits import Limits

Gauge = Callable[[], tuple[float, int] | None]
"""Returns how much of a limit is used, and how many things were dropped because it was used up.

None where the part that it measures is not there.
"""


class Usage:
    """The gauges of a runtime, by the names of the limits; each part that has a budget adds its own."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._gauges: dict[str, list[Gauge]] = {}

    def add(self, limit: str, gauge: Gauge) -> None:
        """Count a gauge towards a limit; those of several parts are added up.

        Raises:
            ValueError: there is no such limit.
        """
        if limit not in self._limits.__struct_fields__:
            raise ValueError(
                f"there is no limit {limit!r}; there are: {', '.join(self._limits.__struct_fields__)}"
            )
        self._gauges.setdefault(limit, []).append(gauge)

    def read(self) -> dict[str, LimitUse]:
        """Return every limit with what is used of it now; what has no gauge is None."""
        return {name: self._of(name) for name in self._limits.__struct_fields__}

    def _of(self, name: str) -> LimitUse:
        limit = getattr(self._limits, name)
        given = [gauge() for gauge in self._gauges.get(name, ())]
        readings = [reading for reading in given if reading is not None]
        if not readings:
            return LimitUse(limit=limit)
        return LimitUse(
            limit=limit, used=sum(used for used, _ in readings), dropped=sum(gone for _, gone in readings)
        )
