"""Policies by name, with the parameters that each takes."""

from __future__ import annotations

import pytest

from dnworker.sessions.policies import INTERACTIVE, resolve_policy


@pytest.mark.parametrize("given", [None, {}, "interactive", {"name": "interactive"}])
def test_nothing_is_the_interactive_policy(given):
    assert resolve_policy(given) == INTERACTIVE


def test_a_judge_makes_the_guard_policy_autonomous():
    assert not resolve_policy("guard").autonomous
    guarded = resolve_policy({"name": "guard", "judge_model": "m-1"})
    assert (guarded.asks, guarded.autonomous, guarded.judge_model) == (True, True, "m-1")
    assert resolve_policy({"name": "headless", "max_steps": 3}).max_steps == 3


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ("bold", "no policy 'bold'; there are: interactive, headless, guard"),
        (5, "no policy 5"),
        ({"name": "guard", "max_steps": 3}, "policy 'guard' has no parameter 'max_steps'"),
        ({"name": "headless", "max_steps": True}, "must be a whole number over 0, not True"),
        ({"name": "guard", "judge_model": ""}, "must be the name of a model"),
    ],
)
def test_a_wrong_policy_is_refused_with_the_reason(given, says):
    with pytest.raises(ValueError, match=says):
        resolve_policy(given)
