"""Plans of the history checker."""

from __future__ import annotations

import pytest

from tests.attack.history_plan import LARGEST_ROUND, WEIGHTS, make_plan, shown, smaller


@pytest.mark.parametrize("seed", range(20))
def test_a_plan_has_as_many_operations_as_it_should_and_its_seed_gives_it_again(seed):
    plan = make_plan(seed, 300)
    assert sum(map(len, plan)) == 300
    assert plan == make_plan(seed, 300) != make_plan(seed + 1, 300)
    assert all(1 <= len(one) <= LARGEST_ROUND for one in plan)


def test_three_seeds_have_every_operation():
    plans = [make_plan(seed, 300) for seed in range(3)]
    assert {one.kind for plan in plans for beside in plan for one in beside} == set(WEIGHTS)


def test_smaller_plans_leave_out_operations_of_the_round_that_failed_or_rounds_before_it():
    plan = make_plan(1, 100)
    found = [*smaller(plan, 20)]
    whole = [one for one in found if one[-1] == plan[20]]
    assert [len(one) for one in whole] == [1, 2, 3, 5, 9, 17]
    assert all(set(one[-1]) < set(plan[20]) for one in found if one not in whole)


def test_a_plan_is_shown_round_by_round():
    plan = make_plan(1, 100)
    assert len(shown(plan).splitlines()) == len(plan)
