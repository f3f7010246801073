"""Endpoints as data: one declaration gives the route, the check of what comes in, and the OpenAPI entry."""

from __future__ import annotations

import contextlib
import inspect
import re
from collections.abc import Callable
from functools import cached_property
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, get_origin
from urllib.parse import unquote

import msgspec
from starlette.datastructures import QueryParams
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from dnworker.core.errors import ApiError, Stopping, code_of
from dnworker.core.invocation import current_invocation, note_request, published_with, read_traceparent
from dnworker.server import diverted
from dnworker.server.responses import invalid, read_body, read_object, send_json
from dnworker.server.rights import Right, demand

if TYPE_CHECKING:
    from dnworker.engine.engine import Engine

ESCAPED_SLASH = "\udc2f"
"""Stands for a `%2F` inside one segment while the routes are matched: an id may hold a slash."""


class Fields(msgspec.Struct, kw_only=True, forbid_unknown_fields=False):
    """The base of bodies and queries; `aliases` are other spellings of a field that are taken too."""

    aliases: ClassVar[dict[str, str]] = {}


class ApiCall(msgspec.Struct, frozen=True):
    """One request, checked: what the path, the query and the body of `size` bytes said."""

    engine: Engine
    scope: Scope
    receive: Receive
    path: dict[str, str]
    query: Any
    body: Any
    size: int = 0


Handler = Callable[[ApiCall], Any]


class Endpoint(msgspec.Struct, frozen=True, dict=True):
    """One operation of the API.

    `answer` is the type of a 200 body; `errors` are the statuses of refusals beside 401, 403 and 422; `right`
    is what a caller must have, None when anybody may call.
    """

    method: str
    path: str
    handler: Handler
    query: type[Fields] | None = None
    body: type[Fields] | None = None
    answer: Any = dict[str, Any]
    errors: tuple[int, ...] = ()
    right: Right | None = Right.OPERATE
    media: str = "application/json"
    """What a 200 body is; anything but JSON is a `Response` of the handler's."""
    raw: str | None = None
    """The media type of a body that is no JSON, and that the handler itself reads."""
    session: Literal["", "live", "any"] = ""
    """Whether it is served where its session runs, and whether there must be one: `live`."""

    @property
    def summary(self) -> str:
        """The first line of the handler's docstring."""
        return (inspect.getdoc(self.handler) or "").partition("\n")[0]

    @property
    def is_fixed(self) -> bool:
        """Whether its path has no parameter, so that it is found without a search."""
        return "{" not in self.path

    def route(self) -> Route:
        """Return it as a route of Starlette."""
        return Route(self.path, self, methods=[self.method])

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request: an ASGI application."""
        status, code, retry_after = 200, None, None
        if "traceparent" in scope:  # each request has a task of its own, and so a context
            _note_cause(scope, scope["traceparent"])
        try:
            answer = await self._answer(scope, receive)
        except ApiError as exc:
            status, answer, code = exc.status, {"detail": exc.detail}, code_of(exc)
            retry_after = exc.retry_after if isinstance(exc, Stopping) else None
        else:
            if self.method != "GET" and not self.path.startswith(_TOLD):
                note_request(f"requests {self.method} {scope['path']}")
        if isinstance(answer, Response):
            await answer(scope, receive, send)
        else:
            await send_json(send, status, answer, code, retry_after)

    async def _answer(self, scope: Scope, receive: Receive) -> Any:
        if self.right is not None and scope.get("worker") is not None:
            demand(scope, self.right, scope["engine"].tokens)
            if (route := diverted.route_of(scope)) is not None:
                return await diverted.answer(route, scope, receive)
        query = None if self.query is None else read_query(scope, self.query)
        raw = b"" if self.body is None else await read_body(receive)
        body = None if self.body is None else self._read(raw, self.body)
        path = {}
        if named := scope.get("path_params"):
            path = {k: v.replace(ESCAPED_SLASH, "/") for k, v in named.items()}
        call = ApiCall(scope["engine"], scope, receive, path, query, body, len(raw))
        if self.session and call.engine.commands.shared.is_on:
            return await where_it_runs(call, self, raw)
        answer = self.handler(call)
        return await answer if self._is_async else answer

    def _read(self, body: bytes, shape: type[Fields]) -> Any:
        """Return the body as its struct; what is wrong with it is worked out only when something is."""
        if body and not shape.aliases:
            with contextlib.suppress(msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
                return self._decoder.decode(body)
        return check(read_object(body), shape, "body")

    @cached_property
    def _is_async(self) -> bool:
        return inspect.iscoroutinefunction(self.handler)

    @cached_property
    def _decoder(self) -> Any:
        return msgspec.json.Decoder(self.body)


class _Here:
    """What a handler of this runtime has answered."""

    def __init__(self, answer: Any) -> None:
        self.answer = answer


async def where_it_runs(call: ApiCall, endpoint: Endpoint, body: bytes) -> Any:
    """Serve a call on the node that runs its session: this one, if no other does."""
    shared = call.engine.commands.shared
    session_id = call.path.get("session_id") or getattr(call.body, "session_id", None)

    async def here() -> _Here:
        answer = endpoint.handler(call)
        return _Here(await answer if endpoint._is_async else answer)

    if not session_id:
        return (await here()).answer
    if endpoint.session == "live":
        await shared.find(session_id)
    path = call.scope.get("raw_path") or call.scope["path"].encode()
    if query := call.scope["query_string"]:
        path = path.partition(b"?")[0] + b"?" + query
    request = {
        "method": endpoint.method,
        "path": path.decode("latin-1"),
        "body": body.decode("utf-8", "replace"),
    }
    answered = await shared.call(session_id, "api", request, here)
    if isinstance(answered, _Here):
        return answered.answer
    return Response(answered["body"], answered["status"], media_type="application/json")


def endpoint(method: str, path: str, **declared: Any) -> Callable[[Handler], Endpoint]:
    """Make an Endpoint of the function below; the arguments are Endpoint's fields."""
    return lambda handler: Endpoint(method, path, handler, **declared)


