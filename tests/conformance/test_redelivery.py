"""What a worker has not handled comes again; what it has handled does not."""

from __future__ import annotations

import asyncio

import pytest

from dnworker.core.errors import Conflict, NotFound
from dnworker.events.brokers.base import BEGINNING, Outcome

from .stage import Watcher, handle, handle_next, next_of, numbers

redelivers = pytest.mark.needs("redelivers")
survives_kill = pytest.mark.needs("survives_kill")


@redelivers
async def test_what_is_not_handled_comes_again_marked_and_in_order_and_then_what_is_new(stage):
    consumer = stage.broker.subscribe("demo:w", ["demo.go"])
    await stage.publish_all(6)
    handled, _, also_handled = await next_of(consumer, 3)
    handle(consumer, handled)
    handle(consumer, also_handled)
    consumer.close()
    again = stage.broker.subscribe("demo:w", ["demo.go"])
    await stage.publish("demo.go", {"n": 6})
    events = await next_of(again, 5)
    assert numbers(events) == [1, 3, 4, 5, 6]
    assert [event.replay for event in events] == [True, True, True, True, False]
    assert [again.number(event) for event in events] == [2, 1, 1, 1, 1]


@redelivers
async def test_what_is_published_while_a_worker_is_away_waits_for_it(stage):
    stage.broker.subscribe("demo:w", ["demo.go"]).close()
    await stage.publish_all(3)
    await stage.publish("demo.go", {"n": 3}, only="demo:other")
    consumer = stage.broker.subscribe("demo:w", ["demo.go"])
    events = await handle_next(consumer, 3)
    assert numbers(events) == [0, 1, 2]
    await consumer_is_idle(consumer)


@redelivers
async def test_an_error_is_an_end(stage):
    consumer = stage.broker.subscribe("demo:w", ["demo.go"])
    await stage.publish("demo.go", {"n": 1})
    (event,) = await next_of(consumer)
    handle(consumer, event, error="LookupError: no such order")
    consumer.close()
    await consumer_is_idle(stage.broker.subscribe("demo:w", ["demo.go"]))


@redelivers
async def test_an_event_is_handled_when_the_last_of_its_handlers_has_ended(stage):
    consumer = stage.broker.subscribe("demo:w", ["demo.go"])
    first, second = await stage.publish_all(2)
    await next_of(consumer, 2)
    for event in (first, second):
        consumer.note_begin(event.event_id, "one")
        consumer.note_begin(event.event_id, "two")
        consumer.note_end(event.event_id, Outcome("one"))
        consumer.handed_out(event.event_id)
    consumer.note_end(second.event_id, Outcome("two"))
    consumer.close()
    again = stage.broker.subscribe("demo:w", ["demo.go"])
    assert numbers(await handle_next(again)) == [0]
    await consumer_is_idle(again)


@redelivers
async def test_a_handler_that_ends_after_the_close_has_handled_its_event(stage):
    consumer = stage.broker.subscribe("demo:w", ["demo.go"])
    await stage.publish_all(2)
    first, _ = await next_of(consumer, 2)
    consumer.note_begin(first.event_id, "on_go")
    consumer.handed_out(first.event_id)
    consumer.close()
    consumer.note_end(first.event_id, Outcome("on_go"))
    again = stage.broker.subscribe("demo:w", ["demo.go"])
    assert numbers(await handle_next(again)) == [1]
    await consumer_is_idle(again)


@survives_kill
async def test_what_was_accepted_and_not_handled_comes_again_after_a_kill(stage):
    consumer = stage.broker.subscribe("demo:w", ["demo.go"])
    await stage.publish_all(5)
    await handle_next(consumer, 2)
    begun = (await next_of(consumer))[0]
    consumer.note_begin(begun.event_id, "on_go")
    await acknowledged(stage)
    await stage.kill()
    assert stage.broker.latest_seq == 5
    again = stage.broker.subscribe("demo:w", ["demo.go"])
    events = await handle_next(again, 3)
    assert numbers(events) == [2, 3, 4]
    assert [again.number(event) for event in events] == [2, 2, 2]
    assert all(event.replay for event in events)


