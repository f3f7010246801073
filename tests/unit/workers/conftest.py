"""What the tests of the runner and its parts share."""

from __future__ import annotations

import pytest

from .stage import Stage


@pytest.fixture
def stage():
    return Stage(grace=0.05)
