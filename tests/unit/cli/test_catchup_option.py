"""`serve --catchup`: what becomes of runs of schedules that were missed."""

from __future__ import annotations

import argparse

import pytest

from dnworker.cli.cluster_options import add_cluster_arguments
from dnworker.cli.durable_options import add_durable_arguments, catchup_of
from dnworker.core.errors import UsageError


def parsed(*arguments):
    parser = argparse.ArgumentParser()
    add_durable_arguments(parser)
    add_cluster_arguments(parser)
    return parser.parse_args(arguments)


def test_missed_runs_are_skipped_by_default_and_made_up_for_where_that_is_said():
    assert catchup_of(parsed()) == "skip"
    assert catchup_of(parsed("--durable", "--catchup", "once")) == "once"
    assert catchup_of(parsed("--broker", "nats://host", "--catchup", "once")) == "once"


def test_without_a_file_nothing_can_be_made_up_for():
    with pytest.raises(
        UsageError, match="--catchup once: when a schedule ran last is kept with --durable or --broker only"
    ):
        catchup_of(parsed("--catchup", "once"))
