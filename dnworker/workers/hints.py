"""`way_out`: how a common mistake that a handler's error shows is put right; the invoker asks, cells too.

Nothing here runs code of the user: objects are looked at by their exact type, and expressions are evaluated
only where that is reading names, keys of dicts and fields of events. The exception stays as it is.
"""

from __future__ import annotations

import ast
import functools
import inspect
import re
import traceback
from collections.abc import Callable, Iterator
from itertools import islice
from types import CoroutineType, FrameType
from typing import Any, NamedTuple

from dnworker.client.client import RuntimeClient
from dnworker.core.envelope import EventEnvelope
from dnworker.core.handler_error import BASE_TRACEBACK, message_of
from dnworker.core.handlers import DECORATORS, handler_name
from dnworker.core.invocation import HandlerWarning, Invocation
from dnworker.core.locations import location_of
from dnworker.core.source_calls import at_line, shown, shown_call
from dnworker.core.text import closest, kind_of, shorten, with_article
from dnworker.core.user_code import NOT_THEIRS, is_library
from dnworker.workers.decorating import how_called, place_of
from dnworker.workers.forgotten import note_told
from dnworker.workers.registry import HandlerRegistry

KEYS_SHOWN = 10
KEYS_LOOKED_AT = 500
NAMES_LOOKED_AT = 2_000
LONGEST_KEY = 40

_FIELDS = EventEnvelope.__struct_fields__
_NAME, _OBJ = AttributeError.__dict__["name"], AttributeError.__dict__["obj"]  # a class may have its own
_MISSING_NAME = NameError.__dict__["name"]
_ARGUMENTS: Any = BaseException.__dict__["args"]
_KEYWORD = re.compile(r"(\w+)\(\) got an unexpected keyword argument '(\w+)'")
_POSITIONAL = re.compile(r"(\w+)\(\) takes .*positional argument")
_UNKNOWN = object()


class _Raised(NamedTuple):
    """Where something was raised: the user's innermost frame and its line."""

    frame: FrameType
    file: str
    line: int
    is_direct: bool = True
    """Whether that frame raised, and not something that it called."""

    def find(self, kind: type[ast.AST], is_it: Callable[[Any], bool]) -> Any:
        """Return the innermost expression of a kind in the line that is meant, or None."""
        found = [node for node in at_line(self.file, self.line) if isinstance(node, kind) and is_it(node)]
        return found[-1] if found else None


def way_out(
    exc: BaseException, handler: Any = None, invocation: Invocation | None = None
) -> HandlerWarning | None:
    """Return how the mistake behind an exception is put right, with its place; None where none is known."""
    raised = _innermost(exc)
    if raised is None:
        return _of_signature(exc, handler, invocation)
    for kind, needs_direct, explain in _EXPLAIN:
        if not issubclass(type(exc), kind) or (needs_direct and not raised.is_direct):
            continue
        if (text := explain(exc, raised)) is not None:
            return HandlerWarning(location_of(raised.file, raised.line), text)
    return None


def way_out_in_cell(exc: BaseException) -> HandlerWarning | None:
    """Likewise, of what a cell raised; only of mistakes with what dnworker gives it."""
    raised = _innermost(exc)
    if raised is None or not raised.is_direct:
        return None
    text, kind = None, type(exc)
    if issubclass(kind, AttributeError):
        is_event = type(_OBJ.__get__(exc)) is EventEnvelope or "EventEnvelope" in message_of(exc)
        is_workers = _NAME.__get__(exc) in DECORATORS
        text = _attribute(exc, raised) if is_event or is_workers else None
    elif issubclass(kind, TypeError):
        explain = (_not_iterable, _subscript, _keyword, _too_many)
        text = next((found for one in explain if (found := one(message_of(exc), raised)) is not None), None)
    elif issubclass(kind, NameError) and _MISSING_NAME.__get__(exc) == "worker":
        text = _name(exc, raised)
    return None if text is None else HandlerWarning(location_of(raised.file, raised.line), text)


