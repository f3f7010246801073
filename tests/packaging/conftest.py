"""What is built once for all tests of a process."""

from __future__ import annotations

import pytest

from .building import build, copy_to


@pytest.fixture(scope="session")
def checkout(tmp_path_factory):
    """What git would give a stranger."""
    return copy_to(tmp_path_factory.mktemp("checkout"))


@pytest.fixture(scope="session")
def wheel(checkout):
    """The wheel, built from the checkout."""
    return build(checkout, checkout / "dist")


@pytest.fixture(scope="session")
def sdist(checkout, tmp_path_factory):
    """The sdist, built from the checkout."""
    return build(checkout, tmp_path_factory.mktemp("sdist"), "--sdist")
