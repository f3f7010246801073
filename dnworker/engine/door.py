"""`NotebookDoor`: what agents may look at and do in a notebook; `server/notebook_door.py` has its endpoints.

The notebook's extension implements it and hands it to its runtime; a runtime of `serve` has none.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from dnworker.core.errors import ApiError

if TYPE_CHECKING:
    from dnworker.events.trace import Trace

MAX_SOURCE_BYTES = 256_000
"""The longest source of a cell or a test, as UTF-8."""

MAX_SECONDS = 300.0
"""The longest that one call may wait."""

LONGEST_NAME = 64
"""Characters of the name that an agent gives itself."""

_UNSHOWN = re.compile(r"[^\w .:@/+()-]")


class WritingNotAllowed(ApiError):
    """An agent may not change this notebook."""

    code = "DN985"
    status = 403


class TooLate(ApiError):
    """The kernel was busy until the time of a call was up, or what the call runs takes longer."""

    code = "DN984"
    status = 504


class Replayed(NamedTuple):
    """What a replay gave: the new trace, or where it compares, the differences between two generations."""

    trace: Trace | None
    differences: list[str]


def agent_name(given: str) -> str:
    """Return the name of an agent as it is shown: one short line, without characters that could mislead."""
    name = " ".join(_UNSHOWN.sub(" ", given[: 4 * LONGEST_NAME]).split())[:LONGEST_NAME].strip()
    return name or "unnamed"


class NotebookDoor(Protocol):
    """What agents may do in one notebook; `by` is the agent's name, and `timeout` is in seconds.

    All raise `UsageError` for what is wrong with the call, `NotFound` for what is not there, `Conflict` where
    the notebook is in no state for it, `Forbidden` where writing is not allowed and `TooLate` where the time
    is up.
    """

    def notebook(self) -> dict[str, Any]:
        """Return what the notebook is, and what agents may do in it."""

    def worker(self, name: str) -> dict[str, Any]:
        """Return a worker with its handlers and the source of its cells."""

    async def write_cell(self, source: str, *, by: str, dry_run: bool, timeout: float) -> dict[str, Any]:
        """Run a `%%worker` cell, or check it only, and put it into the notebook where that can be done."""

    def changes(self) -> list[dict[str, Any]]:
        """Return what agents have changed, the newest last."""

    async def undo(self, change: str, *, by: str, timeout: float) -> dict[str, Any]:
        """Bring back what there was before a change."""

    async def fire(
        self, kind: str, payload: dict[str, Any] | None, *, session: str | None, timeout: float, by: str
    ) -> Trace:
        """Publish an event and return all that it causes."""

    async def replay(
        self,
        event: str,
        *,
        payload: dict[str, Any] | None,
        compare: bool,
        from_state: bool,
        worker: str | None,
        timeout: float,
        by: str,
    ) -> Replayed:
        """Fire a recorded event again, or compare what two generations of a worker do with it."""

    async def advance(self, by_time: float | str, *, timeout: float, by: str) -> dict[str, Any]:
        """Move the virtual clock by seconds, or to what is due `next`."""

    async def make_test(self, event: str, name: str | None, worker: str | None) -> dict[str, Any]:
        """Return the test that keeps a recorded event."""

    async def run_test(self, source: str, *, timeout: float) -> dict[str, Any]:
        """Run a test with pytest, in a process of its own, on the workers as they are now."""

    async def check_export(self, *, timeout: float) -> dict[str, Any]:
        """Return what an export would write, or why it would be refused; nothing is written."""
