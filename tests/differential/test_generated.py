"""Notebooks made at random: each is exported and does the same, or is refused; `DNWORKER_SEED` makes others.

`python -m tests.differential generate --count 500 --seed N` compares many, and makes wrong ones small.
"""

from __future__ import annotations

import os

import pytest

from .generate import generate
from .harness import Harness
from .smaller import smaller

pytestmark = [pytest.mark.slow, pytest.mark.timeout(120)]

SEED = os.environ.get("DNWORKER_SEED", "1")
COUNT = 25

REFUSED_AT_MOST = 10
"""Of those: an exporter that refuses everything is never wrong."""


@pytest.fixture(scope="module")
def refused() -> list[str]:
    """The seeds of what was refused, or could not be compared."""
    return []


@pytest.mark.parametrize("number", range(COUNT))
def test_an_export_does_what_a_random_notebook_does(
    compared: Harness, refused: list[str], number: int
) -> None:
    notebook = generate(f"{SEED}:{number}")
    result = compared.compare(notebook)
    if result.broken or result.kernel.verdict == "refused":
        refused.append(notebook.name)
    elif result.wrong:
        small = smaller(compared, result, tries=40)
        pytest.fail(f"{small.notebook.as_text()}\n" + "\n".join(small.wrong), pytrace=False)


def test_most_random_notebooks_can_be_exported(refused: list[str]) -> None:
    assert len(refused) <= REFUSED_AT_MOST, refused
