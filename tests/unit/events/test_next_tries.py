"""When an event is tried again, in words."""

from __future__ import annotations

import pytest

from dnworker.events.next_tries import NextTry


@pytest.mark.parametrize(
    ("left", "said"),
    [
        (0.010, "in 10 ms"),
        (0.0001, "in 1 ms"),
        (0.5, "in 500 ms"),
        (0.9999, "in 1 s"),
        (1.24, "in 1.2 s"),
        (9.99, "in 10 s"),
        (42, "in 42 s"),
        (900, "in 15 min"),
        (0, "as soon as the worker takes it"),
    ],
)
def test_the_time_until_a_try_is_said_in_a_unit_that_fits_it(left, said):
    assert NextTry("e1", "demo:w", ("h",), due=100 + left, number=1, times=3).when(100) == said
