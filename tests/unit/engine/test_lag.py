"""How late the loop turns is measured while the engine runs, and by its own clock."""

from __future__ import annotations

import asyncio
import time

from dnworker import Runtime, VirtualClock
from dnworker.engine import lag


async def test_a_held_loop_is_measured_whatever_clock_the_runtime_has(monkeypatch):
    monkeypatch.setattr(lag, "INTERVAL", 0.001)
    async with Runtime(port=None, clock=VirtualClock()) as runtime:
        await asyncio.sleep(0.01)
        time.sleep(0.05)
        while max(filter(None, runtime.history.series.lag()), default=0) < 0.04:
            await asyncio.sleep(0.001)


async def test_nothing_is_measured_once_the_engine_has_stopped():
    noted = []
    sampler, loop = lag.LagSampler(lambda *moments: noted.append(moments)), asyncio.get_running_loop()
    with sampler.running(loop):
        pass
    assert sampler._timer is not None
    assert sampler._timer.cancelled()