@survives_kill
async def test_every_kill_counts_as_a_delivery_that_may_have_begun(stage):
    stage.broker.subscribe("demo:w", ["demo.go"])
    await stage.publish("demo.go", {"n": 1})
    for number in (2, 3, 4):
        await stage.kill()
        consumer = stage.broker.subscribe("demo:w", ["demo.go"])
        (event,) = await next_of(consumer)
        assert consumer.number(event) == number


@survives_kill
async def test_what_no_consumer_was_there_for_was_not_delivered_before_a_kill(stage):
    stage.broker.subscribe("demo:w", ["demo.go"]).close()
    await stage.publish("demo.go", {"n": 1})
    await stage.kill()
    consumer = stage.broker.subscribe("demo:w", ["demo.go"])
    (event,) = await next_of(consumer)
    assert (consumer.number(event), event.replay) == (1, True)


@survives_kill
async def test_a_worker_that_was_subscribed_before_an_event_gets_it_after_a_kill(stage):
    stage.broker.subscribe("demo:w", ["demo.go"])
    await stage.publish("demo.go", {"n": 1})
    await stage.kill()
    assert numbers(await handle_next(stage.broker.subscribe("demo:w", ["demo.go"]))) == [1]


@survives_kill
async def test_an_event_that_was_held_comes_after_a_kill(stage):
    stage.broker.subscribe("demo:w", ["demo.go"])
    await stage.publish("demo.go", {"n": 1}, is_held=True)
    await stage.kill()
    assert numbers(await handle_next(stage.broker.subscribe("demo:w", ["demo.go"]))) == [1]


@pytest.mark.parametrize("worker", ["here", "behind", "away"])
@survives_kill
async def test_an_event_that_was_held_and_let_go_does_not_come_after_a_kill(stage, worker):
    consumer = stage.broker.subscribe("demo:w", ["demo.go"])
    if worker == "behind":
        consumer.close()
        await stage.publish("demo.go", {"n": 0})
        consumer = stage.broker.subscribe("demo:w", ["demo.go"])
    held = await stage.publish("demo.go", {"n": 1}, is_held=True)
    if worker == "away":
        consumer.close()
    stage.broker.let_go([held.seq])
    await stage.publish("demo.go", {"n": 2})
    wanted = [0, 2] if worker == "behind" else [2]
    if worker != "away":
        assert numbers(await handle_next(consumer, len(wanted))) == wanted
        wanted = []
        await stage.restart()  # what was handled just now may come again after a kill
    await stage.publish("demo.go", {"n": 3})
    await stage.kill()
    (cursor,) = await stage.broker.cursors()
    assert (cursor.pending, cursor.outstanding) == (len(wanted) + 1, [])
    again = stage.broker.subscribe("demo:w", ["demo.go"])
    assert numbers(await handle_next(again, len(wanted) + 1)) == [*wanted, 3]


@survives_kill
async def test_the_seq_goes_on_rising_and_ids_stay_known(stage):
    first = await stage.publish("demo.go", {"n": 1}, is_idempotent=True)
    await stage.restart()
    assert stage.broker.latest_seq == first.seq
    again = await stage.publish("demo.go", {"n": 2}, event_id=first.event_id, is_idempotent=True)
    assert again.seq == first.seq
    assert (await stage.publish()).seq > first.seq


# -- given back ------------------------------------------------------------------------------------------


@redelivers
async def test_an_event_that_is_given_back_comes_again_with_the_next_number(stage):
    consumer = stage.broker.subscribe("demo:w", ["demo.go"])
    await stage.publish("demo.go", {"n": 1})
    (event,) = await next_of(consumer)
    consumer.release(event.event_id)
    (again,) = await next_of(consumer)
    assert (again.event_id, consumer.number(again)) == (event.event_id, 2)


@redelivers
async def test_an_event_that_is_given_back_with_a_delay_comes_after_it(stage):
    consumer = stage.broker.subscribe("demo:w", ["demo.go"])
    await stage.publish_all(2)
    event, _ = await next_of(consumer, 2)
    consumer.note_begin(event.event_id, "on_go")
    consumer.handed_out(event.event_id)
    consumer.release(event.event_id, 60)
    consumer.note_end(event.event_id, Outcome("on_go", "OSError: no"))
    await stage.clock.advance(59)
    assert consumer.take() is None
    await stage.clock.advance(2)
    assert numbers(await next_of(consumer)) == [0]


