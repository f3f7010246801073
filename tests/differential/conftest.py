"""One harness for the tests of a file; its processes are those that everything is forked from."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from .harness import Harness, harness


@pytest.fixture(scope="module")
def compared() -> Iterator[Harness]:
    """A harness that compares notebooks."""
    with harness() as made:
        yield made
