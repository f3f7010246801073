"""Answers that go out as a whole are those that uvicorn would send in two steps."""

from __future__ import annotations

import re

import pytest

from dnworker import Runtime
from dnworker.core.errors import Unavailable
from dnworker.core.limits import Limits

from .raw import exchange

HOST, TOKEN = b"Host: localhost\r\n", b"Authorization: Bearer s3cret\r\n"
CLOSE, JSON = b"Connection: close\r\n", b"Content-Type: application/json\r\n"
EVENT = b'{"kind":"demo.greeted"}'

REQUESTS = {
    "an answer": b"GET /api/runtime HTTP/1.1\r\n" + HOST + TOKEN + CLOSE + b"\r\n",
    "an answer that a client of HTTP 1.0 gets": b"GET /api/runtime HTTP/1.0\r\n" + TOKEN + b"\r\n",
    "a head": b"HEAD /api/runtime HTTP/1.1\r\n" + HOST + TOKEN + CLOSE + b"\r\n",
    "a refusal": b"GET /api/sessions/nobody HTTP/1.1\r\n" + HOST + TOKEN + CLOSE + b"\r\n",
    "a body that is no JSON": b"POST /api/events HTTP/1.1\r\n"
    + HOST
    + TOKEN
    + JSON
    + CLOSE
    + b"Content-Length: 1\r\n\r\n{",
    "what waits to be told to go on": b"POST /api/ws/ticket HTTP/1.1\r\n"
    + HOST
    + TOKEN
    + b"Expect: 100-continue\r\nContent-Length: 2\r\n\r\n{}",
    "two that come at once": (b"GET /api/health HTTP/1.1\r\n" + HOST + b"\r\n") * 2,
    "an event, and what follows it": b"POST /api/events HTTP/1.1\r\n"
    + HOST
    + TOKEN
    + JSON
    + b"Content-Length: %d\r\n\r\n" % len(EVENT)
    + EVENT
    + b"GET /api/health HTTP/1.1\r\n"
    + HOST
    + CLOSE
    + b"\r\n",
}

CHANGES = re.compile(
    rb'date: [^\r]*|content-length: \d+|"(event_id|ticket|expires_at)":"[^"]*"|"seq":\d+|\d+\.\d+(?=[,}])'
)
"""What differs between two answers to the same request."""


@pytest.fixture
async def runtime(monkeypatch):
    monkeypatch.setattr("dnworker.server.embedded.IDLE_SECONDS", 0.05)
    limits = Limits(header_seconds=0.2, body_seconds=0.5)
    async with Runtime(port=0, token="s3cret", limits=limits) as runtime:
        yield runtime


@pytest.mark.parametrize("name", REQUESTS)
async def test_an_answer_that_is_sent_as_a_whole_is_the_same_as_in_two_steps(runtime, monkeypatch, name):
    whole = await exchange(runtime, REQUESTS[name])
    monkeypatch.setattr("dnworker.server.responses.send_whole", lambda *_: False)
    in_steps = await exchange(runtime, REQUESTS[name])
    assert b"HTTP/1.1 " in whole
    assert CHANGES.sub(b"", whole) == CHANGES.sub(b"", in_steps)


async def test_a_status_that_no_standard_names_is_answered_as_any_other(runtime, monkeypatch):
    def refuse() -> None:
        refusal = Unavailable("as a proxy before the runtime that this one is attached to says it")
        refusal.status = 520
        raise refusal

    monkeypatch.setattr(runtime, "info", refuse)
    assert b"HTTP/1.1 520 " in await exchange(runtime, REQUESTS["an answer"])
