"""A runtime whose agents a test scripts, and clients of it."""

from __future__ import annotations

import pytest

from dnworker import Runtime, RuntimeClient


@pytest.fixture(params=["http", "direct"])
async def client(request):
    """A client of a runtime; `client.runtime` is the runtime."""
    async with Runtime(port=0) as runtime:
        made = (
            RuntimeClient(runtime.url, auth_token=runtime.tokens.main)
            if request.param == "http"
            else runtime.client()
        )
        made.runtime = runtime
        async with made:
            yield made


@pytest.fixture
async def runtime():
    async with Runtime(port=None) as runtime:
        yield runtime
