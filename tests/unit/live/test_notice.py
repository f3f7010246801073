"""A start that takes long says what it waits for."""

from __future__ import annotations

import asyncio
import re

import pytest

from dnworker import Worker
from dnworker_jupyter.live import notice as module
from dnworker_jupyter.live.notice import notice, waiting_for


@pytest.fixture(autouse=True)
def impatient(monkeypatch):
    monkeypatch.setattr(module, "PATIENCE", 0.0)
    monkeypatch.setattr(module, "POLL", 0.001)


async def test_what_starts_names_its_handler_the_place_and_since_when(runtime, capsys):
    worker, go_on = Worker("w"), asyncio.Event()

    @worker.on_startup
    async def connect(client):
        await go_on.wait()

    starting = asyncio.create_task(runtime.add(worker))
    while "w" not in runtime.capability("notebook").workers:
        await asyncio.sleep(0)
    managed = runtime.worker("w")
    with notice("w", lambda: managed, lambda: ", and generation 1 runs on"):
        while not (said := capsys.readouterr().out):
            await asyncio.sleep(0.01)
        go_on.set()
        await starting
    place = re.escape(f"{__file__}, line ")
    text = rf"w waits for on_startup connect \({place}\d+\), since [\d:]{{8}}; Ctrl-C stops it, and generation 1 runs on\n"
    assert re.fullmatch(text, said)
    assert waiting_for(managed) is None
    assert capsys.readouterr().out == ""


def test_nothing_is_waited_for_where_nothing_runs():
    assert waiting_for(None) is None
