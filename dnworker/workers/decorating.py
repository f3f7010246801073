"""Words what is wrong where a handler is registered: misspelt decorators, their arguments, the handler.

`registry` checks with it, and so do the report of a cell and the invoker. `inspect` is imported in functions:
it takes a quarter of the import of `Worker`.
"""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable
from types import CoroutineType
from typing import Any, TypeVar

from dnworker.core.errors import HandlerNotAsync, RuleMisplaced, UnknownAttribute, WrongUse
from dnworker.core.handlers import DECORATORS, first_kinds, handler_name, registered
from dnworker.core.locations import location_of
from dnworker.core.text import closest, kind_of, shorten

F = TypeVar("F", bound=Callable[..., Any])

LONGEST_NAME = 60

_OTHERS = {
    "on": 'write @worker.on_event("...")',
    "event": 'write @worker.on_event("...")',
    "listen": 'write @worker.on_event("...")',
    "subscribe": 'write @worker.on_event("...")',
    "cron": 'write @worker.every(cron="...")',
    "schedule": "write @worker.every(seconds=...)",
    "interval": "write @worker.every(seconds=...)",
    "startup": "write @worker.on_startup",
    "shutdown": "write @worker.on_shutdown",
    "background": "write @worker.task",
    "publish": "its handlers publish: await client.publish(...)",
    "emit": "its handlers publish: await client.publish(...)",
    "notify": "its handlers notify: await client.notify(...)",
    "client": "its handlers get the client as an argument",
    "start": "a cell starts it: %worker start NAME",
    "stop": "a cell stops it: %worker stop NAME",
    "restart": "a cell restarts it: %worker restart NAME",
    "log": "what a handler prints or logs is in its log",
    "logger": "what a handler prints or logs is in its log",
}
"""What names of other frameworks are called here."""

_FORMS = {
    "on_startup": "write @worker.on_startup above async def NAME(client)",
    "on_shutdown": "write @worker.on_shutdown above async def NAME(client)",
    "task": "write @worker.task above async def NAME(client)",
    "on_event": 'write @worker.on_event("turn.completed") above async def NAME(event, client)',
    "every": "write @worker.every(seconds=30) above async def NAME(client)",
}


def unknown_attribute(worker: object, name: str) -> AttributeError:
    """Return the error that a Worker has no attribute `name`."""
    if name.startswith("_"):  # a protocol asks whether there is one
        return AttributeError(f"'Worker' object has no attribute {name!r}", name=name, obj=worker)
    public = ["state", "name", "run", "arun", *sorted(DECORATORS)]
    near = closest(name, public, cutoff=0.7)
    way = f"did you mean {near}?" if near is not None else _OTHERS.get(name)
    way = way or f"its decorators are {', '.join(sorted(DECORATORS))}; what handlers share is in worker.state"
    text = f"a worker has no {shorten(name, LONGEST_NAME)!r}: {way}"
    return UnknownAttribute(text)


def check_call(method: F) -> F:
    """Return a decorator of Worker that says in one sentence what is wrong with its arguments."""
    name = method.__name__

    @functools.wraps(method)
    def checked(*args: Any, **fields: Any) -> Any:
        import inspect

        try:
            inspect.signature(method).bind(*args, **fields)
        except TypeError:
            raise _wrong_call(name, args[1:], fields) from None
        if name == "on_event":
            _check_kind(args[1] if len(args) > 1 else fields["kind"])
        return method(*args, **fields)

    return checked  # type: ignore[return-value]  # it takes and returns the same


def _wrong_call(name: str, args: tuple[Any, ...], fields: dict[str, Any]) -> WrongUse:
    """Return the error of a decorator that does not take these arguments."""
    form = _FORMS[name]
    if args and _is_function(args[0]):
        form = form.replace("async def NAME", f"async def {_name_of(args[0])}")
    known = {"every": ["seconds", "minutes", "cron"], "on_event": ["kind"]}.get(name, [])
    for field in fields:
        if field not in known:
            near = closest(field, known)
            way = f"did you mean {near}=?" if near is not None else form
            return WrongUse(f"@worker.{name} takes no {shorten(field, LONGEST_NAME)}=: {way}")
    if name == "every" and args:
        if isinstance(args[0], int | float) and not isinstance(args[0], bool):
            return WrongUse(f"@worker.every takes its rhythm by name: write every(seconds={args[0]!r})")
        if type(args[0]) is str:
            return WrongUse(f"@worker.every takes its rhythm by name: write every(cron={args[0]!r:.60})")
        return WrongUse(f"@worker.every needs a rhythm: {form}")
    if name == "on_event":
        takes = "one kind: one decorator a kind, above each other" if args else f"the kind: {form}"
        return WrongUse(f"@worker.on_event takes {takes}")
    takes = "no arguments" if args else "no parentheses"
    return WrongUse(f"@worker.{name} takes {takes}: {form}")


def _check_kind(kind: object) -> None:
    if isinstance(kind, str):
        return
    if _is_function(kind):
        form = _FORMS["on_event"].replace("NAME", _name_of(kind))
        raise WrongUse(f"@worker.on_event needs the kind: {form}")
    way = (
        "one decorator a kind, above each other"
        if isinstance(kind, list | tuple | set)
        else _FORMS["on_event"]
    )
    raise WrongUse(f"@worker.on_event takes the kind, which is text, and got {kind_of(kind)}: {way}")


