"""A worker process of a cluster runs on one node, and knows the number of its turn."""

from __future__ import annotations

import asyncio
import sys
import time

import psutil
import pytest

from dnworker.client.client import FENCE, RuntimeClient
from dnworker.core.clock import RealClock
from dnworker.core.lifecycle import WorkerState
from dnworker.engine import hold
from dnworker.runtime import Runtime
from dnworker.testing import SharedBroker, SharedStore
from dnworker.workers.family import boot_time
from tests.unit.capabilities import make_capability

LASTING = """
import os, signal, sys
print("fence", os.environ.get("DNWORKER_FENCE"), flush=True)
signal.pause()
"""


async def until(condition, seconds=30):
    async with asyncio.timeout(seconds):
        while not condition():
            await asyncio.sleep(0.01)


def lines_of(node: Runtime) -> list[str]:
    return [line.text for line in node.logs.tail(worker="demo:bridge")]


def is_alive(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


@pytest.fixture
def capability(tmp_path):
    entry = f"bridge: {{command: {sys.executable}, args: [lasting.py]}}"
    return make_capability(tmp_path, entry, {"lasting.py": LASTING})


def node(store: SharedStore, name: str) -> Runtime:
    return Runtime(port=0, broker=SharedBroker(store), node=name)


async def test_a_process_is_told_the_number_of_its_turn_and_the_next_node_starts_another(
    capability, monkeypatch
):
    monkeypatch.setenv(FENCE, "99")  # of a runtime that is a worker itself
    store = SharedStore(RealClock())
    async with node(store, "b") as b:
        async with node(store, "a") as a:
            await a.load(capability)
            await until(lambda: "fence 1" in lines_of(a))
            await b.load(capability)
            assert b.worker("bridge").state is WorkerState.STANDBY
            assert b.worker("bridge").detail()["process"]["pid"] is None
        await until(lambda: "fence 2" in lines_of(b), 10)


async def test_without_a_shared_broker_a_process_has_no_number(capability, monkeypatch):
    monkeypatch.setenv(FENCE, "99")
    async with Runtime(port=0) as alone:
        await alone.load(capability)
        await until(lambda: "fence None" in lines_of(alone))


async def test_a_process_whose_runtime_stands_still_is_killed_before_its_lease_ends(capability, monkeypatch):
    for name, seconds in (("LEASE", 2.0), ("RENEW_AFTER", 0.3), ("STOP_AFTER", 1.2)):
        monkeypatch.setattr(hold, name, seconds)
    async with node(SharedStore(RealClock()), "a") as a:
        await a.load(capability)
        await until(lambda: "fence 1" in lines_of(a))
        pid = a.worker("bridge").detail()["process"]["pid"]
        blocked_from = boot_time()
        while is_alive(pid) and boot_time() < blocked_from + 10:
            time.sleep(0.02)
        assert boot_time() - blocked_from < 2.0


def test_a_client_in_a_process_reads_the_number(monkeypatch):
    monkeypatch.setenv(FENCE, "7")
    assert RuntimeClient("http://127.0.0.1:1").fence == 7
    monkeypatch.setenv(FENCE, "seven")
    assert RuntimeClient("http://127.0.0.1:1").fence is None
    monkeypatch.delenv(FENCE)
    assert RuntimeClient("http://127.0.0.1:1").fence is None
