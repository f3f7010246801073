"""Lengths of time as `%clock advance` reads them."""

from __future__ import annotations

import pytest

from dnworker.core.errors import UsageError
from dnworker_jupyter.magics.clock import read_duration


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("90", 90), ("90s", 90), ("1h30m", 5400), ("250ms", 0.25), ("2d", 172_800), ("1.5min", 90), ("0", 0)],
)
def test_a_length_of_time_is_read_in_seconds(text, seconds):
    assert read_duration(text) == seconds


@pytest.mark.parametrize("text", ["soon", "1h 30m", "5x", "-5", "inf", ""])
def test_what_is_no_length_of_time_is_refused(text):
    with pytest.raises(UsageError):
        read_duration(text)
