"""`Progress`: the stage that the start or reload of a runtime is in; the API reports it (contract 6.2)."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

STAGES = ("configuring", "installing", "connecting", "ready", "failed", "stopping")


class Progress:
    """The stage a runtime is in, and when it reached each; seconds since it was made."""

    def __init__(self) -> None:
        self._made = time.monotonic()
        self.stage = ""
        self.detail: str | None = None
        self.timings: dict[str, float] = {}
        self.reload_started: float | None = None
        self.reload_finished: float | None = None
        self.reloads = 0
        """How many reloads have begun."""
        self.reach("configuring")

    @property
    def elapsed(self) -> float:
        """Seconds since it was made."""
        return round(time.monotonic() - self._made, 3)

    def reach(self, stage: str, detail: str | None = None) -> None:
        """Note that the runtime is in `stage` from now on; one that stops is so until it starts anew.

        Raises:
            ValueError: it is none of `STAGES`.
        """
        if stage not in STAGES:
            raise ValueError(f"there is no stage {stage!r}; there are: {', '.join(STAGES)}")
        if self.stage == "stopping":
            return  # what is loaded meanwhile changes nothing
        self.stage, self.detail = stage, detail
        self.timings[stage] = self.elapsed

    def stop(self) -> None:
        """Note that the runtime is about to stop: `/api/ready` answers 503, whatever is loaded meanwhile."""
        self.reach("stopping")

    def begin_anew(self) -> None:
        """Note that a runtime that has stopped is started again."""
        if self.stage == "stopping":
            self.stage = ""
            self.reach("configuring")

    @contextmanager
    def loading(self) -> Iterator[None]:
        """Answer `/api/ready` with 503 until what is loaded inside has started (contract 4.8)."""
        self.reach("connecting")
        yield
        self.reach("ready")

    def reload_begins(self) -> None:
        """Note the beginning of a reload; the stage stays."""
        self.reload_started, self.reload_finished = self.elapsed, None
        self.reloads += 1

    def reload_ends(self) -> None:
        """Note the end of a reload."""
        self.reload_finished = self.elapsed
