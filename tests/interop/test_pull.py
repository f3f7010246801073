"""Recorded events are read of the SDK's own runtime: what it keeps of its sessions, and nothing else."""

from __future__ import annotations

from pathlib import Path

import pytest

from dnworker.client.http import HttpConnection
from dnworker.client.pulling import Pull, PullQuery

from .environment import reference_python
from .test_reference import reference_runtime

pytestmark = [pytest.mark.interop, pytest.mark.timeout(240)]


async def pulled(url: str, **query) -> tuple[Pull, list]:
    connection = HttpConnection(url, auth_token="interop-token")
    pull = Pull(connection, PullQuery(**query))
    try:
        return pull, [one.event async for one in pull.events()]
    finally:
        await connection.close()


async def test_events_of_sessions_come_in_order_and_no_session_is_made(tmp_path, unused_tcp_port):
    sdk: Path = reference_python()
    (tmp_path / "capabilities").mkdir()
    async with reference_runtime(sdk, tmp_path, tmp_path / "capabilities", unused_tcp_port) as client:
        for number in range(30):
            session = f"pull-{number % 3}"
            if number < 3:
                await client.connection.request("POST", "/api/sessions", body={"session_id": session})
            await client.publish("shop.ordered", {"n": number}, session_id=session)
        await client.publish("shop.opened", {})
        before = await client.connection.request("GET", "/api/sessions")

        pull, found = await pulled(client.server_url, last=1_000, kinds=("shop.*",))
        assert [event.payload["n"] for event in found] == list(range(30))
        assert {event.session_id for event in found} == {"pull-0", "pull-1", "pull-2"}
        assert (pull.is_reference, pull.has_gap) == (True, True)
        assert [
            event.payload["n"] for event in (await pulled(client.server_url, session="pull-1", last=2))[1]
        ] == [25, 28]
        assert (await pulled(client.server_url, session="nobody"))[1] == []
        after = await client.connection.request("GET", "/api/sessions")
        assert [one["session_id"] for one in after] == [one["session_id"] for one in before]
