"""`serve --storm hold --storm-limit 100`."""

from __future__ import annotations

import argparse

import pytest

from dnworker import Runtime
from dnworker.cli.storm_options import add_storm_arguments, apply_storm_options
from dnworker.core.errors import UsageError


def storms(*arguments):
    parser, runtime = argparse.ArgumentParser(), Runtime(port=None)
    add_storm_arguments(parser)
    apply_storm_options(parser.parse_args(arguments), runtime)
    return runtime.storms.mode, runtime.storms.limit


@pytest.mark.parametrize(
    ("arguments", "found"),
    [
        ([], ("warn", 1_000)),
        (["--storm", "hold", "--storm-limit", "100"], ("hold", 100)),
        (["--storm", "off"], ("off", 1_000)),
    ],
    ids=str,
)
def test_what_is_done_about_storms_is_an_option(arguments, found):
    assert storms(*arguments) == found


def test_a_limit_that_is_none_is_refused():
    with pytest.raises(UsageError, match="--storm-limit 0: a number of events is wanted, such as 1000"):
        storms("--storm-limit", "0")