def _innermost(exc: BaseException) -> _Raised | None:
    """Return the user's last frame; None where none of the user's code was on the way."""
    found = None
    for frame, line in traceback.walk_tb(BASE_TRACEBACK.__get__(exc)):
        file, module = frame.f_code.co_filename, frame.f_globals.get("__name__", "")
        is_theirs = isinstance(module, str) and module.partition(".")[0] in NOT_THEIRS
        if not is_theirs and not is_library(file):
            found = _Raised(frame, file, line)
        elif found is not None:
            found = found._replace(is_direct=False)
    return found


def _of_signature(exc: BaseException, handler: Any, invocation: Invocation | None) -> HandlerWarning | None:
    """Explain that a handler cannot be called as the runtime calls it."""
    if handler is None or invocation is None or not issubclass(type(exc), TypeError):
        return None
    decorator = invocation.key.decorator if invocation.key is not None else invocation.cause
    if (problem := how_called(handler, decorator)) is None:
        return None
    return HandlerWarning(place_of(handler), f"{handler_name(handler)} {problem}")


# -- attributes and keys -------------------------------------------------------------------------------


def _attribute(exc: BaseException, raised: _Raised) -> str | None:
    name, obj = _NAME.__get__(exc), _OBJ.__get__(exc)
    if message_of(exc) == "immutable type: 'EventEnvelope'":
        return "an event cannot be changed; publish another: await client.publish(...)"
    if type(name) is not str:
        return None
    node = raised.find(ast.Attribute, lambda a: a.attr == name)
    where = shown(node.value) if node is not None else "it"
    if type(obj) is CoroutineType:
        note_told(obj)
        called = shown_call(node.value) if node and isinstance(node.value, ast.Call) else where
        return f"write (await {called}).{name}"
    if type(obj) is dict:
        return _attribute_of_dict(name, obj, where)
    if type(obj) is EventEnvelope:
        return _attribute_of_event(name, obj, where)
    is_workers = hasattr(HandlerRegistry("x"), name)
    if where == "worker" and is_workers and not issubclass(type(obj), HandlerRegistry):
        return f"worker is {kind_of(obj)} here and no Worker: something assigned it; give that another name"
    return None


def _attribute_of_dict(name: str, found: dict[Any, Any], where: str) -> str | None:
    if (near := closest(name, _texts(found), cutoff=0.75)) is not None:
        return f'write {where}["{near}"]'
    if (method := closest(name, [m for m in dir(dict) if m[0] != "_"], cutoff=0.75)) is not None:
        return f"did you mean {where}.{method}?"
    return f'{where} is a dict: write {where}["{name}"]; it has {_keys(found)}'


def _attribute_of_event(name: str, event: EventEnvelope, where: str) -> str | None:
    payload = event.payload
    if type(payload) is dict and name in _texts(payload):
        return f'it is in the payload: write {where}.payload["{name}"]'
    if (near := closest(name, _FIELDS)) is not None:
        return f"did you mean {where}.{near}?"
    return f'what was published is in the payload, and it has {_keys(payload)}: write {where}.payload["..."]'


def _key(exc: BaseException, raised: _Raised) -> str | None:
    arguments = _ARGUMENTS.__get__(exc)
    key = arguments[0] if len(arguments) == 1 else None
    if type(key) is not str:
        return None
    for node in at_line(raised.file, raised.line):
        if not isinstance(node, ast.Subscript):
            continue
        held = _value(node.value, raised.frame)
        wanted = _value(node.slice, raised.frame)
        if type(held) is dict and type(wanted) is str and wanted == key and key not in _texts(held):
            near = closest(key, _texts(held))
            meant = f'; did you mean "{near}"?' if near is not None else ""
            return f'{shown(node.value)} has no "{shorten(key, LONGEST_KEY)}"; it has {_keys(held)}{meant}'
    return None


def _keys(found: dict[Any, Any]) -> str:
    names = [shorten(key, LONGEST_KEY) for key in _texts(found)]
    if not names:
        return "no key yet"
    more = f" and {len(found) - KEYS_SHOWN:,} more" if len(names) > KEYS_SHOWN else ""
    return f"{', '.join(names[:KEYS_SHOWN])}{more}"


def _texts(found: dict[Any, Any]) -> list[str]:
    """Return the first keys of a dict that are text: what is asked of others may run code of theirs."""
    return [key for key in islice(found, KEYS_LOOKED_AT) if type(key) is str]


