"""Bodies in and out: JSON by msgspec, errors in the shapes of contract 6.1."""

from __future__ import annotations

from typing import Any

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from dnworker.errors import ApiError, Invalid, TooLarge
from dnworker.events import MAX_PAYLOAD_BYTES

MAX_BODY_BYTES = MAX_PAYLOAD_BYTES + 100_000


class JSONResponse(Response):
    """A response whose body is the JSON of anything msgspec can encode."""

    media_type = "application/json"

    def render(self, content: Any) -> bytes:
        """Encode the body."""
        return msgspec.json.encode(content)


def error(status: int, detail: object) -> JSONResponse:
    """Return an error in the API's shape: `{"detail": ...}`."""
    headers = {"WWW-Authenticate": "Bearer"} if status == 401 else None
    return JSONResponse({"detail": detail}, status, headers)


async def api_error(_: Request, exc: Exception) -> Response:
    """Answer a refused operation."""
    assert isinstance(exc, ApiError)
    return error(exc.status, exc.detail)


async def read_object(request: Request) -> dict[str, Any]:
    """Return the request's body, which must be a JSON object; an empty body is an empty object.

    Raises:
        TooLarge: the body is over the limit; reading stops there.
        Invalid: it is no JSON object.
    """
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > MAX_BODY_BYTES:
            raise TooLarge(f"the body is over {MAX_BODY_BYTES:,} bytes")
    if not body:
        return {}
    try:
        value = msgspec.json.decode(bytes(body))
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as exc:
        raise invalid("json_invalid", ["body"], f"the body is not JSON: {exc}") from exc
    if not isinstance(value, dict):
        raise invalid("model_attributes_type", ["body"], "the body must be a JSON object", value)
    return value


def invalid(type_: str, place: list[str | int], message: str, value: object = None) -> Invalid:
    """Make the 422 of one field."""
    return Invalid([{"type": type_, "loc": place, "msg": message, "input": value}])
