"""Spans of turns are made of what is kept of these, which has bounds whatever agents do."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dnworker.core.envelope import EventEnvelope
from dnworker.core.invocation import Invocation
from dnworker.telemetry import turns
from dnworker.telemetry.records import Piece, Queue, Ran
from dnworker.telemetry.spans import SpanMaker, Times
from dnworker.telemetry.turns import TurnSpans


def piece(turn_id: str, kind: str, **data: Any) -> Piece:
    return Piece(turn_id, json.dumps({"raw_event": {"type": kind, "data": data}}).encode(), 1)


def end(turn_id: str) -> Ran:
    event = EventEnvelope(seq=1, kind="turn.accepted", turn_id=turn_id, session_id="s")
    invocation = Invocation("agent counter", "counter", "turn", event)
    invocation.end("ok")
    return Ran(invocation, "ab" * 16, None)


def spans_of(model: str, **more: Any) -> list[dict[str, Any]]:
    maker = SpanMaker(Times())
    maker.spans(piece("t", "generationstart", model=model, step=1))
    maker.spans(piece("t", "generationend", model=model, step=1, **more))
    from .receiver import plain

    return [plain(span.attributes) for span in maker.spans(end("t"))]


@pytest.mark.parametrize(
    ("model", "provider"),
    [
        ("llama3:8b", None),
        ("gpt-5-mini", None),
        ("us.anthropic.claude-sonnet-4-5-20250929-v1:0", None),
        ("openai/gpt-5-mini", "openai"),
        ("Anthropic/claude-sonnet-5-5", "anthropic"),
        ("ollama/llama3:8b", "ollama"),
        ("bedrock/us.anthropic.claude-sonnet-4-5-20250929-v1:0", "aws.bedrock"),
        ("google/gemini-2.5-flash", "gcp.gemini"),
        ("mistral/mistral-small-latest", "mistral_ai"),
        ("groq/llama-3.3-70b-versatile", "groq"),
        ("/odd", None),
    ],
)
def test_the_provider_of_a_model_is_named_as_the_conventions_do_or_not_at_all(model, provider):
    agent, step = spans_of(model)
    assert agent.get("gen_ai.provider.name") == step.get("gen_ai.provider.name") == provider
    assert step["gen_ai.request.model"] == model


def test_every_provider_that_dnworker_knows_has_the_name_of_the_conventions():
    values = pytest.importorskip("opentelemetry.semconv._incubating.attributes.gen_ai_attributes")
    known = {one.value for one in values.GenAiProviderNameValues} | {"ollama"}  # which has none there
    from dnworker.sessions.providers import PROVIDERS

    found = {spans_of(f"{name}/m")[0]["gen_ai.provider.name"] for name in PROVIDERS}
    assert found <= known


def test_what_comes_after_the_end_of_a_turn_is_not_kept():
    maker = SpanMaker(Times())
    maker.spans(piece("t", "toolstart", tool_call={"id": "1", "name": "add"}))
    maker.spans(end("t"))
    maker.spans(piece("t", "toolend", tool_call={"id": "1", "name": "add"}))
    assert maker._turns._pieces == {}
    assert maker._turns.bytes_kept == 0
    assert maker.dropped == 1


def test_turns_that_never_end_take_a_bounded_number_of_bytes(monkeypatch):
    monkeypatch.setattr(turns, "BYTES_KEPT", 20_000)
    kept = TurnSpans(lambda at: at)
    for n in range(500):
        kept.note(
            piece(f"{n // 5}", "toolend", tool_call={"id": "x" * 10_000, "name": "y"}, result="z" * 60_000)
        )
    assert 0 < kept.bytes_kept <= 20_000
    assert kept.dropped + sum(map(len, kept._pieces.values())) == 500
    assert "99" in kept._pieces, "the newest is kept"


@given(
    st.lists(
        st.tuples(
            st.sampled_from("abc"),
            st.sampled_from(["generationstart", "generationend", "toolstart", "toolend", "end", "other"]),
            st.recursive(
                st.none() | st.booleans() | st.integers() | st.text(max_size=5),
                lambda inner: st.dictionaries(
                    st.sampled_from(
                        ["model", "step", "usage", "tool_call", "id", "name", "error", "input_tokens"]
                    ),
                    inner,
                ),
            ),
        ),
        max_size=40,
    )
)
def test_whatever_agents_say_spans_can_be_written_and_bytes_are_counted_right(steps):
    maker = SpanMaker(Times())
    for turn_id, kind, data in steps:
        if kind == "end":
            for span in maker.spans(end(turn_id)):
                span.SerializeToString()
        else:
            body = json.dumps({"raw_event": {"type": kind, "data": data}}).encode()
            maker.spans(Piece(turn_id, body, 1))
        kept = maker._turns
        assert kept.bytes_kept == sum(one.size for pieces in kept._pieces.values() for one in pieces)
    for turn_id in "abc":
        maker.spans(end(turn_id))
    assert maker._turns.bytes_kept == 0


def test_pieces_that_wait_for_the_thread_take_a_bounded_number_of_bytes():
    queue = Queue(10_000)
    large = Piece("t", b"x" * 60_000, 1)
    for _ in range(1_000):
        queue.append(large)
    assert len(queue) * 60_000 <= 16_000_000
    assert queue.dropped == 1_000 - len(queue)
    queue.append("a record without a payload")
    assert queue.dropped == 1_000 - len(queue) + 1
    queue.take(10_000)
    queue.append(large)
    assert len(queue) == 1, "what was taken takes no room"
