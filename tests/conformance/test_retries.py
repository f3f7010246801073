"""What is given back comes again, and says which of its handlers have ended well."""

from __future__ import annotations

from dnworker.events.brokers.base import Outcome

from .stage import next_of, numbers


def subscribed(stage):
    """Return a consumer of which ends are counted, by every broker."""
    stage.broker.count_ends("demo:w")
    return stage.broker.subscribe("demo:w", ["demo.go"])


def give_back(consumer, event, delay: float = 0.0) -> None:
    """End well with one handler, and fail with another, whose event is given back."""
    for handler in ("on_go", "on_other"):
        consumer.note_begin(event.event_id, handler)
    consumer.handed_out(event.event_id)
    consumer.note_end(event.event_id, Outcome("on_other"))
    consumer.release(event.event_id, delay)
    consumer.note_end(event.event_id, Outcome("on_go", "OSError: no disk"))


async def test_what_is_given_back_comes_again_with_its_number_for_the_handlers_that_have_failed(stage):
    consumer = subscribed(stage)
    await stage.publish_all(1)
    (event,) = await next_of(consumer)
    give_back(consumer, event)
    (again,) = await next_of(consumer)
    assert (again.event_id, consumer.number(again)) == (event.event_id, 2)
    assert [*consumer.handled_by(again.event_id)] == ["on_other"]


async def test_an_event_that_a_worker_has_can_be_had_whole_until_it_is_handled(stage):
    consumer = subscribed(stage)
    await stage.publish_all(1)
    (event,) = await next_of(consumer)
    assert consumer.event(event.event_id).payload == {"n": 0}
    consumer.handed_out(event.event_id)
    assert consumer.event(event.event_id) is None


async def test_what_is_given_back_comes_after_its_delay_and_newer_events_before_it(stage):
    consumer = subscribed(stage)
    (first, _) = await stage.publish_all(2)
    (event,) = await next_of(consumer)
    give_back(consumer, event, delay=10)
    (newer,) = await next_of(consumer)
    await stage.clock.advance(9)
    assert consumer.take() is None
    await stage.clock.advance(1)
    (again,) = await next_of(consumer)
    assert numbers([newer, again]) == [1, 0]
    assert again.event_id == first.event_id


async def test_what_waits_for_its_delay_comes_to_the_next_consumer_of_its_worker(stage):
    consumer = subscribed(stage)
    await stage.publish_all(1)
    (event,) = await next_of(consumer)
    give_back(consumer, event, delay=10)
    consumer.close()
    later = subscribed(stage)
    await stage.clock.advance(10)
    (again,) = await next_of(later)
    assert (later.number(again), again.replay) == (2, True)
    assert [*later.handled_by(again.event_id)] == ["on_other"]
