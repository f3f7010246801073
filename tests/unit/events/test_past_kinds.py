"""Kinds of a journal's file: which there are, the first and last event of each, and the newest."""

from __future__ import annotations

import pytest

from dnworker import Runtime
from dnworker.core.errors import JournalError
from dnworker.events.past_kinds import PastKinds


@pytest.fixture
async def journal(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    path = tmp_path / "events.journal"
    async with Runtime(port=None, journal=path) as runtime:
        for number in range(6):
            runtime.publish("b", {"n": number})
        runtime.publish("a", {})
    return path


async def test_kinds_are_listed_in_their_order_with_their_first_and_last_event(journal):
    with PastKinds(journal) as past:
        kinds = past.kinds()
        assert kinds == sorted({*kinds})
        assert {"a", "b"} <= {*kinds}
        first, last = past.ends_of("b")
        assert (first.payload, last.payload) == ({"n": 0}, {"n": 5})
        assert past.ends_of("none") is None
        assert len(past.kinds(1)) == 1


async def test_the_newest_events_of_a_kind_come_oldest_first_within_a_bound_of_bytes(journal):
    with PastKinds(journal) as past:
        assert [event.payload["n"] for event in past.newest_of("b", 3, 1_000_000)] == [3, 4, 5]
        assert 0 < len(past.newest_of("b", 6, 700)) < 6
        assert past.newest_of("none", 3, 1_000) == []


async def test_a_file_that_cannot_be_read_is_an_error_of_journals(journal):
    past = PastKinds(journal)
    past.close()
    with pytest.raises(JournalError):
        past.kinds()
