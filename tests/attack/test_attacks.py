"""Every attack, in its short form."""

from __future__ import annotations

import asyncio

import pytest

from tests.attack.attack import Attack, Scale, all_attacks

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]


@pytest.mark.parametrize("one", all_attacks(), ids=lambda one: one.name)
async def test_the_runtime_holds(one: Attack, tmp_path):
    if (why := one.needs()) is not None:
        pytest.skip(why)
    async with asyncio.timeout(one.limit):
        assert await one.run(Scale(True, tmp_path))
