"""What all tests share: the marker that says which clause of the contract a test holds."""

from __future__ import annotations

import pytest

from .clauses import CLAUSES


def pytest_collection_modifyitems(items):
    """Refuse a clause that is not on the list: it would be missing in the table."""
    for item in items:
        for mark in item.iter_markers("clause"):
            if mark.args[0] not in CLAUSES:
                raise pytest.UsageError(
                    f"{item.nodeid}: there is no clause {mark.args[0]!r} in tests/clauses.py"
                )