@redelivers
async def test_events_come_again_in_the_order_of_their_time(stage):
    consumer = stage.broker.subscribe("demo:w", ["demo.go"])
    await stage.publish_all(3)
    for event, delay in zip(await next_of(consumer, 3), (30, 10, 20), strict=True):
        consumer.release(event.event_id, delay)
    await stage.clock.advance(60)
    assert numbers(await next_of(consumer, 3)) == [1, 2, 0]


@redelivers
async def test_it_comes_once_no_handler_of_it_runs_any_more(stage):
    consumer = stage.broker.subscribe("demo:w", ["demo.go"])
    await stage.publish("demo.go", {"n": 1})
    (event,) = await next_of(consumer)
    for handler in ("one", "two"):
        consumer.note_begin(event.event_id, handler)
    consumer.handed_out(event.event_id)
    consumer.note_end(event.event_id, Outcome("one", "OSError: no"))
    consumer.release(event.event_id)
    await stage.publish("demo.go", {"n": 2})
    assert numbers(await next_of(consumer)) == [2]
    consumer.note_end(event.event_id, Outcome("two"))
    assert numbers(await next_of(consumer)) == [1]


@survives_kill
async def test_what_was_handled_while_an_event_was_given_back_does_not_come_again(stage):
    consumer = stage.broker.subscribe("demo:w", ["demo.go"])
    await stage.publish_all(4)
    first, *others = await next_of(consumer, 4)
    consumer.release(first.event_id)
    for event in others:
        handle(consumer, event)
    while not len(consumer):
        await asyncio.sleep(0)
    await acknowledged(stage)
    await stage.kill()
    again = stage.broker.subscribe("demo:w", ["demo.go"])
    assert numbers(await handle_next(again)) == [0]
    await consumer_is_idle(again)


@survives_kill
async def test_a_delay_survives_a_kill(stage):
    consumer = stage.broker.subscribe("demo:w", ["demo.go"])
    await stage.publish("demo.go", {"n": 1})
    (event,) = await next_of(consumer)
    consumer.release(event.event_id, 60)
    await acknowledged(stage)
    await stage.kill()
    again = stage.broker.subscribe("demo:w", ["demo.go"])
    await consumer_is_idle(again)
    await stage.clock.advance(61)
    (event,) = await next_of(again)
    assert again.number(event) == 2


@redelivers
async def test_an_event_that_the_worker_never_had_cannot_be_given_back(stage):
    consumer = stage.broker.subscribe("demo:w", ["demo.go"])
    with pytest.raises(NotFound, match="demo:w does not have the event 00"):
        consumer.release("00")


async def test_work_that_takes_long_changes_nothing(stage):
    consumer = stage.broker.subscribe("demo:w", ["demo.go"])
    await stage.publish("demo.go", {"n": 1})
    (event,) = await next_of(consumer)
    consumer.note_progress(event.event_id)
    await stage.clock.advance(3600)
    assert consumer.take() is None


# -- workers ---------------------------------------------------------------------------------------------


@redelivers
async def test_a_worker_has_one_consumer(stage):
    consumer = stage.broker.subscribe("demo:w", ["demo.go"])
    with pytest.raises(Conflict, match="demo:w has its events already"):
        stage.broker.subscribe("demo:w", ["demo.go"])
    consumer.close()
    stage.broker.subscribe("demo:w", ["demo.go"])


@redelivers
async def test_a_new_worker_can_begin_at_the_beginning_or_at_a_seq(stage):
    events = await stage.publish_all(4)
    all_of_them = stage.broker.subscribe("demo:all", ["demo.go"], start=BEGINNING)
    later = stage.broker.subscribe("demo:later", ["demo.go"], start=events[1].seq)
    await stage.publish("demo.go", {"n": 4})
    assert numbers(await handle_next(all_of_them, 5)) == [0, 1, 2, 3, 4]
    assert numbers(await handle_next(later, 3)) == [2, 3, 4]


