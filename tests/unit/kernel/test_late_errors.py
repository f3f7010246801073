"""Errors that come after their cell."""

from __future__ import annotations

import pytest

from dnworker_jupyter.kernel.late_errors import LateErrors


def test_the_first_of_the_late_errors_is_raised_once(capsys):
    errors = LateErrors()
    errors.raise_first()
    errors.add(ValueError("one"))
    errors.add(KeyError("two"))
    assert capsys.readouterr().out == "ValueError: one\nKeyError: 'two'\n"
    with pytest.raises(ValueError, match="one"):
        errors.raise_first()
    errors.raise_first()
