"""A shadow's handlers under a rule wait apart from the notebook's own."""

from __future__ import annotations

import pytest

from dnworker.patterns import batch
from tests.unit.live.test_shadow import copied


def test_a_handler_under_a_rule_is_put_under_it_anew():
    text = """
from dnworker.patterns import batch
seen = []

@batch(size=2, within=60)
async def f(events, client):
    seen.append(len(events))
"""
    pytest.importorskip("dnworker_jupyter")
    names: dict = {"batch": batch}
    exec(compile(text, "<cell>", "exec"), names)
    copies, made = copied(names)
    assert made is not names["f"]
    assert made.rules == names["f"].rules == ("batch(size=2, within=60)",)
    assert made.__wrapped__ is not names["f"].__wrapped__
