"""What a view may look at: whatever it wants of a part, it is answered, and no part fails by it."""

from __future__ import annotations

import pytest

from dnworker.panel.parts import PARTS

FIELDS = "only since until event invocation worker session filter window hide open fold node busiest query lines from to".split()
JUNK = {
    "nothing": None,
    "below zero": -1,
    "beyond every clock": 1e308,
    "beyond 64 bits": 2**70,
    "a long text": "x" * 100_000,
    "a list": [],
    "a long list": ["x"] * 5_000,
    "an object": {"a": {}},
    "a path": "../../etc/passwd",
}


@pytest.mark.parametrize("value", JUNK.values(), ids=JUNK.keys())
async def test_no_part_fails_by_what_a_view_wants_of_it(runtime, bridge, screen, value):
    await runtime.fire("demo.ping", {})
    snapshot = await screen.open(
        looks={part: dict.fromkeys(FIELDS, value) for part in PARTS if part != "runs"}
    )
    assert "runtime" in snapshot
    slow = {part for part in PARTS if part != "runs" and part not in snapshot}
    shown = {part: snapshot[part] for part in snapshot if part in PARTS}
    while slow:  # each comes once, beside the others
        update = await screen.until(lambda message, left=slow: left & message.keys())
        shown |= {part: update[part] for part in slow & update.keys()}
        slow -= update.keys()
    assert [
        part for part, found in shown.items() if isinstance(found, dict) and set(found) == {"failed"}
    ] == []


async def test_a_filter_that_makes_no_sense_leaves_the_other_parts(runtime, bridge, screen):
    snapshot = await screen.open(looks={"runs": {"filter": {"words": 1}}, "overview": {}})
    assert "runs" not in snapshot
    assert snapshot["overview"]["handlers"] == 2
