"""A lease ends here before it ends at the broker, whatever the broker's answers take."""

from __future__ import annotations

import asyncio

import pytest

from dnworker.core.clock import RealClock, SwitchClock, VirtualClock
from dnworker.core.lease_time import LEASE, BootClock, lease_clock
from dnworker.engine.hold import Hold, NoAnswer
from dnworker.testing import SharedStore
from dnworker.workers.family import boot_time


class Slow:
    """Leases of a store, whose requests or answers take a while."""

    def __init__(self, clock: VirtualClock) -> None:
        self.store = SharedStore(clock)
        self.clock = clock
        self.there = self.back = 0.0
        """Seconds until a request arrives, and until its answer does."""

    async def _do(self, what, *args):
        await self.clock.sleep(self.there)
        answer = await what(*args)
        await self.clock.sleep(self.back)
        return answer

    async def acquire(self, *args):
        return await self._do(self.store.acquire, *args)

    async def renew(self, *args):
        return await self._do(self.store.renew, *args)

    async def give_back(self, *args):
        return await self._do(self.store.give_back, *args)


class Stage:
    def __init__(self) -> None:
        self.clock = VirtualClock()
        self.leases = Slow(self.clock)
        self.lost: list[tuple[float, str]] = []
        self.hold = self.of("a")

    def of(self, holder: str) -> Hold:
        return Hold("job", holder, lambda: self.leases, self.clock, self._lost)

    def _lost(self, why: str) -> None:
        self.lost.append((self.clock.monotonic(), why))

    async def take(self, hold: Hold, seconds: float = 5.0):
        taking = asyncio.create_task(hold.take())
        await self.clock.advance(seconds)
        return await taking


@pytest.fixture
async def stage():
    made = Stage()
    yield made
    made.leases.there = made.leases.back = 0.0
    await made.hold.give_back()


async def test_a_lease_counts_from_when_it_was_asked_for(stage):
    stage.leases.there, stage.leases.back = 1.5, 1.0
    assert await stage.take(stage.hold, 2.5)
    assert stage.hold.until == LEASE  # the broker counts from 1.5 on
    assert stage.hold.is_held


async def test_a_lease_that_is_renewed_is_held_for_ever(stage):
    stage.leases.there = 0.3
    assert await stage.take(stage.hold, 0.5)
    await stage.clock.advance(600)
    assert stage.hold.is_held
    assert stage.lost == []
    assert stage.hold.fence == 1


async def test_an_answer_that_does_not_come_is_an_error_and_not_a_lease(stage):
    stage.leases.back = 60
    with pytest.raises(NoAnswer, match=r"did not answer within 3.0 s"):
        await stage.take(stage.hold)
    assert not stage.hold.is_held
    assert stage.hold.fence is None


async def test_a_lease_whose_renewals_are_not_answered_is_lost_after_7_s_and_tries_go_on_until_then(stage):
    assert await stage.take(stage.hold, 0)
    stage.leases.back = 60
    await stage.clock.advance(20)
    ((at, why),) = stage.lost
    assert at == pytest.approx(7.0)
    assert why.startswith("its lease could not be renewed for 7 s: the broker did not answer")
    stage.leases.back = 0
    assert not stage.hold.is_held


async def test_a_lease_that_another_has_is_lost_at_once(stage):
    assert await stage.take(stage.hold, 0)
    stage.leases.store._leases.clear()
    await stage.leases.store.acquire("job", "b", 60)
    await stage.leases.store.give_back(await stage.leases.store.acquire("job", "b", 60))
    await stage.leases.store.acquire("job", "c", 60)
    await stage.clock.advance(3.1)
    assert [why for _, why in stage.lost] == ["another node has taken its lease"]


async def test_what_was_lost_is_taken_again_under_another_number(stage):
    assert await stage.take(stage.hold, 0)
    stage.leases.back = 60
    await stage.clock.advance(7.5)
    assert stage.lost
    stage.leases.back = 0
    assert await stage.take(stage.hold, 0.1)
    assert stage.hold.fence == 2


async def test_a_loop_that_stood_still_loses_what_has_ended_meanwhile(stage):
    assert await stage.take(stage.hold, 0)
    stage.clock._elapsed += 8  # nothing was woken
    assert not stage.hold.is_held
    stage.hold.check()
    stage.hold.check()
    assert [why for _, why in stage.lost] == [
        "its lease was not renewed for 7 s: the loop was blocked, or the machine slept"
    ]


async def test_of_two_that_ask_one_gets_it_and_the_other_as_soon_as_it_is_given_back(stage):
    other = stage.of("b")
    assert await stage.take(stage.hold, 0)
    assert not await stage.take(other, 0)
    await stage.hold.give_back()
    assert await stage.take(other, 0)
    await stage.hold.give_back()  # twice harms nobody
    await stage.clock.advance(20)
    assert other.is_held
    await other.give_back()


async def test_what_is_abandoned_ends_by_itself(stage):
    other = stage.of("b")
    assert await stage.take(stage.hold, 0)
    await stage.hold.abandon()
    await stage.clock.advance(9)
    assert not await stage.take(other, 0)
    await stage.clock.advance(1.1)
    assert await stage.take(other, 0)
    assert other.fence == 2
    await other.give_back()


async def test_a_broker_that_is_away_when_a_lease_is_given_back_ends_nothing_but_the_lease(stage):
    assert await stage.take(stage.hold, 0)
    stage.leases.back = 60
    giving = asyncio.create_task(stage.hold.give_back())
    await stage.clock.advance(4)
    await giving
    assert not stage.hold.is_held


def test_leases_go_by_the_machines_clock_also_where_a_notebooks_stands_still():
    assert isinstance(lease_clock(RealClock()), BootClock)
    assert isinstance(lease_clock(SwitchClock()), BootClock)
    virtual = VirtualClock()
    assert lease_clock(virtual) is virtual
    assert boot_time() <= BootClock().monotonic()
