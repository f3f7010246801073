"""Leases have one holder at a time, and numbers that rise."""

from __future__ import annotations

import pytest

from dnworker.core.clock import SwitchClock

from .stage import FakeOutlet


async def test_a_lease_has_one_holder(stage):
    lease = await stage.broker.acquire("job", "a", 10)
    assert (lease.name, lease.holder) == ("job", "a")
    assert await stage.broker.acquire("job", "b", 10) is None
    assert await stage.broker.acquire("other", "b", 10) is not None


async def test_a_lease_that_has_ended_goes_to_another_with_a_higher_number(stage):
    first = await stage.broker.acquire("job", "a", 10)
    await stage.advance(11)
    second = await stage.broker.acquire("job", "b", 10)
    assert second.fence > first.fence
    assert await stage.broker.renew(first, 10) is None


async def test_a_lease_that_is_renewed_stays(stage):
    lease = await stage.broker.acquire("job", "a", 10)
    await stage.advance(8)
    renewed = await stage.broker.renew(lease, 10)
    assert renewed.fence == lease.fence
    await stage.advance(8)
    assert await stage.broker.acquire("job", "b", 10) is None


async def test_a_lease_that_has_ended_and_that_nobody_took_can_be_renewed(stage):
    lease = await stage.broker.acquire("job", "a", 10)
    await stage.advance(11)
    assert (await stage.broker.renew(lease, 10)).fence == lease.fence


async def test_a_lease_that_is_given_back_is_free_and_its_number_is_not_used_again(stage):
    first = await stage.broker.acquire("job", "a", 10)
    await stage.broker.give_back(first)
    second = await stage.broker.acquire("job", "b", 10)
    assert second.fence > first.fence
    await stage.broker.give_back(first)  # it is another's by now
    assert await stage.broker.acquire("job", "c", 10) is None


async def test_the_present_holder_may_ask_again(stage):
    first = await stage.broker.acquire("job", "a", 10)
    assert (await stage.broker.acquire("job", "a", 20)).fence == first.fence


async def test_the_same_holder_has_another_number_after_it_gave_the_lease_back(stage):
    first = await stage.broker.acquire("job", "a", 10)
    await stage.broker.give_back(first)
    second = await stage.broker.acquire("job", "a", 10)
    assert second.fence > first.fence
    assert await stage.broker.renew(first, 10) is None


async def test_a_lease_is_given_back_by_its_number_however_often_it_was_renewed_since(stage):
    first = await stage.broker.acquire("job", "a", 10)
    await stage.advance(3)
    await stage.broker.renew(first, 10)
    await stage.broker.give_back(first)  # whose answer to the renewal was lost
    assert await stage.broker.acquire("job", "b", 10) is not None


async def test_a_lease_that_has_ended_may_be_given_back_and_that_harms_no_later_holder(stage):
    first = await stage.broker.acquire("job", "a", 10)
    await stage.advance(11)
    await stage.broker.give_back(first)
    second = await stage.broker.acquire("job", "b", 10)
    await stage.broker.give_back(first)
    assert (await stage.broker.renew(second, 10)).fence == second.fence


@pytest.mark.needs("is_shared")
async def test_a_clock_that_somebody_sets_ends_nothing_of_other_nodes(stage):
    await stage.broker.acquire("job", "a", 10)
    await stage.broker.put("seat", b"a", seconds=10)
    notebook, clock = stage._make(stage._directory), SwitchClock()
    notebook.attach(FakeOutlet(), clock)
    await notebook.open("notebook")
    try:
        clock.be_virtual()
        await clock.advance(3600)
        assert await notebook.acquire("job", "b", 10) is None
        assert await notebook.keys("seat") == ["seat"]
        assert await notebook.put("seat", b"b", revision=0) is None
    finally:
        await notebook.close()


@pytest.mark.needs("is_shared")
async def test_what_is_no_lease_counts_as_held_and_has_no_end_of_its_own(stage, caplog):
    from dnworker.events.brokers.jetstream.mirror import LEASES, SECONDS, seconds_of

    lease = await stage.broker.acquire("job", "a", 10)
    await stage.broker._bucket.write(LEASES, "job", b"\xc1 no lease", seconds=10)
    for _ in range(2):
        assert await stage.broker.acquire("job", "b", 10) is None
    assert await stage.broker.renew(lease, 10) is None
    await stage.broker.give_back(lease)
    assert await stage.broker.acquire("job", "a", 10) is None
    assert sum("the lease job cannot be read" in line for line in caplog.messages) == 1
    assert [seconds_of({SECONDS: text}) for text in ("soon", "nan", "inf", "2.5")] == [None, None, None, 2.5]
