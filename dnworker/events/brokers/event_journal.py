"""`EventJournal`: what a broker's journal is to the engine; a durable broker has one."""

from __future__ import annotations

from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, Protocol


class EventJournal(Protocol):
    """What keeps invocations and states of workers in a file, with or without the events."""

    path: Path
    lost: int
    """Entries that are missing in it."""

    @property
    def failure(self) -> str | None:
        """Why it cannot be written at the moment."""

    @property
    def pending_bytes(self) -> int:
        """Bytes of what waits in memory for the disk."""

    def recording(self, bus: Any, history: Any) -> AbstractContextManager[None]:
        """Write everything that happens while the block runs."""

    def note_state(self, worker: str, state: str, error: str | None) -> None:
        """Keep a worker's change of state."""

    def flush(self, timeout: float = 5.0) -> bool:
        """Wait up to `timeout` seconds; return whether everything noted so far is in the file."""
