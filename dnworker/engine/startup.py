"""How far a runtime is: what `/api/health` and `/api/ready` tell (contract 6.2)."""

from __future__ import annotations

import time

STAGES = ("configuring", "installing", "connecting", "ready", "failed")


class Progress:
    """The stage a runtime is in, and when it reached each; seconds since it was made."""

    def __init__(self) -> None:
        self._made = time.monotonic()
        self.stage = ""
        self.detail: str | None = None
        self.timings: dict[str, float] = {}
        self.reload_started: float | None = None
        self.reload_finished: float | None = None
        self.reach("configuring")

    @property
    def elapsed(self) -> float:
        """Seconds since it was made."""
        return round(time.monotonic() - self._made, 3)

    def reach(self, stage: str, detail: str | None = None) -> None:
        """Note that the runtime is in `stage` from now on."""
        assert stage in STAGES
        self.stage, self.detail = stage, detail
        self.timings[stage] = self.elapsed

    def reload_begins(self) -> None:
        """Note the beginning of a reload; the stage stays."""
        self.reload_started, self.reload_finished = self.elapsed, None

    def reload_ends(self) -> None:
        """Note its end."""
        self.reload_finished = self.elapsed
