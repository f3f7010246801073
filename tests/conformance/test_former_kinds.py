"""What a worker has not handled of a kind that it names no more is kept, or said to be let go."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

from dnworker.events.brokers.base import BEGINNING, Outcome

from .stage import Stage, handle, handle_next, next_of, numbers, queued_in

redelivers = pytest.mark.needs("redelivers")
survives_kill = pytest.mark.needs("survives_kill")


@pytest.fixture
def told(stage):
    """Return a function that waits for what the broker tells, as (worker, kind, count, is_kept)."""
    return listening(stage)


def listening(stage: Stage) -> Callable[..., object]:
    """Listen to what the broker tells of events that are left."""
    heard: list[object] = []
    stage.broker.left.add(heard.append)

    async def wait(count: int = 1) -> list[tuple[object, ...]]:
        async with asyncio.timeout(10):
            while len(heard) < count:
                await asyncio.sleep(0.01)
        return [(one.worker, one.kind, one.count, one.is_kept) for one in heard]

    return wait


@redelivers
async def test_what_waits_of_a_kind_that_is_named_no_more_is_told_and_comes_once_it_is_named_again(
    stage, told
):
    stage.broker.subscribe("demo:w", ["demo.go", "demo.old"]).close()
    await stage.publish_all(3, "demo.old")
    await stage.publish("demo.go", {"n": 10})
    newer = stage.broker.subscribe("demo:w", ["demo.go"])
    assert numbers(await handle_next(newer)) == [10]
    assert await told() == [("demo:w", "demo.old", 3, True)]
    newer.close()
    again = stage.broker.subscribe("demo:w", ["demo.go", "demo.old"])
    assert numbers(await handle_next(again, 3)) == [0, 1, 2]
    await is_idle(stage, again)


@redelivers
async def test_a_worker_that_names_no_kind_any_more_gets_nothing_and_keeps_what_waits(stage):
    stage.broker.subscribe("demo:w", ["demo.go"]).close()
    await stage.publish_all(2)
    if stage.broker.capabilities.survives_kill:
        await stage.kill()
    told = listening(stage)
    nothing = stage.broker.subscribe("demo:w", [])
    assert await told() == [("demo:w", "demo.go", 2, True)]
    await stage.publish("demo.go", {"n": 7})
    assert nothing.take() is None
    nothing.close()
    consumer = stage.broker.subscribe("demo:w", ["demo.go"])
    assert numbers(await handle_next(consumer, 2)) == [0, 1]
    await is_idle(stage, consumer)


@redelivers
async def test_what_is_published_while_a_kind_is_not_named_does_not_come(stage):
    stage.broker.subscribe("demo:w", ["demo.go", "demo.old"]).close()
    await stage.publish("demo.old", {"n": 0})
    newer = stage.broker.subscribe("demo:w", ["demo.go"])
    await stage.publish("demo.old", {"n": 1})
    newer.retarget(["demo.go", "demo.old"])
    await stage.publish("demo.old", {"n": 2})
    assert numbers(await handle_next(newer, 2)) == [0, 2]
    await is_idle(stage, newer)


@redelivers
async def test_a_worker_that_runs_leaves_what_is_queued_of_a_kind_that_it_names_no_more(stage, told):
    consumer = stage.broker.subscribe("demo:w", ["demo.go", "demo.old"])
    await stage.publish("demo.old", {"n": 0})
    await stage.publish("demo.go", {"n": 1})
    await stage.publish("demo.old", {"n": 2})
    await queued_in(consumer, 3)
    consumer.retarget(["demo.go"])
    assert numbers(consumer.queued()) == [1]
    assert await told() == [("demo:w", "demo.old", 2, True)]
    consumer.retarget(["demo.go", "demo.old"])
    events = await handle_next(consumer, 3)
    assert sorted(numbers(events)) == [0, 1, 2]
    assert [consumer.number(event) for event in events] == [1, 1, 1]
    await is_idle(stage, consumer)


@survives_kill
async def test_it_is_told_and_kept_over_a_kill(stage):
    stage.broker.subscribe("demo:w", ["demo.go", "demo.old"]).close()
    await stage.publish_all(2, "demo.old")
    stage.broker.subscribe("demo:w", ["demo.go"])
    await written(stage)
    await stage.kill()
    told = listening(stage)
    stage.broker.subscribe("demo:w", ["demo.go"])
    assert await told() == [("demo:w", "demo.old", 2, True)]
    (info,) = await stage.broker.cursors()
    assert info.former == {"demo.old": 2}
    await stage.kill()
    again = stage.broker.subscribe("demo:w", ["demo.go", "demo.old"])
    assert numbers(await handle_next(again, 2)) == [0, 1]
    await is_idle(stage, again)
    assert (await stage.broker.cursors())[0].former == {}


@redelivers
async def test_what_was_given_before_and_not_handled_is_kept_with_its_number_and_its_handlers(stage, told):
    consumer = stage.broker.subscribe("demo:w", ["demo.go", "demo.old"])
    await stage.publish("demo.old", {"n": 0})
    await stage.publish("demo.go", {"n": 1})
    old, new = await next_of(consumer, 2)
    for handler in ("one", "two"):
        consumer.note_begin(old.event_id, handler)
    consumer.handed_out(old.event_id)
    consumer.note_end(old.event_id, Outcome("one"))
    handle(consumer, new)
    consumer.close()
    newer = stage.broker.subscribe("demo:w", ["demo.go"])
    assert await told() == [("demo:w", "demo.old", 1, True)]
    await stage.publish("demo.go", {"n": 2})
    await handle_next(newer)
    newer.close()
    again = stage.broker.subscribe("demo:w", ["demo.go", "demo.old"])
    (event,) = await next_of(again)
    assert (numbers([event]), again.number(event), [*again.handled_by(event.event_id)]) == ([0], 2, ["one"])
    handle(again, event)
    await is_idle(stage, again)


@redelivers
async def test_what_is_to_come_again_later_is_kept_where_its_kind_is_named_no_more_by_then(stage):
    consumer = stage.broker.subscribe("demo:w", ["demo.go", "demo.old"])
    await stage.publish("demo.old", {"n": 0})
    (event,) = await next_of(consumer)
    consumer.note_begin(event.event_id, "on_old")
    consumer.handed_out(event.event_id)
    consumer.release(event.event_id, 5.0)
    consumer.note_end(event.event_id, Outcome("on_old", "ValueError: no"))
    consumer.retarget(["demo.go"])
    await stage.advance(10)
    consumer.retarget(["demo.go", "demo.old"])
    (again,) = await handle_next(consumer)
    assert (again.event_id, consumer.number(again)) == (event.event_id, 2)
    await is_idle(stage, consumer)


@redelivers
async def test_nothing_is_told_of_a_kind_of_which_nothing_waits_or_whose_stream_was_closed(stage, told):
    consumer = stage.broker.subscribe("demo:w", ["demo.go", "demo.old", "demo.closed", "demo.told"])
    await stage.publish("demo.old", {"n": 0})
    await handle_next(consumer)
    await stage.publish("demo.closed", {"n": 1})
    await queued_in(consumer, 1)
    consumer.retarget(["demo.go", "demo.old", "demo.told"], lets_go=True)
    await stage.publish("demo.told", {"n": 2})
    await queued_in(consumer, 1)
    consumer.retarget(["demo.go"])
    assert await told() == [("demo:w", "demo.told", 1, True)]
    consumer.retarget(["demo.go", "demo.closed"])
    await is_idle(stage, consumer)


@redelivers
async def test_an_event_that_the_worker_has_when_its_kind_goes_is_told_only_once_it_is_given_back(
    stage, told
):
    consumer = stage.broker.subscribe("demo:w", ["demo.go", "demo.old", "demo.other"])
    await stage.publish_all(2, "demo.old")
    ended, given_back = await next_of(consumer, 2)
    await stage.publish("demo.other", {"n": 2})
    await queued_in(consumer, 1)
    for event in (ended, given_back):
        consumer.note_begin(event.event_id, "on_old")
        consumer.handed_out(event.event_id)
    consumer.retarget(["demo.go"])
    assert await told() == [("demo:w", "demo.other", 1, True)]
    consumer.note_end(ended.event_id, Outcome("on_old"))
    consumer.release(given_back.event_id)
    consumer.note_end(given_back.event_id, Outcome("on_old", "ValueError: no"))
    assert (await told(2))[1:] == [("demo:w", "demo.old", 1, True)]
    await is_idle(stage, consumer)


@redelivers
async def test_what_was_given_before_does_not_come_to_a_version_on_trial_that_names_its_kind_again(
    stage, told
):
    consumer = stage.broker.subscribe("demo:w", ["demo.go", "demo.old"])
    await stage.publish("demo.old", {"n": 0})
    (event,) = await next_of(consumer)
    consumer.note_begin(event.event_id, "on_old")
    consumer.handed_out(event.event_id)
    consumer.retarget(["demo.go"])
    consumer.release(event.event_id)
    consumer.note_end(event.event_id, Outcome("on_old", "ValueError: no"))
    assert await told() == [("demo:w", "demo.old", 1, True)]
    consumer.retarget(["demo.go", "demo.old"], is_trial=True)
    for _ in range(5):  # by then it would have been read
        await is_idle(stage, consumer)
    consumer.retarget(["demo.go"], lets_go=True)
    await is_idle(stage, consumer)
    consumer.retarget(["demo.go", "demo.old"])
    (again,) = await handle_next(consumer)
    assert (again.event_id, consumer.number(again)) == (event.event_id, 2)
    await is_idle(stage, consumer)


@redelivers
async def test_a_kind_that_goes_and_comes_many_times_loses_nothing_that_was_accepted_for_it(stage):
    stage.broker.subscribe("demo:w", ["demo.go"]).close()
    for n in range(6):
        stage.broker.subscribe("demo:w", ["demo.go", "demo.old"]).close()
        await stage.publish("demo.old", {"n": n})
        stage.broker.subscribe("demo:w", ["demo.go"]).close()
        await stage.publish("demo.old", {"n": 100 + n})
    consumer = stage.broker.subscribe("demo:w", ["demo.old"])
    assert numbers(await handle_next(consumer, 6)) == [*range(6)]
    await is_idle(stage, consumer)


@survives_kill
async def test_a_worker_that_is_made_to_begin_elsewhere_has_no_former_kinds(stage):
    stage.broker.subscribe("demo:w", ["demo.go", "demo.old"]).close()
    await stage.publish("demo.old", {"n": 0})
    stage.broker.subscribe("demo:w", ["demo.go"]).close()
    await stage.broker.reset("demo:w", BEGINNING)
    consumer = stage.broker.subscribe("demo:w", ["demo.go", "demo.old"])
    await is_idle(stage, consumer)


async def test_a_broker_that_keeps_nothing_tells_what_it_lets_go(stage, told):
    if stage.broker.capabilities.redelivers:
        pytest.skip("it is kept")
    consumer = stage.broker.subscribe("demo:w", ["demo.go", "demo.old"])
    await stage.publish_all(2, "demo.old")
    await stage.publish("demo.go", {"n": 5})
    consumer.retarget(["demo.go"])
    assert numbers(consumer.queued()) == [5]
    assert await told() == [("demo:w", "demo.old", 2, False)]


async def test_a_broker_that_keeps_nothing_tells_of_what_is_given_back_of_a_kind_that_is_gone(stage, told):
    if stage.broker.capabilities.redelivers:
        pytest.skip("it is kept")
    stage.broker.count_ends("demo:w")
    consumer = stage.broker.subscribe("demo:w", ["demo.go", "demo.old"])
    await stage.publish("demo.old", {"n": 0})
    (event,) = await next_of(consumer)
    consumer.note_begin(event.event_id, "on_old")
    consumer.handed_out(event.event_id)
    consumer.retarget(["demo.go"])
    consumer.release(event.event_id)
    consumer.note_end(event.event_id, Outcome("on_old", "ValueError: no"))
    assert await told() == [("demo:w", "demo.old", 1, False)]
    assert consumer.queued() == []


async def is_idle(stage: Stage, consumer: object) -> None:
    """Check that nothing waits for a worker: what is published next is what comes next."""
    await stage.publish("demo.go" if "demo.go" in consumer.kinds else "demo.old", {"n": -1})
    assert numbers(await handle_next(consumer)) == [-1]
    assert len(consumer) == 0


async def written(stage: Stage) -> None:
    """Wait until it is written how far workers are."""
    await stage.broker.settled("demo:w", 5)
    await stage.broker.put("written", b"")