@redelivers
async def test_a_kind_that_is_new_to_a_worker_begins_now(stage):
    stage.broker.subscribe("demo:w", ["demo.a"]).close()
    await stage.publish("demo.a", {"n": 1})
    await stage.publish("demo.b", {"n": 2})
    consumer = stage.broker.subscribe("demo:w", ["demo.a", "demo.b"])
    await stage.publish("demo.b", {"n": 3})
    assert numbers(await handle_next(consumer, 2)) == [1, 3]


@redelivers
async def test_a_kind_that_is_new_begins_where_it_is_told_and_repeats_nothing(stage):
    consumer = stage.broker.subscribe("demo:w", ["demo.a"])
    for n in range(4):
        await stage.publish("demo.a" if n % 2 else "demo.b", {"n": n})
    await handle_next(consumer, 1)
    consumer.close()
    again = stage.broker.subscribe("demo:w", ["demo.a", "demo.b"], start=BEGINNING)
    assert numbers(await handle_next(again, 3)) == [0, 2, 3]
    await consumer_is_idle(again)


@redelivers
async def test_cursors_say_how_far_each_worker_is(stage):
    consumer = stage.broker.subscribe("demo:w", ["demo.b", "demo.a"])
    stage.broker.subscribe("demo:gone", None).close()
    events = [await stage.publish("demo.a", {"n": n}) for n in range(4)]
    await handle_next(consumer)
    await next_of(consumer)
    handle(consumer, (await next_of(consumer))[0])
    gone, here = await stage.broker.cursors()
    assert (here.worker, here.kinds, here.is_here, here.pending) == ("demo:w", ["demo.a", "demo.b"], True, 2)
    assert (here.handled_to, here.outstanding) == (events[2].seq, [events[1].seq])
    assert (gone.worker, gone.kinds, gone.is_here, gone.pending) == ("demo:gone", None, False, 4)
    assert gone.seen_at == stage.clock.now().isoformat()


@redelivers
async def test_a_worker_that_is_reset_begins_there(stage):
    consumer = stage.broker.subscribe("demo:w", ["demo.go"])
    events = await stage.publish_all(3)
    await handle_next(consumer, 3)
    with pytest.raises(Conflict, match="demo:w is running; stop it first"):
        await stage.broker.reset("demo:w", BEGINNING)
    consumer.close()
    await stage.broker.reset("demo:w", events[0].seq)
    again = stage.broker.subscribe("demo:w", ["demo.go"])
    events = await handle_next(again, 2)
    assert numbers(events) == [1, 2]


@redelivers
async def test_a_worker_that_is_dropped_is_new_again(stage):
    consumer = stage.broker.subscribe("demo:w", ["demo.go"])
    await stage.publish("demo.go", {"n": 1})
    with pytest.raises(Conflict):
        await stage.broker.drop("demo:w")
    consumer.close()
    await stage.broker.drop("demo:w")
    assert await stage.broker.cursors() == []
    await consumer_is_idle(stage.broker.subscribe("demo:w", ["demo.go"]))


async def test_a_worker_that_is_not_known_can_neither_be_reset_nor_dropped(stage):
    for refused in (stage.broker.reset("demo:x", 0), stage.broker.drop("demo:x")):
        with pytest.raises(NotFound, match="demo:x"):
            await refused


# -- slow ones -------------------------------------------------------------------------------------------


async def test_a_slow_worker_misses_nothing_and_gets_nothing_twice_where_file_and_bus_meet(stage):
    consumer = stage.broker.subscribe("demo:w", ["demo.go"], watcher=(watcher := Watcher()))
    got: list[int] = []

    async def read():
        async for event in consumer:
            watcher.delivered(event)
            handle(consumer, event)
            got.append(event.payload["n"])
            if len(got) % 7 == 0:
                await asyncio.sleep(0)
            if len(got) == 6_000:
                return

    reader = asyncio.create_task(read())
    for n in range(0, 6_000, 500):
        begun = [stage.begin_publish("demo.go", {"n": n + m})[1] for m in range(500)]
        if n % 1_500 == 0:
            await asyncio.gather(*(accepted for accepted in begun if accepted is not None))
    await reader
    assert got == [*range(6_000)]
    assert watcher.expected == set()
    assert len(watcher.ever) == 6_000


