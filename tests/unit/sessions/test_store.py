"""Sessions by id: made once, bound to an agent, published when they come and go."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dnworker import VirtualClock
from dnworker.core.errors import Conflict, Gone, Invalid, NotFound
from dnworker.events.bus import EventBus
from dnworker.sessions.session import PREVIEW_LENGTH, Message
from dnworker.sessions.store import SessionStore


@pytest.fixture
def bus():
    return EventBus()


@pytest.fixture
def store(bus):
    return SessionStore(bus, VirtualClock())


def test_the_session_of_an_id_is_made_once(store):
    assert store.create("s") is store.create("s")
    assert [session.session_id for session in store.list()] == ["s"]


def test_a_session_without_an_id_gets_a_fresh_one(store):
    assert store.create().session_id != store.create().session_id


def test_a_live_session_takes_another_model_and_no_other_agent(store):
    session = store.create("s", agent="triage", model="m-1")
    assert store.create("s", model="m-2", agent="Default") is session
    assert session.model == "m-2"
    with pytest.raises(Conflict, match="session 's' is bound to agent 'triage', not 'other'"):
        store.create("s", agent="other")


def test_an_empty_id_and_an_unknown_policy_are_refused(store):
    with pytest.raises(Conflict, match="session_id is empty"):
        store.create("")
    with pytest.raises(Conflict, match="no policy 'bold'"):
        store.create("s", policy="bold")
    assert "s" not in store


def test_coming_and_going_is_published_but_for_a_session_that_is_only_needed(bus, store):
    events = bus.subscribe(["session.created", "session.deleted"])
    store.ensure("quiet")
    store.create("s")
    store.delete("s")
    assert [(e.kind, e.session_id) for e in iter(events.take, None)] == [
        ("session.created", "s"),
        ("session.deleted", "s"),
    ]


def test_a_deleted_session_is_gone_until_it_is_made_again(bus, store):
    store.create("s")
    store.delete("s")
    with pytest.raises(NotFound, match="no live session 's'"):
        store.get("s")
    with pytest.raises(Gone):
        bus.publish("demo.a", {}, session_id="s")
    store.create("s")
    bus.publish("demo.a", {}, session_id="s")


async def test_the_session_that_changed_last_comes_first():
    clock = VirtualClock()
    store = SessionStore(EventBus(), clock)
    first = store.create("first")
    store.create("second")
    await clock.advance(1)
    store.touch(first)
    assert [session.session_id for session in store.list()] == ["first", "second"]


def test_what_is_shown_of_a_session_begins_with_its_first_message(store):
    messages = [Message(role="system", content="x"), Message(role="user", content="y" * 500)]
    session = store.create("s", messages=messages)
    assert session.info().preview == "y" * PREVIEW_LENGTH


def message(size):
    return Message(role="user", content="x" * size)


def test_messages_of_the_sessions_that_changed_longest_ago_go_first_and_their_session_is_told(bus):
    store = SessionStore(bus, VirtualClock(), limit=100_000)
    old = store.create("old", messages=[message(30_000), message(30_000)])
    warned = bus.subscribe(["session.warning"])
    new = store.create("new", messages=[message(60_000)])
    assert (len(old.messages), len(new.messages)) == (1, 1)
    assert store.used <= 100_000
    assert (store.dropped, old.messages_dropped) == (1, 1)
    warning = warned.take()
    assert (warning.session_id, warning.payload["code"]) == ("old", "messages_dropped")
    assert "--limit sessions=" in warning.payload["message"]


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 20_000)), max_size=40))
def test_all_sessions_together_keep_no_more_than_the_limit(added):
    store = SessionStore(EventBus(), VirtualClock(), limit=60_000)
    for number, size in added:
        session = store.create(f"s{number}")
        session.messages.append(message(size))
        store.touch(session)
        assert store.used <= 60_000
        if size % 7 == 0:
            store.delete(session.session_id)
    kept = sum(len(m.content) for session in store.list() for m in session.messages)
    assert kept <= store.used
    for session in store.list():
        store.delete(session.session_id)
    assert store.used == 0


@pytest.mark.parametrize(
    "field", ["session_id", "capability", "agent", "model", "project", "group_id", "origin"]
)
def test_a_name_has_at_most_512_characters(store, field):
    with pytest.raises(Invalid, match=f"body.{field}: has 513 characters; at most 512"):
        store.create(**{field: "x" * 513})
    assert store.list() == []


@pytest.mark.parametrize("labels", [{"a": ["x" * 20_000]}, {"a": ["x"] * 1_001}])
def test_labels_are_bounded_together(store, labels):
    with pytest.raises(Invalid, match=r"body\.labels: take"):
        store.create(labels=labels)


@pytest.mark.parametrize(
    ("fields", "what"),
    [
        ({"session_id": "a\ud800"}, "session_id"),
        ({"project": "a\ud800"}, "project"),
        ({"labels": {"a\ud800": []}}, "labels"),
        ({"labels": {"a": ["b", "a\ud800"]}}, "labels"),
    ],
)
def test_names_and_labels_are_text_that_can_be_kept(store, fields, what):
    with pytest.raises(Invalid) as refused:
        store.create(**fields)
    shown = "a\N{REPLACEMENT CHARACTER}"
    assert str(refused.value) == f"body.{what}: {shown!r} has a lone surrogate, which is not text"
    assert store.list() == []


def test_too_much_that_waits_is_refused_with_the_way_out(bus):
    store = SessionStore(bus, VirtualClock(), limit=10_000)
    store.check_room(8_000)  # alone it may
    store.note_waiting(4_000)
    with pytest.raises(Conflict, match="--limit sessions="):
        store.check_room(2_000)
    store.note_waiting(-4_000)
    store.check_room(2_000)


@pytest.mark.clause("6.6 keys")
@pytest.mark.parametrize(
    ("session_id", "name"),
    [
        ("callback-7", "callback-7"),
        ("a/b", "a%2Fb"),
        ("..", "%2E%2E"),
        ("a.b:c@d", "a.b:c@d"),
        ("é", "%C3%A9"),
    ],
)
def test_the_directory_of_a_session_is_the_references(store, monkeypatch, session_id, name):
    monkeypatch.setenv("HOME", "/home/op")
    assert store.create(session_id).info().session_dir == f"/home/op/.dreadnode/sessions/{name}"
