"""The SDK's client in a worker process gives each event once."""

from __future__ import annotations

import importlib.util
from types import SimpleNamespace

import pytest

from dnworker.workers.subprocess_worker import CHILD_HOOK


@pytest.fixture
def once():
    spec = importlib.util.spec_from_file_location("_once", CHILD_HOOK / "once.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def client_giving(*events):
    class Client:
        closed = False

        async def subscribe(self, *kinds):
            try:
                for kind, seq in events:
                    yield SimpleNamespace(kind=kind, seq=seq)
            finally:
                Client.closed = True

    return Client


async def test_the_runtime_that_started_the_process_is_asked_for_no_groups_and_any_other_is(
    once, monkeypatch
):
    class Client:
        def __init__(self, url):
            self.server_url = url

        def session_group(self, title, *, kind):
            return (title, kind)

    monkeypatch.setenv("DREADNODE_RUNTIME_URL", "http://127.0.0.1:8787/")
    once.leave_out_groups(Client)
    async with Client("http://127.0.0.1:8787").session_group("w event", kind="worker_run") as group:
        assert group is None
    assert Client("http://other").session_group("w event", kind="worker_run") == ("w event", "worker_run")


AGAIN, RESUMED = ("transport.reconnected", 0), ("transport.resumed", 0)


@pytest.mark.parametrize(
    ("events", "given"),
    [
        ([("a", 1), ("a", 2), AGAIN, RESUMED, ("a", 2), ("a", 3)], [1, 2, 0, 0, 3]),
        ([("a", 7), AGAIN, ("a", 1), ("a", 2)], [7, 0, 1, 2]),
        ([("a", 1), ("a", 1)], [1]),
    ],
    ids=["copies", "another runtime", "doubled"],
)
async def test_what_came_before_is_dropped(once, events, given):
    client = client_giving(*events)
    once.wrap(client)
    assert [event.seq async for event in client().subscribe("a")] == given
    assert client.closed
