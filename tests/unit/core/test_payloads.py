"""Payloads as handlers read them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dnworker.core.payloads import guess_payload


def reads(*lines: str) -> dict:
    body = "\n".join(f"    {line}" for line in lines)
    return guess_payload([f"@worker.on_event('a')\nasync def h(event, client):\n{body}\n"])


@pytest.mark.parametrize(
    ("line", "payload"),
    [
        ("x = event.payload['turn_id']", {"turn_id": "turn-1"}),
        ("x = event.payload.get('retries', 3)", {"retries": 3}),
        ("x = event.payload['usage']['output_tokens']", {"usage": {"output_tokens": 1}}),
        ("x = event.payload.get('usage', {}).get('input_tokens', 0)", {"usage": {"input_tokens": 0}}),
        ("p = event.payload; q = p['user']; r = q['name']", {"user": {"name": "name"}}),
        ("if 'is_late' in event.payload: pass", {"is_late": True}),
        ("if event.payload['state'] == 'done': pass", {"state": "done"}),
        ("x = (event.payload or {})['items']", {"items": []}),
        (
            "x = event.payload.get('raw', b'x') or event.payload.get('far', 1e999)",
            {"raw": "raw", "far": "far"},
        ),
        ("x = event.kind", {}),
        ("x = client.payload['no']", {}),
    ],
)
def test_what_a_handler_reads_is_in_the_payload(line, payload):
    assert reads(*line.split("; ")) == payload


def test_mapping_patterns_are_read():
    read = reads("match event.payload:", "    case {'kind': 'a', 'job': {'id': n}}: pass")
    assert read == {"kind": "a", "job": {"id": "id-1"}}


def test_a_name_that_is_bound_anew_is_followed_no_longer():
    assert reads("p = event.payload", "p = other()", "x = p['no']") == {}


def test_several_handlers_add_up():
    one = "async def a(event, client):\n    event.payload['x']\n"
    two = "async def b(e, client):\n    e.payload['y']\n"
    assert guess_payload([one, two]) == {"x": "x", "y": "y"}


@given(st.text())
def test_any_text_gives_a_payload(text):
    assert isinstance(guess_payload([text]), dict)
