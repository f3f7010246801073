"""Kinds of events that cells describe, in a real kernel: `%events schema`, completion, and what is fired."""

from __future__ import annotations

import pytest

pytestmark = pytest.mark.kernel

BILLING = """
%%worker billing
from dnworker import EventEnvelope

@worker.on_event("order.placed")
async def on_placed(event: "EventEnvelope[OrderPlaced]", client):
    print("amount", event.payload["amount"])
    await client.publish("order.billed", {"amount": event.payload["amount"]})
""".strip()

PLACED = """
from typing import TypedDict

class OrderPlaced(TypedDict):
    amount: float
    order_id: str
""".strip()


def test_a_kind_shows_what_a_handler_declares_also_where_the_type_came_later(kernel):
    kernel.run(BILLING)
    (shown,) = kernel.run("%events schema order.placed").displays
    assert "name 'OrderPlaced' is not defined" in shown["text/plain"]
    kernel.run(PLACED)
    (shown,) = kernel.run("%events schema order.placed").displays
    text = shown["text/plain"]
    assert text.startswith("order.placed: schema declared by handlers")
    assert "heard by: notebook:billing.on_placed (OrderPlaced)" in text
    assert "amount" in text
    assert "<table>" in shown["text/html"]


def test_what_changed_is_shown_and_a_wrong_kind_names_the_nearest(kernel):
    kernel.run(BILLING)
    kernel.run(PLACED)
    for amount in ("1", "2", '"3"'):
        kernel.run(f"%fire order.placed amount={amount} order_id=a")
    (shown,) = kernel.run("%events schema order.billed").displays
    assert "! `amount` was a number until" in shown["text/plain"]
    wrong = kernel.run("%events schema order.biled")
    assert "did you mean order.billed?" in wrong.text


def test_firing_without_a_payload_fires_what_a_handler_declares(kernel):
    kernel.run(PLACED)
    kernel.run(BILLING)
    done = kernel.run("%fire order.placed")
    assert "as OrderPlaced declares it" in done.text
