"""What frames of events say to one client alone; those of any other are the reference's, byte for byte."""

from __future__ import annotations

import json

import pytest
from starlette.datastructures import QueryParams

from dnworker.core.envelope import EventEnvelope, as_given, decode, decode_fed, encode
from dnworker.server.events import _Marks, _send
from dnworker.workers.nesting import Traces

TRACEPARENT = f"00-{'ab' * 16}-{'cd' * 8}-01"
EVENT = EventEnvelope(seq=1, kind="a", payload={"n": 1})


async def frame(query: str, traces: Traces) -> str:
    sent = []

    async def send(message) -> None:
        sent.append(message["text"])

    await _send(send, EVENT, marks=_Marks(traces, None, QueryParams(query)).of)
    return sent[0]


@pytest.mark.parametrize("query", ["", "kinds=a", "for=handlers&delivery=1", "traces=0"])
@pytest.mark.clause("7.1 stream")
async def test_a_client_that_asks_for_no_trace_gets_the_envelope_and_nothing_else(query):
    traces = Traces(lambda event: TRACEPARENT, 1.0)
    assert await frame(query, traces) == encode(EVENT).decode()


async def test_a_client_that_asks_gets_nothing_while_no_traces_are_sent():
    assert await frame("traces=1", Traces()) == encode(EVENT).decode()


async def test_a_client_of_ours_is_told_the_trace_and_its_handlers_get_a_plain_event():
    text = await frame("traces=1", Traces(lambda event: TRACEPARENT, 1.0))
    assert json.loads(text) == json.loads(encode(EVENT)) | {"traceparent": TRACEPARENT}
    assert decode(text) == EVENT
    fed = decode_fed(text)
    assert fed.traceparent == TRACEPARENT
    assert type(as_given(fed)) is EventEnvelope
    assert as_given(fed) == EVENT
