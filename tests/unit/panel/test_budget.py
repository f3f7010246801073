"""How much may be sent to one view."""

from __future__ import annotations

from dnworker.panel.budget import Budget


def test_the_budget_lets_one_second_go_at_once_and_then_so_much_a_second():
    now = 0.0
    budget = Budget(1000, lambda: now)
    budget.spend(1500)
    assert budget.left == -500
    now = 1.0
    assert budget.left == 500
    now = 60.0
    assert budget.left == 1000
