"""What several workers share, exported from a notebook by dnworker."""

from __future__ import annotations


def twice(x):
    return 2 * x
