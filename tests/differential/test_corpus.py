"""Every notebook of the corpus does in its exports what it does in its kernel, or is refused where it may be.

A run compares all real ones and every fourth of the others, so that it takes seconds: which, is said by
`DNWORKER_SEED`, and all of them with `DNWORKER_CORPUS=all`, or by `python -m tests.differential corpus`.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from .harness import Harness
from .notebook import corpus, load

pytestmark = [pytest.mark.slow, pytest.mark.timeout(120)]

KNOWN = Path(__file__).with_name("known.txt")
"""Notebooks that are not as expected yet, one a line, with why."""


PART = 4
"""Of so many one is compared in a run."""


def known() -> dict[str, str]:
    """Return why notebooks are not as expected yet, by name."""
    lines = KNOWN.read_text(encoding="utf-8").splitlines() if KNOWN.exists() else []
    return {line.partition(": ")[0]: line.partition(": ")[2] for line in lines if line.strip()}


def chosen() -> list[str]:
    """Return the names of those that this run compares."""
    if os.environ.get("DNWORKER_CORPUS") == "all":
        return list(corpus())
    real = [name for name in corpus() if name.startswith("real/")]
    others = [name for name in corpus() if not name.startswith("real/")]
    first = sum(os.environ.get("DNWORKER_SEED", "1").encode())
    return [*real, *others[first % PART :: PART]]


def cases() -> list[object]:
    """Return the names to compare, those that are known to be wrong with their mark."""
    wrong = known()
    return [
        pytest.param(name, marks=pytest.mark.xfail(reason=wrong[name], strict=False) if name in wrong else ())
        for name in chosen()
    ]


@pytest.mark.parametrize("name", cases())
def test_an_export_does_what_the_notebook_does(compared: Harness, name: str) -> None:
    result = compared.compare(load(name))
    assert not result.wrong, "\n".join(result.wrong)


def test_what_is_known_to_be_wrong_is_in_the_corpus() -> None:
    assert set(known()) <= set(corpus())


def test_of_real_notebooks_at_least_fifteen_export_without_a_remedy() -> None:
    names = [name for name in corpus() if name.startswith("real/")]
    assert len(names) >= 20
    as_they_are = [name for name in names if load(name).expect == "same" and name not in known()]
    assert len(as_they_are) >= 15