def _value(node: ast.AST, frame: FrameType) -> object:
    """Return what an expression is, where that is known without running code of the user."""
    match node:
        case ast.Constant(value=value):
            return value
        case ast.Name(id=name):
            return frame.f_locals.get(name, frame.f_globals.get(name, _UNKNOWN))
        case ast.Attribute(value=inner, attr=name):
            held = _value(inner, frame)
            if type(held) is EventEnvelope and name in _FIELDS:
                return getattr(held, name)
            if name == "state" and issubclass(type(held), HandlerRegistry):
                return held.state  # type: ignore[attr-defined]  # a property of ours, or a dict
            return _UNKNOWN
        case ast.Subscript(value=inner, slice=part):
            held, key = _value(inner, frame), _value(part, frame)
            if type(held) is dict and type(key) is str:
                return next((held[k] for k in _texts(held) if k == key), _UNKNOWN)
            if type(held) is list and type(key) is int and -len(held) <= key < len(held):
                return held[key]
    return _UNKNOWN


# -- what cannot be done with a value ------------------------------------------------------------------


def _type(exc: BaseException, raised: _Raised) -> str | None:
    text = message_of(exc)
    return next((found for explain in _TYPES if (found := explain(text, raised)) is not None), None)


def _not_awaitable(text: str, raised: _Raised) -> str | None:
    """`await client.server_url`, `await print()`, `await client.subscribe()`."""
    match = re.search(r"object (\w+) can't be used in 'await' expression", text)
    match = match or re.search(r"'(\w+)' object can't be awaited", text)
    if match is None:
        return None
    node = raised.find(ast.Await, lambda a: True)
    what = None if node is None else node.value
    if match[1] == "async_generator":
        return _loop_over(what)
    if match[1] == "list" and isinstance(what, ast.List | ast.ListComp):
        return "write await asyncio.gather(*[...]) to await several"
    if isinstance(what, ast.Call):
        return f"{shown_call(what)} is not async: write it without await"
    return f"{'it' if what is None else shown(what)} is {with_article(match[1])}: write it without await"


def _not_iterable(text: str, raised: _Raised) -> str | None:
    """`for x in client.stream_chat(...)`, `async with client.subscribe(...)`, `async for x in await ...`."""
    if "async_generator" in text and ("iterable" in text or "context manager" in text):
        node = raised.find(ast.For | ast.AsyncWith | ast.With | ast.comprehension, lambda n: True)  # type: ignore[arg-type]
        if isinstance(node, ast.For | ast.comprehension):
            return _loop_over(node.iter)
        return _loop_over(None if node is None else node.items[0].context_expr)
    if "_AsyncGeneratorContextManager" in text and "context manager" in text:
        node = raised.find(ast.With, lambda n: True)
        what = "..." if node is None else _call_or_name(node.items[0].context_expr)
        return f"write async with {what}:"
    match = re.search(r"requires an object with __aiter__ method, got (\w+)", text)
    if match is not None:
        node = raised.find(ast.AsyncFor, lambda n: True)
        what = "it" if node is None else _call_or_name(node.iter)
        if match[1] == "coroutine":
            return f"write for ... in await {what}:"
        return f"{what} is {with_article(match[1])}: write for in the place of async for"
    return None


def _of_coroutine(text: str, raised: _Raised) -> str | None:
    """`client.list_sessions()[0]`, `for x in client.list_sessions()`."""
    if "'coroutine' object is not" in text or "argument of type 'coroutine'" in text:
        node = raised.find(ast.Call, lambda c: True)
        what = "it" if node is None else shown_call(node)
        return f"write (await {what}) in the place of {what}"
    return None


def _subscript(text: str, raised: _Raised) -> str | None:
    """`event["turn_id"]`."""
    if "'EventEnvelope' object is not subscriptable" not in text:
        return None
    for node in at_line(raised.file, raised.line):
        if isinstance(node, ast.Subscript):
            event, where = _value(node.value, raised.frame), shown(node.value)
            key = _value(node.slice, raised.frame)
            if type(event) is EventEnvelope:
                if key in _FIELDS and key not in _texts(event.payload):
                    return f"write {where}.{key}"
                return f"write {where}.payload[{shown(node.slice)}]".replace("'", '"')
    return None