def kind_problem(kind: str) -> str | None:
    """Return why a handler of this kind hears nothing, most likely; None where nothing says so."""
    if not kind.strip():
        return "listens to no kind: no event has an empty one"
    if "*" in kind:
        return f"listens to {kind!r:.80} as it stands there, and to no pattern: write one decorator a kind"
    if any(character.isspace() for character in kind):
        return f"listens to {kind!r:.80}, and kinds have no spaces: write {'.'.join(kind.split())!r:.80}"
    from dnworker.core.envelope import is_reserved  # a script that only has handlers checked needs neither
    from dnworker.core.samples import SAMPLES

    if is_reserved(kind) and kind not in SAMPLES:
        near = closest(kind, SAMPLES)
        meant = f"; did you mean {near!r}?" if near is not None else ""
        return f"listens to {kind!r:.80}, which no runtime publishes{meant}"
    return None


def check_async(handler: Any, decorator: str) -> Any:
    """Return a handler that is an `async def` function.

    Raises:
        HandlerNotAsync: it is none; says where it is, and how it becomes one.
        RuleMisplaced: a rule of `dnworker.patterns` on it goes by events, and it gets none.
    """
    import inspect

    if inspect.iscoroutinefunction(handler):
        if not decorator.startswith("on_event"):
            _check_rules(handler, decorator)
        with contextlib.suppress(TypeError):  # an object that no weak reference can name
            registered.add(handler)
        return handler
    takes = f"@worker.{decorator} takes an async function, not"
    if isinstance(handler, functools.partial):
        inner = handler.func
        raise HandlerNotAsync(f"{takes} a partial of {_name_of(inner)!r}{_where(inner)}, which is not async")
    if type(handler) is CoroutineType:
        name = handler.__name__
        raise HandlerNotAsync(f"{takes} a call of it: write {name} in the place of {name}(...)")
    if inspect.isclass(handler):
        raise HandlerNotAsync(f"{takes} the class {_name_of(handler)!r}: decorate an async def function")
    if not _is_function(handler):
        raise HandlerNotAsync(f"{takes} {kind_of(handler)}: decorate an async def function that calls it")
    name, where = _name_of(handler), _where(handler)
    if name == "<lambda>":
        raise HandlerNotAsync(f"{takes} a lambda{where}: write async def NAME(...)")
    if inspect.isasyncgenfunction(handler):
        raise HandlerNotAsync(
            f"@worker.{decorator}: {name!r}{where} has a yield, which nobody iterates over: "
            "publish what it yields: await client.publish(...)"
        )
    raise HandlerNotAsync(f"@worker.{decorator}: {name!r}{where} must be 'async def {name}(...)'")


def note_first_kind(handler: Any, kind: str) -> None:
    """Note by which kind rules tell a handler from another one of its name."""
    import inspect

    with contextlib.suppress(TypeError):  # an object that no weak reference can name
        first_kinds.setdefault(inspect.unwrap(handler), kind)


def _check_rules(handler: Any, decorator: str) -> None:
    """Refuse rules that go by events on a handler that gets none."""
    for rule in getattr(handler, "rules", ()):
        name = rule.partition("(")[0]
        if name in ("batch", "debounce", "once") or "key=..." in rule:
            what = f"{name}(key=...)" if name in ("limit", "throttle") else name
            raise RuleMisplaced(
                f"@{what} goes by events, and @worker.{decorator} gives {_name_of(handler)!r} none; "
                "take it away, or use @worker.on_event(...)"
            )


def how_called(function: Any, decorator: str) -> str | None:
    """Return what is wrong with a handler's parameters; None where it can be called as it will be."""
    import inspect

    wanted = ("event", "client") if decorator in ("on_event", "event") else ("client",)
    try:
        signature = inspect.signature(function)
    except (TypeError, ValueError):  # a callable without a signature
        return None
    try:
        signature.bind(*wanted)
    except TypeError:
        pass
    else:
        return None
    text = f"cannot be called: it must take ({', '.join(wanted)})"
    parameters = [*signature.parameters.values()]
    if parameters and parameters[0].name == "self":
        return f"{text}; it is a method, and handlers are functions: take self out"
    needed = [p.name for p in parameters if p.kind is p.KEYWORD_ONLY and p.default is p.empty]
    if needed:
        return f"{text}, and gets no {', '.join(f'{name}=' for name in needed)}: give it a default"
    return f"{text}, and takes ({', '.join(p.name for p in parameters)})"


def place_of(function: Any) -> str:
    """Return where a function is defined; empty where that is not known."""
    import inspect

    code = getattr(inspect.unwrap(function), "__code__", None)
    return location_of(code.co_filename, code.co_firstlineno) if code is not None else ""


def _where(function: Any) -> str:
    place = place_of(function)
    return f" ({place})" if place else ""


def _is_function(value: object) -> bool:
    import inspect

    return inspect.isroutine(value)


def _name_of(function: Any) -> str:
    return shorten(handler_name(function), LONGEST_NAME)
