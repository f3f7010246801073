"""`Worker`: five decorators that write down handlers, and nothing that runs by itself (contract 1)."""

from __future__ import annotations

import inspect
import re
from typing import TYPE_CHECKING, Any, TypeVar

from dnworker.core.errors import BadName, HandlerNotAsync
from dnworker.core.locations import location_of
from dnworker.core.schedule import ScheduleSpec, make_schedule

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Awaitable, Callable

    from dnworker.client.client import RuntimeClient
    from dnworker.core.envelope import EventEnvelope

    ClientHandler = Callable[[RuntimeClient], Awaitable[object]]
    EventHandler = Callable[[EventEnvelope, RuntimeClient], Awaitable[object]]

__all__ = ["ScheduleSpec", "Worker", "check_worker_name"]

H = TypeVar("H", bound="Callable[..., Awaitable[object]]")

_NAME = re.compile(r"[a-z0-9][a-z0-9-]*")


def check_worker_name(name: str) -> str:
    """Return `name` if it follows the rule of contract 1.1.

    Raises:
        ValueError: it does not.
    """
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise BadName(
            f"worker name {name!r} is not allowed; use lower-case letters, digits and dashes, "
            "starting with a letter or digit"
        )
    return name


class Worker:
    """A long-running background component: handlers for events and schedules, tasks, and state.

    The decorators return the function unchanged, so a handler can be called and tested by itself.

    Args:
        name: lower-case letters, digits and dashes. May be left out when a manifest names the worker.

    Raises:
        ValueError: the name breaks the rule.
    """

    def __init__(self, name: str | None = None) -> None:
        self.name = None if name is None else check_worker_name(name)
        self.state: dict[str, Any] = {}
        self._startup_handlers: list[ClientHandler] = []
        self._shutdown_handlers: list[ClientHandler] = []
        self._event_handlers: dict[str, list[EventHandler]] = {}
        self._every_handlers: list[tuple[ScheduleSpec, ClientHandler]] = []
        self._task_handlers: list[ClientHandler] = []

    def __repr__(self) -> str:
        return f"<Worker {self.name!r}: {self.handler_count} handlers>"

    @property
    def handler_count(self) -> int:
        """How many handlers of all five sorts are registered."""
        return (
            len(self._startup_handlers)
            + len(self._shutdown_handlers)
            + sum(map(len, self._event_handlers.values()))
            + len(self._every_handlers)
            + len(self._task_handlers)
        )

    def on_startup(self, handler: H) -> H:
        """Run `handler(client)` once before any event or schedule.

        Raises:
            TypeError: the handler is not an `async def` function.
        """
        self._startup_handlers.append(_check_async(handler, "on_startup"))
        return handler

    def on_shutdown(self, handler: H) -> H:
        """Run `handler(client)` once when the worker stops, last registered first.

        Raises:
            TypeError: the handler is not an `async def` function.
        """
        self._shutdown_handlers.append(_check_async(handler, "on_shutdown"))
        return handler

    def on_event(self, kind: str) -> Callable[[H], H]:
        """Run `handler(event, client)` for every event whose kind is exactly `kind`.

        Raises:
            TypeError: `kind` is no text, or the handler is not an `async def` function.
        """
        if not isinstance(kind, str):
            raise TypeError(
                f"on_event takes the kind, as in @worker.on_event('turn.completed'); got {kind!r}"
            )

        def register(handler: H) -> H:
            checked = _check_async(handler, f"on_event({kind!r})")
            self._event_handlers.setdefault(kind, []).append(checked)
            return handler

        return register

    def every(
        self, *, seconds: float | None = None, minutes: float | None = None, cron: str | None = None
    ) -> Callable[[H], H]:
        """Run `handler(client)` on an interval, or by five-field cron text in UTC.

        Raises:
            ValueError: not exactly one of the three is given, or it is out of range.
            TypeError: the handler is not an `async def` function.
        """
        spec = make_schedule(seconds=seconds, minutes=minutes, cron=cron)

        def register(handler: H) -> H:
            self._every_handlers.append((spec, _check_async(handler, "every(...)")))
            return handler

        return register

    def task(self, handler: H) -> H:
        """Keep `handler(client)` running for the worker's life, restarted with backoff when it ends.

        Raises:
            TypeError: the handler is not an `async def` function.
        """
        self._task_handlers.append(_check_async(handler, "task"))
        return handler

    def run(self) -> None:
        """Run this worker as a process of its own until SIGTERM or SIGINT (contract 1.4)."""
        from dnworker.workers.standalone import run

        run(self)

    async def arun(self) -> None:
        """Run this worker on the current loop until SIGTERM or SIGINT."""
        from dnworker.workers.standalone import arun

        await arun(self)

    async def _run_until(self, stop_event: asyncio.Event) -> None:
        """Run the whole lifecycle until `stop_event` is set; no process-wide side effects.

        Raises:
            ValueError: the worker has no name.
            RuntimeError: the runtime cannot be reached, or the worker went to `error`.
        """
        from dnworker.workers.standalone import run_until

        await run_until(self, stop_event)


def _check_async(handler: Any, decorator: str) -> Any:
    if inspect.iscoroutinefunction(handler):
        return handler
    name = getattr(handler, "__name__", None)
    if name is None or not callable(handler):
        raise HandlerNotAsync(f"@worker.{decorator} takes an async function, not {handler!r}")
    code = getattr(handler, "__code__", None)
    place = f" ({location_of(code.co_filename, code.co_firstlineno)})" if code else ""
    raise HandlerNotAsync(f"@worker.{decorator}: {name!r}{place} must be 'async def {name}(...)'")
