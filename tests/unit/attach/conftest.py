"""Two runtimes: `there` is deployed, `here` is the notebook's."""

from __future__ import annotations

import pytest

from dnworker import Runtime

from .rig import TOKEN


@pytest.fixture
async def there():
    async with Runtime(port=0, token=TOKEN) as runtime:
        yield runtime


@pytest.fixture
async def here():
    async with Runtime(port=None) as runtime:
        yield runtime
