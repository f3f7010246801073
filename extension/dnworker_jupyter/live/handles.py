"""The handles of live workers that cells use: `worker`, and what `dn.worker("bridge")` returns."""

from __future__ import annotations

import functools
from typing import Any, Protocol

from dnworker.core.errors import UsageError
from dnworker.core.handlers import DECORATORS, check_worker_name
from dnworker.core.invocation import current_invocation
from dnworker.workers import shadow
from dnworker.workers.registry import add_handlers, handlers_of
from dnworker.workers.worker import Worker
from dnworker_jupyter.live.cell_transaction import CellTransaction

_STATE = "_plain_state"


class Registrar(Protocol):
    """What knows which cell runs, and so for which worker something is registered: `Transactions`."""

    def open(self, name: str) -> CellTransaction:
        """Return what the running cell registers for a worker; UsageError when no cell runs."""

    def state_of(self, name: str, *, in_handler: bool) -> dict[str, Any]:
        """Return a worker's state; in the cell that registers for it, what it will be."""

    def generation_of(self, name: str) -> int:
        """Return the number of a worker's present generation; 0 while it has none."""

    def is_recording(self) -> bool:
        """Return whether the running cell has begun to register."""

    def current_worker(self) -> Worker:
        """Return the Worker that `worker` means here; NoWorker when there is none."""

    def latest_handle(self) -> Worker:
        """Return the handle of the worker that cells registered for last; NoWorker when there is none."""


class NoWorker(UsageError, AttributeError):
    """There is no worker that `worker` could mean."""

    code = "DN106"


class CurrentWorker:
    """What `worker` is in a notebook: the worker whose handler is running, else that of the newest cell.

    One name serves all `%%worker` cells: a handler of the first finds its own state as `worker.state`, even
    after a later cell registered for another worker. In a plain cell its decorators register for that one.
    """

    def __init__(self, registrar: Registrar) -> None:
        object.__setattr__(self, "_registrar", registrar)

    @property  # type: ignore[misc]  # isinstance(worker, Worker) holds, as in the exported script
    def __class__(self) -> type:
        return Worker

    def __getattr__(self, name: str) -> Any:
        __tracebackhide__ = True
        return getattr(self._now(registers=name in DECORATORS), name)

    def __setattr__(self, name: str, value: Any) -> None:
        now = self._now()
        if name == "state" and current_invocation.get() is not None and type(value) is dict:
            if now.state is not value:  # the dict stays: later generations go on with it
                kept = dict(value)
                now.state.clear()
                now.state.update(kept)
            return
        setattr(now, name, value)

    def __repr__(self) -> str:
        return repr(self._now())

    def __copy__(self) -> CurrentWorker:
        return self

    def __deepcopy__(self, memo: Any) -> CurrentWorker:
        return self

    def _now(self, *, registers: bool = False) -> Worker:
        hidden = shadow.current_shadow.get()
        if hidden is not None:
            return hidden
        registrar: Registrar = object.__getattribute__(self, "_registrar")
        if registers and not registrar.is_recording():
            return registrar.latest_handle()
        return registrar.current_worker()


class LiveHandle(Worker):
    """A worker of this notebook: what is decorated with it belongs to the cell that runs.

    `dn.worker(name)` returns one, and `Worker(name=...)` in a cell becomes one, so that a worker's file
    pasted into a cell runs live.

    Attributes:
        name: the worker's.

    Examples:
        >>> from dnworker import Worker
        ... ear = Worker("ear")
        ... @ear.on_event("demo.said")
        ... async def on_said(event, client):
        ...     print("heard", event.payload["text"])
        ear is running, generation 1
          + on_event demo.said: on_said
        >>> type(ear).__name__, ear.generation
        ('LiveHandle', 1)
    """

    def __init__(self, registrar: Registrar, name: str) -> None:
        self._registrar = registrar
        self._live_name = name
        super().__init__(name)
        vars(self).pop(_STATE, None)

    @property
    def state(self) -> dict[str, Any]:  # type: ignore[override]
        """The worker's state; at the top level of a cell, what it becomes when the cell succeeds."""
        hidden = shadow.current_shadow.get()
        if hidden is not None and hidden.name == self.name:
            return hidden.state
        return self._registrar.state_of(self._live_name, in_handler=current_invocation.get() is not None)

    @state.setter
    def state(self, value: dict[str, Any]) -> None:
        vars(self)[_STATE] = value  # the constructor's; what is set later goes into the live state
        if "_event_handlers" in vars(self):
            live, new = self.state, {**value}  # `state |= ...` sets the very dict that it has changed
            live.clear()
            live.update(new)

    @property
    def generation(self) -> int:
        """The number of the present generation, as `%worker`, traces and the panel show it; 0 without one."""
        return self._registrar.generation_of(self._live_name)

    def _recording(self) -> Worker:
        return self._registrar.open(self._live_name).recording


def _registering(name: str) -> Any:
    """Return a decorator of handles, which registers for the running cell as that of `Worker` does."""
    method = getattr(Worker, name)

    @functools.wraps(method)
    def register(self: LiveHandle, *args: Any, **fields: Any) -> Any:
        return getattr(self._recording(), name)(*args, **fields)

    return register


for _name in DECORATORS:
    setattr(LiveHandle, _name, _registering(_name))


def make_handle(registrar: Registrar, name: str) -> LiveHandle:
    """Return a handle of the worker `name`.

    Raises:
        BadName: a ValueError: the name breaks the rule.
    """
    return LiveHandle(registrar, check_worker_name(name))


def adopt(registrar: Registrar, worker: Worker, name: str) -> None:
    """Make a plain Worker of a cell a live one: what was registered with it belongs to the running cell."""
    recording = registrar.open(name).recording
    add_handlers(recording, handlers_of(worker))
    recording.state.update(vars(worker).pop("state"))
    worker.__class__ = LiveHandle
    vars(worker)["_registrar"] = registrar
    vars(worker)["_live_name"] = name