def keep_escaped_slashes(raw_path: bytes) -> str:
    """Decode a path segment by segment, so that an escaped slash does not end one.

    The result is what routes are matched against; bytes that are no UTF-8 become replacement characters.
    """
    segments = raw_path.decode("latin-1").split("/")
    return "/".join(unquote(segment).replace("/", ESCAPED_SLASH) for segment in segments)


def read_query(scope: Scope, into: type[Fields]) -> Any:
    """Return the query's fields.

    Raises:
        Invalid: one is missing, or not what it must be; unknown ones are ignored.
    """
    params = QueryParams(scope["query_string"])
    given: dict[str, Any] = {}
    for declared in msgspec.structs.fields(into):
        values = params.getlist(declared.encode_name)
        if values:
            type_ = declared.type.__origin__ if get_origin(declared.type) is Annotated else declared.type
            many = get_origin(type_) is list
            given[declared.encode_name] = values if many else values[-1]
    return check(given, into, "query", strict=False)


def check(given: dict[str, Any], into: type[Fields], where: str, *, strict: bool = True) -> Any:
    """Return `given` as the struct `into`.

    Raises:
        Invalid: the first field that is wrong, in the shape of contract 6.1.
    """
    if into.aliases:
        given = {into.aliases.get(name, name): value for name, value in given.items()}
    try:
        return msgspec.convert(given, into, strict=strict)
    except msgspec.ValidationError as exc:
        raise _as_invalid(str(exc), where, given) from exc


_MISSING = re.compile(r"Object missing required field `([^`]+)`")
_LOCATION = re.compile(r" - at `\$\.?([^`]*)`$")
_EXPECTED = re.compile(r"Expected `([^`]+)`")
_BOUNDS = (
    (r"of length >=", "string_too_short"),
    (r"of length <=", "string_too_long"),
    (r"` >=", "greater_than_equal"),
    (r"` >", "greater_than"),
    (r"` <=", "less_than_equal"),
    (r"Invalid enum value", "literal_error"),
)
_TYPES = {
    "str": "string_type",
    "array": "list_type",
    "object": "dict_type",
    "int": "int_type",
    "float": "float_type",
    "bool": "bool_type",
    "null": "none_required",
}


_TOLD = ("/api/events", "/api/once", "/api/state", "/api/ws/", "/api/session-groups")
"""Paths of what is told in another way, or done for a worker by its process."""


def _note_cause(scope: Scope, traceparent: str) -> None:
    """Have what a request publishes go on with the trace that it names: of a handler, or from elsewhere."""
    worker: str | None = scope.get("worker")
    cause = None if worker is None else scope["engine"].capabilities.cause_of(worker, traceparent)
    current_invocation.set(cause)
    if cause is None and len(traceparent) <= 256 and read_traceparent(traceparent) is not None:
        published_with.set(traceparent)


def _as_invalid(message: str, where: str, given: dict[str, Any]) -> Exception:
    location = _LOCATION.search(message)
    sentence = message[: location.start()] if location else message
    path: list[str | int] = [where]
    for part in re.findall(r"[^.\[\]]+", location.group(1) if location else ""):
        path.append(int(part) if part.isdigit() else part)
    if missing := _MISSING.search(sentence):
        return invalid("missing", [*path, missing.group(1)], "Field required", given)
    expected = _EXPECTED.search(sentence)
    wanted = expected.group(1).partition(" ")[0] if expected else ""
    kind = next((kind for pattern, kind in _BOUNDS if re.search(pattern, sentence)), None)
    return invalid(kind or _TYPES.get(wanted, "value_error"), path, sentence, _value_at(given, path[1:]))


def _value_at(value: Any, path: list[str | int]) -> Any:
    for step in path:
        try:
            value = value[step]
        except (KeyError, IndexError, TypeError):
            return None
    return value
