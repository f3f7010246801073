"""What several workers share, exported from a notebook by dnworker."""


def twice(x):
    return 2 * x
