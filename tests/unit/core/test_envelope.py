"""Envelopes, kinds and payloads."""

from __future__ import annotations

import copy
import json
import os
import pickle
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dnworker.core.envelope import (
    MAX_PAYLOAD_BYTES,
    EventEnvelope,
    check_publishable,
    decode,
    drop_payload,
    encode,
    has_payload,
    own,
    pack,
    snapshot,
)
from dnworker.core.errors import Invalid, KindTooLong, ReservedKind, TooLarge
from dnworker.core.ids import new_id
from dnworker.testing import make_envelope

JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**53), 2**53)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=20,
)
KEYS = "schema_version connection_id session_id turn_id event_id seq timestamp kind replay terminal payload".split()


@pytest.mark.clause("5.1 envelope")
def test_the_wire_has_every_key_in_the_order_of_the_contract():
    assert list(json.loads(encode(make_envelope("k")))) == KEYS


@pytest.mark.clause("5.1 envelope")
def test_the_timestamp_is_utc_with_a_z():
    moment = datetime(2030, 1, 2, 3, 4, 5, 678901, tzinfo=UTC)
    assert b'"timestamp":"2030-01-02T03:04:05.678901Z"' in encode(
        EventEnvelope(seq=1, kind="k", timestamp=moment)
    )


@given(st.dictionaries(st.text(), JSON, max_size=5), st.text(min_size=1))
def test_decoding_what_was_encoded_gives_the_same(payload, kind):
    envelope = make_envelope(kind, payload)
    assert decode(encode(envelope)) == envelope


def test_the_session_of_a_session_event_is_filled_in_from_its_payload():
    frame = b'{"seq":1,"kind":"session.created","payload":{"session_id":"s1"}}'
    assert decode(frame).session_id == "s1"


TOO_DEEP = b'{"seq":1,"kind":"k","payload":{"a":' + b"[" * 50_000 + b"]" * 50_000 + b"}}"


@pytest.mark.parametrize(
    "frame",
    [b"", b"[]", b'{"kind":"k"}', b'{"seq":"x","kind":"k"}', b'{"seq":1,"kind":"\xff"}', TOO_DEEP],
    ids=["nothing", "a list", "no seq", "a seq that is no number", "no UTF-8", "nested too deep"],
)
def test_a_frame_that_is_no_envelope_is_refused(frame):
    with pytest.raises(Invalid, match="not an event envelope"):
        decode(frame)


@pytest.mark.parametrize(
    "kind", ["turn.x", "prompt.", "session.created", "transport.a", "capabilities.b", "component.c"]
)
@pytest.mark.clause("5.4 reserved")
def test_reserved_kinds_are_refused_with_the_six_prefixes(kind):
    with pytest.raises(
        ReservedKind, match=r"is reserved: turn\., prompt\., session\., transport\., capabilities\."
    ):
        check_publishable(kind)


@pytest.mark.parametrize("kind", ["turn", "turns.x", "", "notify", "capability.demo.done"])
def test_other_kinds_may_be_published(kind):
    assert check_publishable(kind) == kind


def test_a_payload_is_copied_so_that_its_publisher_cannot_change_it():
    payload = {"items": [1]}
    copy, _ = snapshot(payload)
    payload["items"].append(2)
    assert copy == {"items": [1]}


@pytest.mark.parametrize(
    ("payload", "place"),
    [
        ({"a": {"b": [0, {1, 2}]}}, r"payload\.a\.b\[1\] is a set"),
        ({"when": datetime(2030, 1, 1)}, r"payload\.when is a datetime.*isoformat"),
        ({"x": float("nan")}, r"payload\.x is nan"),
        ({"x": "\ud800"}, r"payload\.x has a lone surrogate"),
        ({("a", 1): 2}, r"payload has the key \('a', 1\)"),
        ([1], "a payload is an object"),
        ("text", "a payload is an object"),
    ],
)
def test_a_payload_that_is_no_json_object_names_the_field(payload, place):
    with pytest.raises(Invalid, match=place):
        snapshot(payload)


def test_a_payload_nested_too_deep_is_refused():
    payload: dict = {}
    for _ in range(100_000):
        payload = {"a": payload}
    with pytest.raises(Invalid, match="nested deeper"):
        snapshot(payload)


def test_a_payload_that_no_subscriber_could_receive_is_refused():
    with pytest.raises(TooLarge, match="at most 1,000,000"):
        snapshot({"x": "a" * MAX_PAYLOAD_BYTES})


def packed(payload: dict) -> EventEnvelope:
    """Return an envelope as it is inside a runtime, with the bytes of its payload."""
    return EventEnvelope(seq=1, kind="k", payload=pack(payload)[0])


@given(st.dictionaries(st.text(), JSON, max_size=5))
def test_an_envelope_with_bytes_is_the_same_as_one_with_a_dict(payload):
    inside = packed(payload)
    plain = EventEnvelope(
        seq=1, kind="k", payload=payload, event_id=inside.event_id, timestamp=inside.timestamp
    )
    assert inside == plain
    assert plain == inside
    assert inside.payload == payload
    assert repr(inside) == repr(plain)
    assert json.loads(encode(inside)) == json.loads(encode(plain))  # 1e16 may be written as 1e+16
    for same in (own(inside), copy.copy(inside), copy.deepcopy(inside), pickle.loads(pickle.dumps(inside))):
        assert same == plain


def test_envelopes_with_other_payloads_differ_and_nothing_else_is_equal_to_one():
    inside = packed({"a": 1})
    other = copy.copy(inside)
    drop_payload(other)
    assert inside != other
    assert inside != {"a": 1}


def test_what_a_handler_does_to_its_payload_stays_with_it():
    inside = packed({"a": [1]})
    handed = own(inside)
    handed.payload["a"].append(2)
    assert handed.payload == {"a": [1, 2]}
    assert inside.payload == {"a": [1]}
    assert own(handed) is handed


def test_a_dropped_payload_is_a_note_that_every_reader_understands():
    inside = packed({"a": 1})
    assert has_payload(inside)
    drop_payload(inside)
    assert not has_payload(inside)
    assert decode(encode(inside)).payload["dreadnode_truncated"] is True


def test_a_kind_has_at_most_512_characters():
    assert check_publishable("k" * 512)
    with pytest.raises(KindTooLong, match="has 513 characters; at most 512") as refused:
        check_publishable("k" * 513)
    assert refused.value.status == 400
    assert len(str(refused.value)) < 300


FLAT = st.dictionaries(
    st.text() | st.integers(), st.text() | st.integers() | st.booleans() | st.floats() | st.none()
)


@given(FLAT)
def test_an_object_without_others_in_it_is_packed_as_json_writes_it(payload):
    try:
        text = json.dumps(payload, allow_nan=False)
    except ValueError:
        with pytest.raises(Invalid):
            pack(payload)
        return
    packed, size = pack(payload)
    assert json.loads(bytes(packed)) == json.loads(text)
    assert 0 < size <= len(text)


def test_ids_differ_also_where_many_threads_make_them():
    with ThreadPoolExecutor(8) as pool:
        made = [
            one for some in pool.map(lambda _: [new_id() for _ in range(1_000)], range(8)) for one in some
        ]
    assert len({*made}) == len(made)
    assert all(len(one) == 32 and int(one, 16) >= 0 for one in made)


def test_a_process_that_is_forked_makes_other_ids():
    new_id()  # so that some are made already
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        os.write(writer, new_id().encode())
        os._exit(0)
    os.waitpid(child, 0)
    os.close(writer)
    with os.fdopen(reader) as said:
        assert said.read() not in ("", *[new_id() for _ in range(300)])
