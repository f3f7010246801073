"""A payload as one short line."""

from __future__ import annotations

import msgspec
import pytest

from dnworker.core.envelope import EventEnvelope, drop_payload
from dnworker.panel.payload_summary import summary_of


def event(payload, kind="a") -> EventEnvelope:
    return EventEnvelope(seq=1, kind=kind, payload=msgspec.Raw(msgspec.json.encode(payload)))


@pytest.mark.parametrize(
    ("payload", "text"),
    [
        ({}, ""),
        ({"file": "prices-2026-11.csv"}, "prices-2026-11.csv"),
        ({"id": "ord-20931", "items": [1, 2, 3]}, "ord-20931, 3 items"),
        ({"id": "ord-20930", "items": [1]}, "ord-20930, 1 item"),
        ({"cpu": 12.5, "is_idle": True, "is_hot": False, "note": None}, "cpu 12.5, is idle"),
        ({"api_key": "sk-1", "user": "ada"}, "api key ***, ada"),
        ({"text": "two\n lines"}, "two lines"),
        ({"a": "1", "b": "2", "c": "3", "d": "4"}, "1, 2, 3"),
        ({"x" * 200: 1}, "x" * 45 + "... 1"),
        ({"nested": {"a": 1, "b": 2}}, "nested {2}"),
        ({"text": "<script>"}, "<script>"),
    ],
    ids=str,
)
def test_the_first_fields_say_what_it_is_about(payload, text):
    assert summary_of(event(payload)) == text


def test_a_notification_says_what_it_said():
    assert summary_of(event({"source": "w", "title": "Price", "body": "row 3"}, "notify")) == "Price: row 3"


def test_a_large_payload_is_not_read_for_it():
    assert summary_of(event({"text": "x" * 900_000})) == "900 kB"


def test_one_that_is_not_kept_says_so():
    held = event({"a": 1})
    drop_payload(held)
    assert summary_of(held) == "the payload is not kept any more"
