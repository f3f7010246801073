"""Names of workers in options of a runtime: those that are none are warned of."""

from __future__ import annotations

import asyncio

import pytest

from dnworker import Runtime, Worker
from dnworker.engine import named_workers

from ..capabilities import make_capability


class Warnings:
    """Waits for the warnings of names."""

    def __init__(self, monkeypatch):
        self.texts = []
        self.came = asyncio.Event()
        monkeypatch.setattr(named_workers, "EXPECTED_WITHIN", 0.0)
        monkeypatch.setattr(named_workers.log, "warning", self._note)

    def _note(self, text, *values):
        self.texts.append(text % values)
        self.came.set()


@pytest.fixture
async def warnings(monkeypatch):
    return Warnings(monkeypatch)


async def test_retry_and_keep_state_of_a_worker_that_is_none_are_warned_of(warnings):
    worker = Worker("bridge")
    options = {"retry": {"notebook:brigde": "5", "notebook:bridge": "5"}, "keep_state": ["demo:gone"]}
    async with Runtime(port=None, **options) as runtime:
        with runtime.progress.loading():
            await runtime.add(worker)
        await asyncio.wait_for(warnings.came.wait(), 10)
    assert warnings.texts == [
        "retry names notebook:brigde: there is no such worker; did you mean notebook:bridge?",
        "keep_state names demo:gone: there is no such worker",
    ]


async def test_a_worker_of_a_capability_that_failed_to_load_is_left_to_that_error(tmp_path):
    make_capability(tmp_path / "demo", "w: {nonsense: 1}")
    async with Runtime(port=None, capability_dirs=[tmp_path]) as runtime:
        await runtime.discover()
        assert list(named_workers.unknown(runtime.capabilities, ["demo:w"])) == []
