"""`dn.worker("bridge")`: live registration in plain Python, for editors that go blind in `%%` cells."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from dnworker.core.invocation import current_invocation
from dnworker.workers import shadow
from dnworker.workers.worker import Worker, check_worker_name

if TYPE_CHECKING:
    from dnworker_jupyter.live.transactions import Transactions

_STATE = "_plain_state"


class LiveHandle(Worker):
    """A worker of this notebook: what is decorated with it belongs to the cell that runs.

    `Worker(name=...)` in a cell becomes one of these, so that a worker's file pasted into a cell runs live.
    """

    def __init__(self, transactions: Transactions, name: str) -> None:
        self._transactions = transactions
        super().__init__(name)
        vars(self).pop(_STATE, None)

    @property
    def state(self) -> dict[str, Any]:  # type: ignore[override]
        """The worker's state; at the top level of a cell, what it becomes when the cell succeeds."""
        hidden = shadow.current_shadow.get()
        if hidden is not None and hidden.name == self.name:
            return hidden.state
        assert self.name is not None
        return self._transactions.state_of(self.name, in_handler=current_invocation.get() is not None)

    @state.setter
    def state(self, value: dict[str, Any]) -> None:
        vars(self)[_STATE] = value  # the constructor's; what is set later goes into the live state
        if "_event_handlers" in vars(self):
            live = self.state
            live.clear()
            live.update(value)

    def on_startup(self, handler: Any) -> Any:
        """Register for the running cell; see `Worker.on_startup`."""
        return self._recording().on_startup(handler)

    def on_shutdown(self, handler: Any) -> Any:
        """Register for the running cell; see `Worker.on_shutdown`."""
        return self._recording().on_shutdown(handler)

    def on_event(self, kind: str) -> Any:
        """Register for the running cell; see `Worker.on_event`."""
        return self._recording().on_event(kind)

    def every(
        self, *, seconds: float | None = None, minutes: float | None = None, cron: str | None = None
    ) -> Any:
        """Register for the running cell; see `Worker.every`."""
        return self._recording().every(seconds=seconds, minutes=minutes, cron=cron)

    def task(self, handler: Any) -> Any:
        """Register for the running cell; see `Worker.task`."""
        return self._recording().task(handler)

    def _recording(self) -> Worker:
        assert self.name is not None
        return self._transactions.open(self.name).recording


def make_handle(transactions: Transactions, name: str) -> LiveHandle:
    """Return a handle of the worker `name`.

    Raises:
        BadName: a ValueError: the name breaks the rule of contract 1.1.
    """
    return LiveHandle(transactions, check_worker_name(name))


def adopt(transactions: Transactions, worker: Worker) -> None:
    """Make a plain Worker of a cell a live one: what was registered with it belongs to the running cell."""
    assert worker.name is not None
    recording = transactions.open(worker.name).recording
    recording._startup_handlers += worker._startup_handlers
    recording._shutdown_handlers += worker._shutdown_handlers
    for kind, handlers in worker._event_handlers.items():
        recording._event_handlers.setdefault(kind, []).extend(handlers)
    recording._every_handlers += worker._every_handlers
    recording._task_handlers += worker._task_handlers
    recording.state.update(vars(worker).pop("state"))
    worker.__class__ = LiveHandle
    vars(worker)["_transactions"] = transactions
