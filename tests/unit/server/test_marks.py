"""What frames of events say to one client alone; those of any other are the reference's, byte for byte."""

from __future__ import annotations

import json

import pytest
from starlette.datastructures import QueryParams

from dnworker.core.envelope import EventEnvelope, as_given, decode, decode_fed, encode
from dnworker.server.events import _Marks
from dnworker.server.live_feed import text_of
from dnworker.workers.nesting import Traces

TRACEPARENT = f"00-{'ab' * 16}-{'cd' * 8}-01"
EVENT = EventEnvelope(seq=1, kind="a", payload={"n": 1})


def frame(query: str, traces: Traces) -> str:
    return text_of(_Marks(traces, None, QueryParams(query)).frame(EVENT))


@pytest.mark.parametrize("query", ["", "kinds=a", "for=handlers&delivery=1", "traces=0"])
@pytest.mark.clause("7.1 stream")
def test_a_client_that_asks_for_no_trace_gets_the_envelope_and_nothing_else(query):
    traces = Traces(lambda event: TRACEPARENT, 1.0)
    assert frame(query, traces) == encode(EVENT).decode()


def test_a_client_that_asks_gets_nothing_while_no_traces_are_sent():
    assert frame("traces=1", Traces()) == encode(EVENT).decode()


def test_a_client_of_ours_is_told_the_trace_and_its_handlers_get_a_plain_event():
    text = frame("traces=1", Traces(lambda event: TRACEPARENT, 1.0))
    assert json.loads(text) == json.loads(encode(EVENT)) | {"traceparent": TRACEPARENT}
    assert decode(text) == EVENT
    fed = decode_fed(text)
    assert fed.traceparent == TRACEPARENT
    assert type(as_given(fed)) is EventEnvelope
    assert as_given(fed) == EVENT