def _keyword(text: str, raised: _Raised) -> str | None:
    """`client.publish("kind", {}, session="x")`."""
    match = _KEYWORD.search(text)
    if match is None:
        return None
    method = getattr(RuntimeClient, match[1], None)
    if method is None or not _is_called_on_client(match[1], raised):
        return None
    known = [name for name in inspect.signature(method).parameters if name != "self"]
    near = closest(match[2], known)
    if near is not None:
        return f"did you mean {near}=?"
    return f"client.{match[1]} takes {', '.join(known)}"


def _too_many(text: str, raised: _Raised) -> str | None:
    """`client.notify("title", "body")`."""
    match = _POSITIONAL.search(text)
    method = None if match is None else getattr(RuntimeClient, match[1], None)
    if match is None or method is None or not _is_called_on_client(match[1], raised):
        return None
    named = [p for p in inspect.signature(method).parameters.values() if p.kind is p.KEYWORD_ONLY]
    if not named:
        return None
    return f"client.{match[1]} takes these by name: {', '.join(f'{p.name}=...' for p in named[:KEYS_SHOWN])}"


def _is_called_on_client(name: str, raised: _Raised) -> bool:
    node = raised.find(ast.Call, lambda c: isinstance(c.func, ast.Attribute) and c.func.attr == name)
    return node is not None


def _loop_over(what: ast.AST | None) -> str:
    call = "..." if what is None else _call_or_name(what)
    return f"write async for ... in {call}:"


def _call_or_name(node: ast.AST) -> str:
    return shown_call(node) if isinstance(node, ast.Call) else shown(node)


_TYPES: tuple[Callable[[str, _Raised], str | None], ...] = (
    _not_awaitable,
    _not_iterable,
    _of_coroutine,
    _subscript,
    _keyword,
    _too_many,
)


# -- loops, names --------------------------------------------------------------------------------------


def _runtime(exc: BaseException, raised: _Raised) -> str | None:
    text = message_of(exc)
    for part, function in (
        ("asyncio.run() cannot be called from a running event loop", "run"),
        ("This event loop is already running", "run_until_complete"),
        ("Cannot run the event loop while another loop is running", "run_until_complete"),
    ):
        if part not in text:
            continue
        node = raised.find(ast.Call, functools.partial(_calls, function))
        _note_coroutines_told(exc)
        what = "..." if node is None else _call_or_name(node.args[0])
        instead = "it" if node is None else shown_call(node)
        return f"the loop runs already: write await {what} in the place of {instead}"
    return None


def _note_coroutines_told(exc: BaseException) -> None:
    """Have Python say nothing more of coroutines that were given to a loop that runs already."""
    for frame, _ in traceback.walk_tb(BASE_TRACEBACK.__get__(exc)):
        if is_library(frame.f_code.co_filename):
            for value in frame.f_locals.values():
                if type(value) is CoroutineType:
                    note_told(value)


def _calls(method: str, call: ast.Call) -> bool:
    return isinstance(call.func, ast.Attribute) and call.func.attr == method and bool(call.args)


def _name(exc: BaseException, raised: _Raised) -> str | None:
    name = _MISSING_NAME.__get__(exc)
    if type(name) is not str or issubclass(type(exc), UnboundLocalError):
        return None
    if name == "worker":
        return "no cell has made a worker of that name: begin the cell by %%worker NAME"
    known = [one for one in islice(_names_in(raised.frame), NAMES_LOOKED_AT) if one[:1] != "_"]
    near = closest(name, known, cutoff=0.75)
    return None if near is None else f"did you mean {near}?"


def _names_in(frame: FrameType) -> Iterator[str]:
    yield from frame.f_locals
    yield from list(frame.f_globals)


_EXPLAIN: tuple[tuple[type[BaseException], bool, Callable[[BaseException, _Raised], str | None]], ...] = (
    (AttributeError, True, _attribute),
    (KeyError, True, _key),
    (TypeError, True, _type),
    (RuntimeError, False, _runtime),
    (NameError, True, _name),
)
