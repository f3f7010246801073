"""A runtime that serves its API, and a client that has its token."""

from __future__ import annotations

import httpx
import pytest

from dnworker import Runtime


@pytest.fixture
async def served():
    async with Runtime(port=0, token="s3cret") as runtime:
        yield runtime


@pytest.fixture
async def http(served):
    headers = {"Authorization": "Bearer s3cret"}
    async with httpx.AsyncClient(base_url=served.url, headers=headers, trust_env=False) as client:
        yield client
