"""Statements that only spell a value out."""

from __future__ import annotations

from tests.unit.export.builders import handler, script


def test_a_lambda_is_a_plain_value():
    assert "ADD = lambda v: len(v) + A" in script(
        "A = 1\nADD = lambda v: len(v) + A", handler("print(ADD(''))")
    )
