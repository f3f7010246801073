"""Deleted sessions, remembered in eight bytes each."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from dnworker.events.tombstones import Tombstones


@given(st.lists(st.tuples(st.booleans(), st.text(max_size=3))))
def test_it_is_a_set(steps):
    tombstones, expected = Tombstones(), set()
    for is_added, text in steps:
        if is_added:
            tombstones.add(text)
            expected.add(text)
        else:
            tombstones.discard(text)
            expected.discard(text)
        assert (text in tombstones) == (text in expected)
    assert len(tombstones) == len(expected)


def test_the_oldest_half_is_forgotten_when_it_is_full():
    tombstones = Tombstones(remembered=10)
    for number in range(25):
        tombstones.add(str(number))
    assert [n for n in range(25) if str(n) in tombstones] == list(range(10, 25))


def test_each_takes_eight_bytes_whatever_its_length():
    tombstones = Tombstones()
    for number in range(1_000):
        tombstones.add(f"{number}" * 1_000)
    assert tombstones._newer.itemsize * len(tombstones) == 8_000
