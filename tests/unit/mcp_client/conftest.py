"""A runtime with a capability whose MCP servers a test names."""

from __future__ import annotations

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
