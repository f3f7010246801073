"""`HandlerRegistry`: keeps the handlers that decorators register; `Worker` is one, and runners read it.

The runner, the reports of processes and the notebook go over handlers by `handlers_of`, never by the five
registries themselves.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

from dnworker.core.handlers import DECORATORS, HandlerKey, check_worker_name, handler_name, numbered
from dnworker.workers.decorating import check_async, check_call, note_first_kind, unknown_attribute

if TYPE_CHECKING:
    from collections.abc import Awaitable

    from dnworker.client.client import RuntimeClient
    from dnworker.core.envelope import EventEnvelope
    from dnworker.core.schedule import ScheduleSpec

    ClientHandler = Callable[[RuntimeClient], Awaitable[object]]
    EventHandler = Callable[[EventEnvelope, RuntimeClient], Awaitable[object]]

H = TypeVar("H", bound="Callable[..., Awaitable[object]]")


class HandlerRegistry:
    """Handlers for events and schedules, tasks, and state; nothing in it runs by itself (contract 1).

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

    if not TYPE_CHECKING:  # a type checker would take any name then

        def __getattr__(self, name: str) -> Any:
            raise unknown_attribute(self, name)

    def __repr__(self) -> str:
        return f"<Worker {self.name!r}: {self.handler_count} handlers>"

    @property
    def handler_count(self) -> int:
        """How many handlers of all five decorators are registered."""
        return (
            len(self._startup_handlers)
            + len(self._shutdown_handlers)
            + sum(map(len, self._event_handlers.values()))
            + len(self._every_handlers)
            + len(self._task_handlers)
        )

    def on_startup(self, handler: H) -> H:
        """Run `handler(client)` once before any event or schedule; if it raises, the worker goes to `error`.

        Args:
            handler: an `async def` function that takes the worker's `RuntimeClient`.

        Returns:
            The handler, unchanged.

        Raises:
            TypeError: the handler is not an `async def` function.

        Examples:
            >>> @worker.on_startup
            ... async def connect(client):
            ...     worker.state["seen"] = set()
            >>> managed = await runtime.add(worker)
            >>> worker.state
            {'seen': set()}
        """
        self._startup_handlers.append(check_async(handler, "on_startup"))
        return handler

    def on_shutdown(self, handler: H) -> H:
        """Run `handler(client)` once when the worker stops, last registered first.

        Args:
            handler: an `async def` function that takes the worker's `RuntimeClient`.

        Returns:
            The handler, unchanged.

        Raises:
            TypeError: the handler is not an `async def` function.

        Examples:
            >>> @worker.on_shutdown
            ... async def close(client):
            ...     print("closed")
            >>> await close(FakeClient())
            closed
        """
        self._shutdown_handlers.append(check_async(handler, "on_shutdown"))
        return handler

    def on_event(self, kind: str) -> Callable[[H], H]:
        """Run `handler(event, client)` for every event whose kind is exactly `kind`.

        Args:
            kind: the event's name, such as `turn.completed` or one of your own. The reference page of event
                kinds lists those of the runtime with their payloads. There are no wildcards.

        Returns:
            A decorator, which returns the handler unchanged. The handler is an `async def` function that
            takes an `EventEnvelope` and the worker's `RuntimeClient`.

        Raises:
            TypeError: `kind` is no text, or the handler is not an `async def` function.

        Examples:
            >>> @worker.on_event("demo.greeted")
            ... async def on_greeted(event, client):
            ...     await client.publish("demo.answered", {"to": event.payload["name"]})
            >>> client = FakeClient()
            >>> await on_greeted(make_envelope("demo.greeted", {"name": "Ada"}), client)
            >>> client.published
            [('demo.answered', {'to': 'Ada'})]
        """

        def register(handler: H) -> H:
            checked = check_async(handler, f"on_event({kind!r})")
            note_first_kind(checked, kind)
            self._event_handlers.setdefault(kind, []).append(checked)
            return handler

        return register

    def every(
        self, *, seconds: float | None = None, minutes: float | None = None, cron: str | None = None
    ) -> Callable[[H], H]:
        """Run `handler(client)` on an interval, or at the times of a cron expression.

        Give exactly one of the three. Runs of one handler never overlap.

        Args:
            seconds: the interval in seconds.
            minutes: the interval in minutes.
            cron: five fields (minute, hour, day, month, weekday) in UTC, such as `0 9 * * 1-5`.

        Returns:
            A decorator, which returns the handler unchanged. The handler is an `async def` function that
            takes the worker's `RuntimeClient`.

        Raises:
            ValueError: not exactly one of the three is given, or it is out of range.
            TypeError: the handler is not an `async def` function.

        Examples:
            >>> @worker.every(minutes=5)
            ... async def poll(client):
            ...     print(f"{runtime.clock.now():%H:%M}")
            >>> managed = await runtime.add(worker)
            >>> woken = await runtime.advance(600)
            00:05
            00:10
        """
        from dnworker.core.schedule import make_schedule  # dataclasses and datetime take as long as the rest

        spec = make_schedule(seconds=seconds, minutes=minutes, cron=cron)

        def register(handler: H) -> H:
            self._every_handlers.append((spec, check_async(handler, "every(...)")))
            return handler

        return register

    def task(self, handler: H) -> H:
        """Keep `handler(client)` running for the worker's life: when it returns or raises, it starts again.

        The waits between its starts double from 1 second to 300 seconds, and begin anew once it ran for 60
        seconds.

        Args:
            handler: an `async def` function that takes the worker's `RuntimeClient`. It is cancelled when the
                worker stops.

        Returns:
            The handler, unchanged.

        Raises:
            TypeError: the handler is not an `async def` function.

        Examples:
            >>> @worker.task
            ... async def listen(client):
            ...     async for event in client.subscribe("demo.greeted"):
            ...         worker.state["last"] = event.payload["name"]
            >>> worker.handler_count
            1
        """
        self._task_handlers.append(check_async(handler, "task"))
        return handler


