"""`Connection`: the interface of `RuntimeClient` to a runtime; `http` and `engine/direct` implement it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Collection, Mapping
from typing import TYPE_CHECKING, Any, Protocol
from urllib.parse import quote

import msgspec

from dnworker.core.envelope import EventEnvelope
from dnworker.core.errors import CODE_HEADER, Invalid
from dnworker.core.not_json import why_not_json
from dnworker.core.text import is_valid_text, shorten

if TYPE_CHECKING:
    import httpx


class TurnEvents(Protocol):
    """The events of one turn, in order, up to its terminal one."""

    turn_id: str

    def __aiter__(self) -> AsyncIterator[EventEnvelope]:
        """Iterate over them; dropping the iterator leaves the turn running."""
        ...

    def close(self) -> None:
        """Receive no more of them."""


class Connection(Protocol):
    """The operations of a runtime.

    A refused operation raises `httpx.HTTPStatusError` on both transports, so that a handler that catches
    one works unchanged when its worker moves to another topology; a refused command of the interactive
    socket raises `CommandError`.
    """

    has_groups: bool
    """Whether session groups may exist; opening one is left out when not."""

    async def start(self) -> None:
        """Return when the runtime is ready; raise RuntimeUnavailable when it cannot be reached."""

    async def close(self) -> None:
        """Close all sockets; may be called again."""

    async def request(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, Any] | None = None,
        body: object = None,
        timeout: float | None = None,
    ) -> Any:
        """Call an endpoint of the API and return its JSON."""
        ...

    async def publish(
        self, kind: str, payload: dict[str, Any], session_id: str | None, dedupe: str | None = None
    ) -> dict[str, Any]:
        """Publish and return `{event_id, seq}`; with `dedupe`, whether it is a `duplicate`, too."""
        ...

    async def begin_once(self, key: str, claim: str) -> bool:
        """Return whether the body of a key is to run here, as soon as nobody else runs it.

        `claim` is an id of the caller's for this attempt; where it is to run, `end_once` must follow.
        """
        ...

    async def end_once(self, claim: str, *, done: bool) -> None:
        """Leave the body: with `done` it runs no more for a day, else the next may run it."""

    def events(self, kinds: Collection[str]) -> AsyncIterator[EventEnvelope]:
        """Iterate over live events of these kinds; over all when there are none."""
        ...

    async def start_turn(self, session_id: str, fields: dict[str, Any]) -> TurnEvents:
        """Start a turn; returns when it is accepted. The session is created if need be."""
        ...

    async def cancel_turn(self, session_id: str, fields: dict[str, Any]) -> str:
        """Cancel a turn; returns `cancelled` or `idle`."""
        ...

    async def respond(self, session_id: str, fields: dict[str, Any]) -> None:
        """Answer a question or a permission of a turn."""

    async def watch(self, session_id: str) -> None:
        """Receive the session's events; it is created if need be."""

    async def unwatch(self, session_id: str) -> None:
        """Receive the session's events no longer."""


def in_path(*names: str) -> str:
    """Return names as the segments of an endpoint's path.

    Raises:
        Invalid: one is empty, `.` or `..`, by which the path would be another one; or it is no text.
    """
    for name in names:
        if not is_valid_text(name):
            raise Invalid(
                f"the name {shorten(name, 40)!r} has a lone surrogate, which is not text", code="DN912"
            )
        if name in ("", ".", ".."):
            raise Invalid(
                f"{name!r} names nothing; give a name or an id that is not empty, '.' or '..'", code="DN912"
            )
    return "/".join(quote(name, safe="") for name in names)


def encode_fields(fields: object) -> bytes:
    """Return what a request says, as JSON.

    Raises:
        Invalid: a text of it has no form in UTF-8; names the field.
    """
    try:
        return msgspec.json.encode(fields)
    except UnicodeEncodeError:
        raise Invalid(
            _first_no_text(fields) or "the request has a lone surrogate, which is not text", code="DN912"
        ) from None


def checked(query: Mapping[str, Any] | None) -> Mapping[str, Any] | None:
    """Return the query of a request, or what else has texts that are sent.

    Raises:
        Invalid: a text of it has no form in UTF-8; names the field.
    """
    if (why := _first_no_text(query or {})) is not None:
        raise Invalid(why, code="DN912")
    return query


def _first_no_text(fields: object) -> str | None:
    plain = msgspec.to_builtins(fields)
    named = plain.items() if isinstance(plain, dict) else ()
    return next((why for name, value in named if (why := why_not_json(value, str(name))) is not None), None)


def read_answer(response: httpx.Response) -> Any:
    """Return the JSON of an answer.

    Raises:
        httpx.HTTPStatusError: it is a refusal; the message has the runtime's detail beside the status. Or it
            is a redirect, which no endpoint of a runtime answers; the message has where it leads.
    """
    if response.is_success:
        return msgspec.json.decode(response.content)
    request = response.request
    if response.is_redirect:
        where = response.headers.get("location", "nowhere")
        detail = f"this leads to {where}, and no runtime sends a client elsewhere; is it a runtime's address?"
    else:
        detail = _detail(response)
    import httpx  # where it is not yet: it takes long

    code = response.headers.get(CODE_HEADER)
    message = f"{response.status_code} from {request.method} {request.url.path}: {detail}"
    message += "" if code is None else f" ({code})"
    raise httpx.HTTPStatusError(message, request=request, response=response)


def _detail(response: httpx.Response) -> Any:
    """Return why the runtime refused."""
    try:
        body = response.json()
        return body["detail"] if "detail" in body else body["error"]
    except (ValueError, KeyError, TypeError):
        return response.text[:200]
