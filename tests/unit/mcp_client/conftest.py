"""A runtime with a capability whose MCP servers a test names."""

from __future__ import annotations

import gc
import warnings
from contextlib import asynccontextmanager

import pytest

from dnworker import Runtime
from dnworker.mcp_client import server

from .servers import write


@pytest.fixture
def connected(tmp_path, monkeypatch):
    """Gives `connected(name=entry, ...)`: a runtime whose servers are connected, or have failed to be."""
    monkeypatch.setattr(server, "DELAYS", (0.05, 0.05))

    @asynccontextmanager
    async def run(more="", **servers):
        root = write(tmp_path / "demo", servers, more)
        async with Runtime(port=None) as runtime:
            await runtime.load(root)
            for one in runtime.mcp.all():
                if not one.is_gated:
                    await one.wait()
            yield runtime

    return run


@pytest.fixture(autouse=True)
def collected():
    """Let what a start that was cancelled has left to the collector go here, and in no later test.

    asyncio leaves the transport of a process whose start is cancelled; the tests look at processes themselves.
    """
    yield
    with warnings.catch_warnings(action="ignore", category=ResourceWarning):
        gc.collect()
