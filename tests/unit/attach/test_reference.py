"""Attached to a runtime that says no more than the SDK's: what is missed is a gap, and what is unknown is said."""

from __future__ import annotations

import asyncio

import msgspec
import pytest

from dnworker import Runtime, Worker
from dnworker.attach.attaching import attach
from dnworker.core.errors import UsageError
from dnworker.core.models import RuntimeInfo

from .rig import TOKEN, Proxy, attached, flagger, listener, settled, until


@pytest.fixture
async def there(monkeypatch):
    async with Runtime(port=0, token=TOKEN) as runtime:
        monkeypatch.setattr(runtime, "info", _info)
        yield runtime


def _info() -> dict:
    fields = msgspec.to_builtins(RuntimeInfo(version="2.0.52", runtime_id=None))
    del fields["limits"]
    return fields


@pytest.fixture
def window(monkeypatch):
    monkeypatch.setattr("dnworker.attach.matching.WINDOW", 0.5)


async def test_names_of_deployed_workers_are_refused_as_it_does_not_say_which_did_what(here, there):
    with pytest.raises(UsageError, match="does not say which worker did what.*leave --as out"):
        await attach(here, there.url, token=TOKEN, counterparts={"notebook:a": "b"})
    assert here.attachment is None


async def test_events_of_known_sessions_are_recovered_and_others_are_a_gap(here, there):
    worker, got = listener()
    await here.add(worker)
    await there.client().create_session(session_id="known")
    async with Proxy(there.url) as proxy, attached(here, there, url=proxy.url) as attachment:
        assert attachment.kind_of_runtime == "reference"
        there.publish("order.placed", {"n": 0}, session_id="known")
        await until(lambda: len(got) == 1)
        proxy.is_closed = True
        proxy.cut()
        await until(lambda: attachment.state == "lost")
        there.publish("order.placed", {"n": 1}, session_id="known")
        lost = there.publish("order.placed", {"n": 2})
        there.publish("order.placed", {"n": 3}, session_id="known")
        proxy.is_closed = False
        await until(lambda: len(got) == 3)
        await until(lambda: attachment.state == "following")
        there.publish("order.placed", {"n": 4})
        await until(lambda: len(got) == 4)
    assert [event.payload["n"] for event in got] == [0, 1, 3, 4]
    (gap,) = attachment.gaps
    assert gap.after_seq < lost.seq < gap.before_seq
    assert "keeps no events outside of sessions" in gap.detail
    assert {line.partition(" ")[0] for line in proxy.requests} == {"GET"}


async def test_a_session_that_was_deleted_meanwhile_is_not_made_again(here, there):
    worker, got = listener()
    await here.add(worker)
    await there.client().create_session(session_id="gone")
    async with Proxy(there.url) as proxy, attached(here, there, url=proxy.url) as attachment:
        there.publish("order.placed", {"n": 0}, session_id="gone")
        await until(lambda: got)
        proxy.is_closed = True
        proxy.cut()
        await until(lambda: attachment.state == "lost")
        await there.client().delete_session("gone")
        proxy.is_closed = False
        await until(lambda: attachment.state == "following")
        assert await there.client().list_sessions() == []


async def test_a_cut_without_anything_missed_is_no_gap(here, there):
    worker, got = listener()
    await here.add(worker)
    async with Proxy(there.url) as proxy, attached(here, there, url=proxy.url) as attachment:
        there.publish("order.placed", {"n": 0})
        await until(lambda: len(got) == 1)
        proxy.cut()
        await until(lambda: attachment.state == "lost")
        await until(lambda: attachment.state == "following")
        there.publish("order.placed", {"n": 1})
        await until(lambda: len(got) == 2)
    assert attachment.gaps == []


async def test_a_restart_is_noticed_though_the_runtime_has_no_id(here, there, monkeypatch):
    worker, got = listener()
    await here.add(worker)
    async with Proxy(there.url) as proxy:
        attachment = await attach(here, proxy.url, token=TOKEN)
        await until(lambda: attachment.state == "following")
        for n in range(5):
            there.publish("order.placed", {"n": n})
        await until(lambda: len(got) == 5)
        async with Runtime(port=0, token=TOKEN) as second:
            monkeypatch.setattr(second, "info", _info)
            second.progress.timings["configuring"] = 4.321
            proxy.aim(second.url)
            proxy.cut()
            await until(lambda: attachment.state == "lost")
            await until(lambda: attachment.state == "following")
            second.publish("order.placed", {"n": 5})
            await until(lambda: len(got) == 6)
            await attachment.detach()
    assert [(gap.before_seq, "started anew" in gap.detail) for gap in attachment.gaps] == [(None, True)]


async def test_what_was_published_there_too_is_the_same_and_silence_is_unknown(here, there, window):
    await there.add(flagger(100))
    await here.add(flagger(100))
    async with attached(here, there) as attachment:
        there.publish("order.placed", {"id": 0, "amount": 500})
        await settled(attachment)  # from here on the kind is followed
        await until(lambda: attachment.received == 1)
        await settled(attachment)
        await until(lambda: "order.flagged" in (attachment._follower.kinds or ()))
        await asyncio.sleep(1.1)
        for number, amount in enumerate((50, 500), 1):
            there.publish("order.placed", {"id": number, "amount": amount})
        await until(lambda: attachment.received >= 4)
        await settled(attachment)
    rows = attachment.rows()
    assert [row.verdict for row in rows] == ["unknown", "unknown", "same"]
    assert "publishes nothing" in rows[1].why
    assert rows[2].deployed is not None
    assert rows[2].deployed[0].startswith('publishes order.flagged {"id": 2')


async def test_another_payload_or_none_within_the_window_is_different(here, there, window):
    def doing(what) -> Worker:
        worker = Worker("bridge")

        @worker.on_event("order.placed")
        async def on_placed(event, client) -> None:
            await what(event, client)

        return worker

    async def there_does(event, client) -> None:
        if event.payload["id"] != 3:
            await client.publish("order.flagged", {"id": event.payload["id"], "price": 1})

    async def here_does(event, client) -> None:
        price = 2 if event.payload["id"] == 2 else 1
        await client.publish("order.flagged", {"id": event.payload["id"], "price": price})

    await there.add(doing(there_does))
    await here.add(doing(here_does))
    async with attached(here, there) as attachment:
        there.publish("order.placed", {"id": 0})
        await until(lambda: attachment.received == 1)
        await until(lambda: "order.flagged" in (attachment._follower.kinds or ()))
        await asyncio.sleep(1.1)
        for number in (1, 2, 3):
            there.publish("order.placed", {"id": number})
            await settled(attachment)
        await until(lambda: len(attachment.rows()) == 4)
        await settled(attachment)
    rows = attachment.rows()
    assert [row.verdict for row in rows[1:]] == ["same", "different", "different"]
    assert rows[2].why == "order.flagged: price is 2, and 1 there"
    assert rows[3].why.startswith("no order.flagged like it came within 0.5 s")


async def test_events_missed_meanwhile_make_it_unknown(here, there, window):
    await here.add(flagger(100))
    async with attached(here, there) as attachment:
        there.publish("order.placed", {"id": 0, "amount": 500})
        await until(lambda: attachment.received == 1)
        await until(lambda: "order.flagged" in (attachment._follower.kinds or ()))
        await asyncio.sleep(1.1)
        there.publish("order.placed", {"id": 1, "amount": 500})
        await until(lambda: attachment.received == 2)
        attachment.miss(1, 3, "a test")
        await settled(attachment)
    assert (attachment.rows()[-1].verdict, attachment.rows()[-1].why) == (
        "unknown",
        "events were missed meanwhile",
    )
