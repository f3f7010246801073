"""What several workers share, exported from a notebook by dnworker."""

TOTALS = {}
