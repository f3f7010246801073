"""What looks like a secret does not leave the machine, and no text makes the search long."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dnworker.telemetry.masking import LONGEST, masked


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("password=geheim", "password=***"),
        ('{"api_key": "geheim", "n": 1}', '{"api_key": "***", "n": 1}'),
        ("MY_TOKEN: geheim and more", "MY_TOKEN: *** and more"),
        ("Authorization: Bearer abc.def-123", "Authorization: Bearer ***"),
        ("postgres://me:geheim@db/x", "postgres://***@db/x"),
        ("nothing of that kind, at 12:30", "nothing of that kind, at 12:30"),
    ],
)
def test_values_of_secret_names_are_masked(text: str, shown: str) -> None:
    assert masked(text) == shown


@given(st.text(alphabet="ab=:/@ '\"", max_size=80), st.sampled_from(["password=", "token: ", "api-key='"]))
def test_a_secret_is_masked_whatever_stands_around_it(around: str, name: str) -> None:
    assert "s3cr3t" not in masked(f"{around} {name}s3cr3t {around}")


@pytest.mark.parametrize("part", ["a", "a-", "a.", "token", "http://a:", "bearer ", "password=' ", "secret-"])
def test_a_long_hostile_text_is_searched_at_once(part: str) -> None:
    assert len(masked(part * LONGEST)) <= 2 * LONGEST
