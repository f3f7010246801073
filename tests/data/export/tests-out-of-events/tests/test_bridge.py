"""Events that were recorded, fired at worker 'bridge' again."""

from pathlib import Path

import pytest

from dnworker.testing import load_worker

# This file belongs into tests/ of the capability.
# It needs: pip install 'dnworker[runtime]' pytest pytest-asyncio
SCRIPT = Path(__file__).parents[1] / "workers" / "bridge.py"


@pytest.mark.asyncio
async def test_demo_asked(runtime):
    payload = {'n': 1, 'nested': {'a': [1, None, 'x']}}
    await runtime.add(load_worker(SCRIPT, 'bridge'))
    trace = await runtime.fire('demo.asked', payload, only='bridge', session_id='s1')
    assert trace.invocations, 'no handler ran'
    assert trace.ok, str(trace)
    published = [below.event.kind for run in trace.invocations for below in run.events]
    assert published == ['demo.answered']


@pytest.mark.asyncio
async def test_demo_asked_2(runtime):
    payload = {'n': 'long long long long long long long long long long long long long long'}
    await runtime.add(load_worker(SCRIPT, 'bridge'))
    trace = await runtime.fire('demo.asked', payload, only='bridge')
    assert trace.invocations, 'no handler ran'
    assert trace.ok, str(trace)
