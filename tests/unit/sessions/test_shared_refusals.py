"""What a node does not take from another, whoever sends it."""

from __future__ import annotations

import msgspec
import pytest

from dnworker.core.envelope import EventEnvelope, encode
from dnworker.core.errors import Invalid
from dnworker.events.brokers.messages import subject_token
from dnworker.sessions.deltas import Delta

from .cluster import Cluster


@pytest.fixture
async def node():
    cluster = Cluster()
    yield await cluster.join()
    await cluster.stop()


@pytest.mark.parametrize(
    "path",
    [
        "/api/files",
        "/api/sessions/../files",
        "/api/sessions/s/b/c",
        "/api/sessions/t",
        "/api/sessions/t/policy?session_id=s",
        "/api/sessions",
        None,
    ],
)
async def test_a_node_calls_nothing_for_another_but_what_is_of_the_session(node, path):
    fields = {"method": "GET", "path": path, "body": '{"session_id": "t"}'}
    with pytest.raises(Invalid, match="no node does"):
        await node.commands.execute("api", "s", fields)


@pytest.mark.parametrize(
    ("session_id", "path"), [("s", "/api/sessions/s?x=1"), ("a b/ä", "/api/sessions/a%20b%2F%C3%A4")]
)
async def test_a_node_calls_what_is_of_the_session(node, session_id, path):
    await node.client().create_session(session_id="s")
    answer = await node.commands.execute("api", session_id, {"method": "GET", "path": path, "body": ""})
    assert answer["status"] == (200 if session_id == "s" else 404)


def piece(**named):
    fields = {"kind": "turn.event", "session_id": "s", "turn_id": "turn_1"} | named
    payload = {"event_type": fields.pop("event_type", "generationcontent")}
    return encode(EventEnvelope(seq=0, payload=payload, **fields))


@pytest.mark.parametrize(
    "event",
    [
        piece(kind="turn.completed", terminal=True),
        piece(kind="demo.wish"),
        piece(terminal=True),
        piece(event_type="toolend"),
        piece(turn_id=None),
        piece(session_id="t"),
        b"{}",
    ],
)
async def test_a_node_passes_nothing_on_beside_the_broker_but_pieces_of_answers(node, event, caplog):
    for session_id in ("s", "t"):
        await node.client().create_session(session_id=session_id)
    before = [node.bus.kept(session_id, None) for session_id in ("s", "t", None)]
    node.turns.events.deltas._hear("deltas.s", msgspec.json.encode(Delta("x", None, msgspec.Raw(event))))
    assert [node.bus.kept(session_id, None) for session_id in ("s", "t", None)] == before
    assert "cannot be read" in caplog.text


async def test_a_piece_of_a_session_that_is_not_known_is_dropped_and_one_of_a_known_is_not(node, caplog):
    await node.client().create_session(session_id="s")
    for session_id in ("unknown", "s"):
        event = msgspec.Raw(piece(session_id=session_id))
        subject = f"deltas.{subject_token(session_id)}"
        node.turns.events.deltas._hear(subject, msgspec.json.encode(Delta("x", None, event)))
    assert "nothing is known of its session 'unknown'" in caplog.text
    assert "unknown" not in node.bus.scopes
    assert [one.kind for one in node.bus.kept("s", None)][-1] == "turn.event"