@redelivers
async def test_many_pending_events_are_not_kept_in_memory(stage):
    stage.broker.subscribe("demo:w", ["demo.go"]).close()
    await stage.publish_all(5_000)
    consumer = stage.broker.subscribe("demo:w", ["demo.go"], watcher=(watcher := Watcher()))
    most = 0
    for n in range(5_000):
        event = await anext(consumer)
        assert event.payload == {"n": n}
        watcher.delivered(event)
        handle(consumer, event)
        most = max(most, len(consumer))
    assert most <= 2_000
    assert watcher.expected == set()


async def consumer_is_idle(consumer):
    """Check that nothing comes: all that waits was read, and nothing is queued."""
    await asyncio.sleep(0)
    reading = asyncio.create_task(anext(consumer))
    await asyncio.sleep(0)
    await consumer.drained()
    assert not reading.done()
    reading.cancel()


async def acknowledged(stage):
    """Return when it is on disk how far the workers are, which is written soon, not at once."""
    await stage.broker.write(*stage.broker._cursors.values())


# -- kinds that begin earlier --------------------------------------------------------------------------


@redelivers
async def test_a_kind_that_is_added_may_begin_with_an_event_that_has_passed(stage):
    await stage.publish("demo.b", {"n": 0})
    consumer = stage.broker.subscribe("demo:w", ["demo.a"])
    start = stage.broker.latest_seq
    await stage.publish("demo.a", {"n": 1})
    await stage.publish("demo.b", {"n": 2})
    await stage.publish("demo.a", {"n": 3})
    await stage.publish("demo.a", {"n": 4})
    handled, taken = await next_of(consumer, 2)
    handle(consumer, handled)
    consumer.retarget(["demo.a", "demo.b"], start)
    await stage.publish("demo.b", {"n": 5})
    assert numbers(await handle_next(consumer, 3)) == [2, 4, 5]
    consumer.close()
    again = stage.broker.subscribe("demo:w", ["demo.a", "demo.b"])
    assert numbers(await handle_next(again)) == numbers([taken])
    await consumer_is_idle(again)


@survives_kill
async def test_what_a_worker_has_outlives_a_kill_though_a_kind_began_earlier(stage):
    consumer = stage.broker.subscribe("demo:w", ["demo.a"])
    start = stage.broker.latest_seq
    await stage.publish("demo.b", {"n": 0})
    await stage.publish("demo.a", {"n": 1})
    await stage.publish("demo.a", {"n": 2})
    await next_of(consumer, 1)
    consumer.retarget(["demo.a", "demo.b"], start)
    await acknowledged(stage)
    await stage.kill()
    again = stage.broker.subscribe("demo:w", ["demo.a", "demo.b"])
    assert sorted(numbers(await handle_next(again, 3))) == [0, 1, 2]
    await consumer_is_idle(again)


@redelivers
async def test_a_worker_that_turns_to_all_kinds_and_back_misses_and_doubles_nothing(stage):
    consumer = stage.broker.subscribe("demo:w", ["demo.a"])
    start = stage.broker.latest_seq
    await stage.publish("demo.b", {"n": 0})
    await stage.publish("demo.a", {"n": 1})
    assert numbers(await handle_next(consumer)) == [1]
    consumer.retarget(None, start)
    await stage.publish("demo.c", {"n": 2})
    assert numbers(await handle_next(consumer, 2)) == [0, 2]
    await stage.publish("demo.c", {"n": 3})
    consumer.retarget(["demo.c"])
    assert numbers(await handle_next(consumer)) == [3]
    await consumer_is_idle(consumer)


@survives_kill
async def test_a_worker_that_was_killed_before_it_named_a_kind_misses_nothing(stage):
    stage.broker.expect("demo:w")
    await stage.publish("demo.go", {"n": 1})
    await stage.kill()
    consumer = stage.broker.subscribe("demo:w", ["demo.go"], start=stage.broker.expect("demo:w"))
    assert numbers(await next_of(consumer)) == [1]
