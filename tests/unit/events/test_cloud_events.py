"""CloudEvents 1.0 in both directions, and as the official library reads and writes them."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta, timezone

import msgspec
import pytest
from cloudevents.core.formats.json import JSONFormat
from cloudevents.core.v1.event import CloudEvent
from hypothesis import given
from hypothesis import strategies as st

from dnworker.core.envelope import EventEnvelope
from dnworker.core.errors import Invalid
from dnworker.events.cloud_events import from_cloud_event, to_cloud_event

TEXT = st.text(st.characters(codec="utf-8", exclude_categories=("Cc", "Cs", "Cn")), min_size=1, max_size=20)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(max_size=10),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=10,
)
PAYLOADS = st.dictionaries(st.text(max_size=5), JSON, max_size=4)
TIMES = st.datetimes(
    datetime(1970, 1, 2), datetime(9000, 1, 1), timezones=st.sampled_from([UTC, timezone(timedelta(hours=2))])
)
ENVELOPES = st.builds(
    EventEnvelope,
    event_id=st.text("0123456789abcdef", min_size=32, max_size=32),
    seq=st.integers(0, 2**62),
    timestamp=TIMES,
    kind=TEXT,
    session_id=st.none() | TEXT,
    turn_id=st.none() | TEXT,
    terminal=st.booleans(),
    replay=st.booleans(),
    payload=PAYLOADS,
)


@given(ENVELOPES)
def test_an_event_is_the_same_after_a_cloud_event(envelope):
    assert from_cloud_event(json.loads(to_cloud_event(envelope)), 1) == envelope


@given(ENVELOPES)
def test_the_official_library_reads_what_we_write(envelope):
    read = JSONFormat().read(CloudEvent, to_cloud_event(envelope, "/dnworker/rt-1"))
    assert (read.get_id(), read.get_source(), read.get_type()) == (
        envelope.event_id,
        "/dnworker/rt-1",
        envelope.kind,
    )
    assert read.get_time() == envelope.timestamp
    assert read.get_subject() == envelope.session_id
    assert read.get_data() == envelope.payload
    assert read.get_datacontenttype() == "application/json"
    assert int(read.get_extension("sequence")) == envelope.seq


@given(ENVELOPES)
def test_we_read_what_the_official_library_writes_of_what_it_has_read(envelope):
    again = JSONFormat().write(JSONFormat().read(CloudEvent, to_cloud_event(envelope)))
    assert from_cloud_event(json.loads(again), 1) == envelope


@given(id_=TEXT, kind=TEXT, data=PAYLOADS | st.text() | st.binary(), at=TIMES)
def test_we_read_what_others_write_by_the_official_library(id_, kind, data, at):
    made = CloudEvent(
        {"id": id_, "source": "urn:others", "type": kind, "time": at, "specversion": "1.0"}, data
    )
    event = from_cloud_event(json.loads(JSONFormat().write(made)), 7)
    assert (event.kind, event.seq, event.session_id) == (kind, 7, None)
    assert event.timestamp == at
    assert len(event.event_id) == 32
    if isinstance(data, dict):
        assert event.payload == data
    elif isinstance(data, str):
        assert event.payload == {"data": data}


def cloud(**changes) -> dict:
    made = {"specversion": "1.0", "id": "a", "source": "urn:x", "type": "order.placed", **changes}
    return {name: value for name, value in made.items() if value is not ...}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"specversion": "0.3"}, "specversion is '0.3'; only 1.0 is read"),
        ({"specversion": 1.0}, "specversion is a float"),
        ({"type": ...}, "type is missing"),
        ({"id": ""}, "id is ''"),
        ({"source": None}, "source is None"),
        ({"time": "yesterday"}, "time is 'yesterday'"),
        ({"time": 5}, "time is an int"),
        ({"dnsession": ["s"]}, "dnsession is a list"),
        ({"data": 1, "data_base64": "AA=="}, "both data and data_base64"),
        ({"data_base64": "no base64"}, "data_base64 is no Base64"),
        ({"data_base64": "AA==", "datacontenttype": "application/json"}, "data_base64 is no JSON"),
    ],
)
def test_what_is_no_cloud_event_is_refused_with_its_attribute(changes, message):
    with pytest.raises(Invalid, match=message) as error:
        from_cloud_event(cloud(**changes), 1)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("changes", "payload"),
    [
        ({}, {}),
        ({"data": None}, {}),
        ({"data": [1]}, {"data": [1]}),
        ({"data": "<x/>", "datacontenttype": "text/xml"}, {"data": "<x/>", "datacontenttype": "text/xml"}),
        (
            {"data_base64": "eyJuIjogMX0=", "datacontenttype": "application/order+json; charset=utf-8"},
            {"n": 1},
        ),
        ({"data_base64": "eyJuIjogMX0="}, {"n": 1}),
        (
            {"data_base64": "AAE=", "datacontenttype": "image/png"},
            {"data_base64": "AAE=", "datacontenttype": "image/png"},
        ),
    ],
)
def test_each_form_of_data_becomes_a_payload(changes, payload):
    assert from_cloud_event(cloud(**changes), 1).payload == payload


def test_a_time_without_a_zone_is_in_utc():
    event = from_cloud_event(cloud(time="2026-05-01t14:00:00"), 1)
    assert event.timestamp == datetime(2026, 5, 1, 14, tzinfo=UTC)


def test_a_foreign_id_becomes_the_same_one_each_time_and_differs_by_source():
    first, again = from_cloud_event(cloud(), 1), from_cloud_event(cloud(), 2)
    assert first.event_id == again.event_id
    assert from_cloud_event(cloud(source="urn:y"), 1).event_id != first.event_id


def test_the_subject_of_another_program_is_no_session():
    assert from_cloud_event(cloud(subject="orders/12"), 1).session_id is None


@pytest.mark.parametrize("change", [{"kind": "a\nb"}, {"session_id": "\x00"}, {"kind": ""}])
def test_what_no_attribute_may_have_is_refused_where_it_is_written(change):
    envelope = msgspec.structs.replace(EventEnvelope(seq=1, kind="a"), **change)
    with pytest.raises(Invalid, match=r"U\+00|is empty"):
        to_cloud_event(envelope)
