"""`RestartPolicy`: whether a process that failed is started again; `RestartCount` computes when.

Managed workers that are processes use them, and wait; `serve --restart` and `Runtime(restart=...)` set them.
"""

from __future__ import annotations

import math
import re
from collections import deque
from dataclasses import dataclass

from dnworker.core.errors import UsageError

FIRST_DELAY = 1.0
LONGEST_DELAY = 60.0
"""Seconds before the first restart, and at most; each wait is twice the one before."""

_BUDGET = re.compile(r"(\d+)\s*/\s*(\d+(?:\.\d+)?)\s*(s|m|h|)")
_UNITS = {"": 1, "s": 1, "m": 60, "h": 3_600}


@dataclass(frozen=True)
class RestartPolicy:
    """Start a worker's process again when it ends by an exit code other than 0, or by a signal.

    After `max_restarts` within `window`, the worker stays in `error`. Waits before the restarts grow from 1
    second to 60 seconds and do not count as time of the window, so a process that fails at once uses the
    restarts up.

    Args:
        max_restarts: how many restarts there may be, from 1.
        window: seconds in which the process ran.

    Raises:
        UsageError: a number is not positive.

    Examples:
        >>> RestartPolicy(max_restarts=3, window=120).budget
        '3 restarts within 120 s'
        >>> runtime = Runtime(port=0, restart=RestartPolicy(max_restarts=3, window=120))
    """

    max_restarts: int = 5
    window: float = 60.0

    def __post_init__(self) -> None:
        if self.max_restarts < 1 or not (self.window > 0 and math.isfinite(self.window)):
            raise UsageError(
                f"{self.max_restarts} restarts within {self.window:g} s: write positive numbers, like 5/60s",
                code="DN317",
            )

    @property
    def budget(self) -> str:
        """What is allowed, as text such as `5 restarts within 60 s`."""
        return f"{self.max_restarts} restart{'s' * (self.max_restarts > 1)} within {self.window:g} s"


def parse_budget(text: str) -> RestartPolicy:
    """Return the policy of a text such as `5/60s`, five restarts within sixty seconds; or `20/1h`, `3/2m`.

    Raises:
        UsageError: it has another form, or a number is not positive.
    """
    found = _BUDGET.fullmatch(text.strip())
    if found is None:
        raise UsageError(
            f"{text!r} is no number of restarts in a time; write it like 5/60s or 20/1h", code="DN317"
        )
    return RestartPolicy(int(found[1]), float(found[2]) * _UNITS[found[3]])


def restart_policy(given: RestartPolicy | str | None) -> RestartPolicy | None:
    """Return the policy that is meant: None and `no` are none, `on-failure` is the default one.

    Raises:
        UsageError: another text is given.
    """
    if isinstance(given, RestartPolicy):
        return given
    if given in (None, "no"):
        return None
    if given == "on-failure":
        return RestartPolicy()
    raise UsageError(f"restart is {given!r}; it is 'no', 'on-failure' or a RestartPolicy", code="DN317")


class RestartCount:
    """Counts the restarts of one process, by the seconds in which it ran.

    Args:
        policy: how many restarts there may be.
    """

    def __init__(self, policy: RestartPolicy) -> None:
        self.policy = policy
        self._uptime = 0.0
        self._restarts: deque[float] = deque()
        """The uptime at each restart within the window."""

    @property
    def count(self) -> int:
        """How many restarts count at present."""
        return len(self._restarts)

    def failed(self, ran_for: float) -> float | None:
        """Note that the process failed after it ran for so many seconds.

        Returns the seconds to wait before it is started again: 1, 2, 4 ... 60; None to give up.
        """
        self._uptime += max(0.0, ran_for)
        while self._restarts and self._restarts[0] <= self._uptime - self.policy.window:
            self._restarts.popleft()
        if self.count >= self.policy.max_restarts:
            return None
        self._restarts.append(self._uptime)
        return min(FIRST_DELAY * 2.0 ** min(self.count - 1, 10), LONGEST_DELAY)

    def reset(self) -> None:
        """Begin anew: somebody has started it by hand."""
        self._restarts.clear()