for _decorator in DECORATORS:  # people know them as methods of `Worker`
    getattr(HandlerRegistry, _decorator).__qualname__ = f"Worker.{_decorator}"
    setattr(HandlerRegistry, _decorator, check_call(getattr(HandlerRegistry, _decorator)))


class Registered(NamedTuple):
    """One handler of a worker."""

    key: HandlerKey
    function: Any
    schedule: ScheduleSpec | None = None
    """When it runs, of an `every` handler."""


def handlers_of(registry: HandlerRegistry) -> Iterator[Registered]:
    """Yield every handler: of startup, events, schedules, tasks and shutdown, in this order.

    Each has a key of its own: of handlers of one name, decorator and trigger, the second is `name#2`.
    """
    handlers = [*_handlers_of(registry)]
    for handler, key in zip(handlers, numbered(handler.key for handler in handlers), strict=True):
        yield handler._replace(key=key)


def _handlers_of(registry: HandlerRegistry) -> Iterator[Registered]:
    for starting in registry._startup_handlers:
        yield Registered(HandlerKey("on_startup", "", handler_name(starting)), starting)
    for kind, listening in registry._event_handlers.items():
        for handler in listening:
            yield Registered(HandlerKey("on_event", kind, handler_name(handler)), handler)
    for spec, function in registry._every_handlers:
        yield Registered(HandlerKey("every", spec.label, handler_name(function)), function, spec)
    for function in registry._task_handlers:
        yield Registered(HandlerKey("task", "", handler_name(function)), function)
    for stopping in registry._shutdown_handlers:
        yield Registered(HandlerKey("on_shutdown", "", handler_name(stopping)), stopping)


def keys_of(registry: HandlerRegistry) -> list[HandlerKey]:
    """Return the identity of every handler, in the order of `handlers_of`."""
    return [handler.key for handler in handlers_of(registry)]


def schedules_of(registry: HandlerRegistry) -> dict[HandlerKey, Registered]:
    """Return the `every` handlers by their keys."""
    return _by_key(registry, "every")


def tasks_of(registry: HandlerRegistry) -> dict[HandlerKey, Registered]:
    """Return the `task` handlers by their keys."""
    return _by_key(registry, "task")


def _by_key(registry: HandlerRegistry, decorator: str) -> dict[HandlerKey, Registered]:
    return {h.key: h for h in handlers_of(registry) if h.key.decorator == decorator}


def add_handlers(registry: HandlerRegistry, handlers: Iterable[Registered]) -> None:
    """Register handlers that were checked before, such as those of another registry, in their order.

    Raises:
        ValueError: an `every` handler has no schedule, or there is no such decorator.
    """
    for key, function, schedule in handlers:
        match key.decorator:
            case "on_startup":
                registry._startup_handlers.append(function)
            case "on_shutdown":
                registry._shutdown_handlers.append(function)
            case "on_event":
                registry._event_handlers.setdefault(key.trigger, []).append(function)
            case "every" if schedule is not None:
                registry._every_handlers.append((schedule, function))
            case "task":
                registry._task_handlers.append(function)
            case _:
                raise ValueError(f"{key.name!r} cannot be registered by {key.decorator!r}")


def replace_handlers(registry: HandlerRegistry, replace: Callable[[Registered], Any]) -> None:
    """Replace each handler by what `replace` returns for it."""
    keep_handlers(
        registry, [handler._replace(function=replace(handler)) for handler in handlers_of(registry)]
    )


def keep_handlers(registry: HandlerRegistry, handlers: Iterable[Registered]) -> None:
    """Let a registry have these handlers and no others."""
    kept = [*handlers]
    everything: list[list[Any] | dict[str, Any]] = [
        registry._startup_handlers,
        registry._shutdown_handlers,
        registry._event_handlers,
        registry._every_handlers,
        registry._task_handlers,
    ]
    for registered in everything:
        registered.clear()
    add_handlers(registry, kept)
