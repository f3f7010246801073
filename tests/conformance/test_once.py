"""What is done once stays done on every broker that outlives a kill, and what was not is done again."""

from __future__ import annotations

from functools import partial

import pytest

from dnworker.core.keys import KEY_SECONDS
from dnworker.engine.dedupe import Deduped
from dnworker.engine.once import OnceKeys
from dnworker.events.bus import EventBus


@pytest.mark.needs("survives_kill")
async def test_after_a_kill_what_was_done_is_known_and_a_body_that_was_under_way_runs_again(stage):
    keys = OnceKeys(EventBus(stage.clock, broker=stage.broker), stage.clock)
    assert await keys.begin("demo:w", "done", "1")
    await keys.end("demo:w", "1", done=True)
    assert await keys.begin("demo:w", "under way", "2")
    await stage.kill()
    keys = OnceKeys(EventBus(stage.clock, broker=stage.broker), stage.clock)
    assert not await keys.begin("demo:w", "done", "3")
    assert await keys.begin("demo:w", "under way", "4")


async def test_a_day_later_a_key_is_free(stage):
    keys = OnceKeys(EventBus(stage.clock, broker=stage.broker), stage.clock)
    assert await keys.begin("demo:w", "a", "1")
    await keys.end("demo:w", "1", done=True)
    assert not await keys.begin("demo:w", "a", "2")
    await stage.advance(KEY_SECONDS + 1)
    assert await keys.begin("demo:w", "a", "3")


async def test_an_event_of_a_key_is_delivered_once(stage):
    bus = EventBus(stage.clock, broker=stage.broker)
    heard, deduped = bus.subscribe(), Deduped(bus, stage.clock)
    answers = [await deduped.publish("demo:w", "a", partial(bus.publish, "demo.paid")) for _ in range(3)]
    assert [answer.is_duplicate for answer in answers] == [False, True, True]
    assert len({answer.event_id for answer in answers}) == len(heard) == 1


@pytest.mark.needs("survives_kill")
async def test_an_event_whose_seq_was_not_kept_before_the_kill_is_the_same_event(stage, monkeypatch):
    bus = EventBus(stage.clock, broker=stage.broker)
    deduped, put, puts = Deduped(bus, stage.clock), stage.broker.put, []

    async def dies_at_the_second(*args, **options):
        puts.append(args)
        if len(puts) == 2:
            raise ConnectionError("killed")
        return await put(*args, **options)

    monkeypatch.setattr(stage.broker, "put", dies_at_the_second)
    with pytest.raises(ConnectionError):
        await deduped.publish("demo:w", "a", partial(bus.publish, "demo.paid"))
    (event,) = await stage.broker.replay(None, 0)
    await stage.kill()
    bus = EventBus(stage.clock, broker=stage.broker)
    told = []
    bus.tap(told.append)
    bus._seq = stage.broker.latest_seq
    answer = await Deduped(bus, stage.clock).publish("demo:w", "a", partial(bus.publish, "demo.paid"))
    assert (answer.event_id, answer.seq, answer.is_duplicate) == (event.event_id, event.seq, True)
    assert told == []
    assert len(await stage.broker.replay(None, 0)) == 1
