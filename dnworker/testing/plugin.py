"""Fixtures for tests of workers; registered with pytest by the installed distribution."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from dnworker.core.clock import VirtualClock
    from dnworker.runtime import Runtime
    from dnworker.testing import FakeClient

# Imports stand inside the fixtures: a plugin is loaded by every pytest run of the environment.


@pytest.fixture
def fake_client() -> FakeClient:
    """A client that records what handlers do."""
    from dnworker.testing import FakeClient

    return FakeClient()


@pytest.fixture
def virtual_clock() -> VirtualClock:
    """A clock that stands still until it is advanced."""
    from dnworker.core.clock import VirtualClock

    return VirtualClock()


try:
    import pytest_asyncio
except ImportError:  # without it there is no async fixture, and the two above still work
    pass
else:

    @pytest_asyncio.fixture
    async def runtime(virtual_clock: VirtualClock) -> AsyncIterator[Runtime]:
        """A runtime without a server, on the virtual clock, stopped after the test."""
        from dnworker.runtime import Runtime

        async with Runtime(port=None, clock=virtual_clock) as started:
            yield started
