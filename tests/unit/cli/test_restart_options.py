"""`serve --restart on-failure --max-restarts 5/60s`."""

from __future__ import annotations

import argparse

import pytest

from dnworker.cli.restart_options import add_restart_arguments, policy_of
from dnworker.core.errors import UsageError
from dnworker.core.restarts import RestartPolicy


def policy(*arguments):
    parser = argparse.ArgumentParser()
    add_restart_arguments(parser)
    return policy_of(parser.parse_args(arguments))


def test_there_are_no_restarts_unless_they_are_asked_for():
    assert policy() is None
    assert policy("--restart", "no") is None


def test_the_default_is_five_within_a_minute():
    assert policy("--restart", "on-failure") == RestartPolicy(5, 60)


def test_the_number_and_the_time_can_be_given():
    assert policy("--restart", "on-failure", "--max-restarts", "3/2m") == RestartPolicy(3, 120)


def test_a_wrong_number_names_the_option_and_the_form():
    with pytest.raises(UsageError, match="--max-restarts: 'often' is no number .* write it like 5/60s"):
        policy("--restart", "on-failure", "--max-restarts", "often")


@pytest.mark.parametrize("before", [[], ["--restart", "no"]])
def test_a_number_without_restarts_is_refused(before):
    with pytest.raises(UsageError, match="without --restart on-failure"):
        policy(*before, "--max-restarts", "5/60s")
