"""What runtimes that share a broker say to each other about a session: requests and answers, as bytes.

`shared.py` sends and answers them. One is a megabyte at most, in either direction.
"""

from __future__ import annotations

from typing import Any

import msgspec

from dnworker.core.errors import (
    ApiError,
    Conflict,
    Gone,
    Invalid,
    NotFound,
    NotStored,
    TooLarge,
    Unavailable,
)
from dnworker.events.brokers.messages import subject_token

LARGEST = 1_000_000
"""Bytes of a request, and of an answer."""

_ERRORS: dict[int, type[ApiError]] = {
    one.status: one for one in (NotFound, Conflict, Gone, TooLarge, Invalid, Unavailable, NotStored)
}


class Request(msgspec.Struct, kw_only=True, omit_defaults=True):
    """What is to be done with a session where it runs."""

    op: str
    session_id: str
    fields: dict[str, Any] = {}


class Answer(msgspec.Struct, kw_only=True, omit_defaults=True):
    """What became of it: a value, or the error with which it would be refused in this runtime, too."""

    value: Any = None
    status: int = 0
    """Of the error; 0 where there is none."""
    detail: Any = None
    code: str | None = None
    """Of the error's kind; None from a node of an earlier version."""
    is_elsewhere: bool = False
    """Whether the session does not run there any more."""

    def result(self) -> Any:
        """Return the value.

        Raises:
            ApiError: it was refused, as it would be by this runtime.
        """
        if self.status:
            kind = _ERRORS.get(self.status)
            error = (ApiError if kind is None else kind)(self.detail, code=self.code)
            error.status = self.status
            raise error
        return self.value


def lease_name(session_id: str) -> str:
    """Return the name of the lease of a session, which is the subject of its requests, too."""
    return f"session.{subject_token(session_id)}"


def encode_request(request: Request) -> bytes:
    """Return a request as bytes.

    Raises:
        TooLarge: it is more than a megabyte.
    """
    data = msgspec.json.encode(request)
    if len(data) > LARGEST:
        text = (
            f"the request is {len(data):,} bytes; session {request.session_id!r:.60} runs on another node, "
        )
        raise TooLarge(f"{text}which gets at most {LARGEST:,}: send it to that node")
    return data


def encode_answer(answer: Answer) -> bytes:
    """Return an answer as bytes; one that is too large is an error instead."""
    data = msgspec.json.encode(answer)
    if len(data) <= LARGEST:
        return data
    text = f"the answer is {len(data):,} bytes; nodes send each other at most {LARGEST:,}: ask the other node"
    return msgspec.json.encode(Answer(status=TooLarge.status, detail=text, code=TooLarge.code))


def decode_answer(data: bytes) -> Answer:
    """Return an answer.

    Raises:
        Unavailable: it is none.
    """
    try:
        return msgspec.json.decode(data, type=Answer)
    except msgspec.MsgspecError as exc:
        raise Unavailable(f"another node answers what this one cannot read: {exc}", code="DN813") from exc
