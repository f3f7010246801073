"""`Gaps`: what the metrics of a runtime are without; `measuring` notes it."""

from __future__ import annotations

import logging

log = logging.getLogger("dnworker.metrics")


class Gaps:
    """What the metrics of a runtime are without; said when that begins and ends, not at each scrape."""

    def __init__(self) -> None:
        self._missing: set[str] = set()

    def begin(self, what: str, why: Exception) -> None:
        """Note that the broker does not tell something."""
        if what not in self._missing:
            self._missing.add(what)
            reason = str(why) or "it takes too long"
            log.warning("metrics are without %s: the broker does not tell them: %s", what, reason)

    def end(self, what: str) -> None:
        """Note that the broker tells something."""
        if what in self._missing:
            self._missing.remove(what)
            log.warning("metrics have %s again", what)
