"""Reads and writes bodies: JSON by msgspec, and errors in the shapes of contract 6.1."""

from __future__ import annotations

from typing import Any

import msgspec
from starlette.requests import ClientDisconnect
from starlette.responses import Response
from starlette.types import Receive, Send

from dnworker.core.envelope import MAX_PAYLOAD_BYTES
from dnworker.core.errors import CODE_HEADER, Invalid, TooLarge
from dnworker.server.answers import send_whole

MAX_BODY_BYTES = MAX_PAYLOAD_BYTES + 100_000


class JSONResponse(Response):
    """A response whose body is the JSON of anything msgspec can encode."""

    media_type = "application/json"

    def render(self, content: Any) -> bytes:
        """Encode the body."""
        return msgspec.json.encode(content)


def error(status: int, detail: object) -> JSONResponse:
    """Return an error in the API's shape: `{"detail": ...}`."""
    headers = {"WWW-Authenticate": "Bearer", CODE_HEADER: "DN904"} if status == 401 else None
    return JSONResponse({"detail": detail}, status, headers)


async def send_json(
    send: Send, status: int, content: object, code: str | None = None, retry_after: int | None = None
) -> None:
    """Send an answer, with no more in between than it needs; a refusal may have a code, and a time."""
    body = msgspec.json.encode(content)
    headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(body))]
    if code is not None:
        headers.append((CODE_HEADER.encode(), code.encode()))
    if retry_after is not None:
        headers.append((b"retry-after", b"%d" % retry_after))
    if send_whole(send, status, headers, body):
        return
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


async def read_body(receive: Receive, limit: int = MAX_BODY_BYTES) -> bytes:
    """Return the request's body, of at most `limit` bytes.

    Raises:
        TooLarge: it is over the limit; reading stops there.
        ClientDisconnect: the client has gone before its end.
    """
    body: bytes | bytearray = b""
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ClientDisconnect
        part: bytes = message.get("body", b"")
        if len(body) + len(part) > limit:
            raise TooLarge(f"the body is over {limit:,} bytes")
        is_last = not message.get("more_body", False)
        if is_last and not body:
            return part  # most come in one
        body = bytearray(body) if isinstance(body, bytes) else body
        body += part
        if is_last:
            return bytes(body)


def read_object(body: bytes) -> dict[str, Any]:
    """Return a body as the JSON object that it must be; an empty body is an empty object.

    Raises:
        Invalid: it is no JSON object.
    """
    if not body:
        return {}
    try:
        value = msgspec.json.decode(body)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as exc:
        raise invalid("json_invalid", ["body"], f"the body is not JSON: {exc}") from exc
    if not isinstance(value, dict):
        raise invalid("model_attributes_type", ["body"], "the body must be a JSON object", value)
    return value


def invalid(type_: str, location: list[str | int], message: str, value: object = None) -> Invalid:
    """Make the 422 of one field."""
    return Invalid([{"type": type_, "loc": location, "msg": message, "input": value}])
