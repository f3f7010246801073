"""How often and how fast `%fire` fires."""

from __future__ import annotations

import itertools

import pytest

from dnworker_jupyter.magics.fire import next_due


def fired_at(step: float, delays: dict[int, float], count: int) -> list[float]:
    """Return when each of a series fires; `delays` says how long the kernel is busy after some of them."""
    now = due = 0.0
    times = [now]
    for number in range(1, count):
        now += delays.get(number - 1, 0.0)
        due = next_due(due, now, step)
        now = max(now, due) + 0.001  # a sleep ends a little late
        times.append(now)
    return times


def test_a_rate_does_not_drift():
    assert fired_at(0.1, {}, 101)[-1] == pytest.approx(10.0, abs=0.002)


def test_what_takes_a_part_of_the_step_costs_nothing():
    assert fired_at(0.1, dict.fromkeys(range(101), 0.05), 101)[-1] == pytest.approx(10.0, abs=0.002)


def test_a_busy_kernel_is_followed_by_no_burst():
    times = fired_at(0.1, {3: 5.0}, 50)
    gaps = [after - before for before, after in itertools.pairwise(times)]
    assert sum(gap < 0.09 for gap in gaps) <= 1
    assert max(gaps) == pytest.approx(5.0, abs=0.01)
