"""Endpoints as data: one declaration gives the route, the check of what comes in, and the OpenAPI entry."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, get_origin
from urllib.parse import unquote

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from dnworker.server.responses import JSONResponse, invalid, read_object

if TYPE_CHECKING:
    from dnworker.runtime import Runtime

ESCAPED_SLASH = "\udc2f"
"""Stands for a `%2F` inside one segment while the routes are matched: an id may hold a slash."""


class Fields(msgspec.Struct, kw_only=True, forbid_unknown_fields=False):
    """The base of bodies and queries; `aliases` are other spellings of a field that are taken too."""

    aliases: ClassVar[dict[str, str]] = {}


@dataclass(frozen=True, slots=True)
class Call:
    """One request, checked: what the path, the query and the body said."""

    runtime: Runtime
    request: Request
    path: dict[str, str]
    query: Any
    body: Any


Handler = Callable[[Call], Any]


@dataclass(frozen=True)
class Endpoint:
    """One operation of the API.

    `answer` is the type of a 200 body; `errors` are the statuses of refusals beside 401, 403 and 422.
    """

    method: str
    path: str
    handler: Handler
    query: type[Fields] | None = None
    body: type[Fields] | None = None
    answer: Any = dict[str, Any]
    errors: tuple[int, ...] = ()

    @property
    def summary(self) -> str:
        """The first line of the handler's docstring."""
        return (inspect.getdoc(self.handler) or "").partition("\n")[0]

    def route(self) -> Route:
        """Return it as a route of Starlette."""
        return Route(self.path, self._serve, methods=[self.method])

    async def _serve(self, request: Request) -> Response:
        query = None if self.query is None else read_query(request, self.query)
        body = None if self.body is None else check(await read_object(request), self.body, "body")
        path = {k: v.replace(ESCAPED_SLASH, "/") for k, v in request.path_params.items()}
        answer = self.handler(Call(request.app.state.runtime, request, path, query, body))
        if inspect.isawaitable(answer):
            answer = await answer
        return answer if isinstance(answer, Response) else JSONResponse(answer)


def endpoint(method: str, path: str, **declared: Any) -> Callable[[Handler], Endpoint]:
    """Make an Endpoint of the function below; the arguments are Endpoint's fields."""
    return lambda handler: Endpoint(method, path, handler, **declared)


def keep_escaped_slashes(raw_path: bytes) -> str:
    """Decode a path segment by segment, so that an escaped slash does not end one.

    The result is what routes are matched against; bytes that are no UTF-8 become replacement characters.
    """
    segments = raw_path.decode("latin-1").split("/")
    return "/".join(unquote(segment).replace("/", ESCAPED_SLASH) for segment in segments)


def read_query(request: Request, into: type[Fields]) -> Any:
    """Return the query's fields.

    Raises:
        Invalid: one is missing, or not what it must be; unknown ones are ignored.
    """
    given: dict[str, Any] = {}
    for declared in msgspec.structs.fields(into):
        values = request.query_params.getlist(declared.encode_name)
        if values:
            many = get_origin(declared.type) is list
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
_PLACE = re.compile(r" - at `\$\.?([^`]*)`$")
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


def _as_invalid(message: str, where: str, given: dict[str, Any]) -> Exception:
    place = _PLACE.search(message)
    sentence = message[: place.start()] if place else message
    path: list[str | int] = [where]
    for part in re.findall(r"[^.\[\]]+", place.group(1) if place else ""):
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
