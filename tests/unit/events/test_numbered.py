"""Events that the broker numbers: they are told of under the number that they have on all runtimes."""

from __future__ import annotations

import pytest

from dnworker.core.clock import VirtualClock, turn_loop
from dnworker.core.envelope import EventEnvelope
from dnworker.core.errors import NotStored
from dnworker.events.bus import EventBus
from dnworker.events.history import History
from dnworker.testing import SharedBroker, SharedStore


@pytest.fixture
async def buses() -> list[EventBus]:
    """Two runtimes' buses over one store."""
    store = SharedStore(VirtualClock())
    made = [EventBus(VirtualClock(), broker=SharedBroker(store)) for _ in range(2)]
    for bus in made:
        await bus.open("run")
    return made


async def test_two_runtimes_see_one_order(buses):
    seen: list[list[EventEnvelope]] = [[], []]
    for bus, events in zip(buses, seen, strict=True):
        bus.tap(events.append)
    published = [buses[n % 2].publish("k", {"n": n}) for n in range(10)]
    assert {one.seq for one in published} == {0}  # until they are accepted
    accepted = [await buses[n % 2].accepted(one) for n, one in enumerate(published)]
    await turn_loop()
    assert [one.seq for one in accepted] == [*range(1, 11)]
    assert [one.seq for one in published] == [*range(1, 11)]
    assert [(one.seq, one.event_id) for one in seen[0]] == [(one.seq, one.event_id) for one in seen[1]]
    assert [bus.latest_seq for bus in buses] == [10, 10]


async def test_what_is_refused_is_told_to_nobody(buses):
    heard: list[EventEnvelope] = []
    refused: list[EventEnvelope] = []
    buses[0].tap(heard.append)
    buses[0].refused.add(lambda envelope, why: refused.append(envelope))
    buses[0].broker.cut_off()
    event = buses[0].publish("k")
    with pytest.raises(NotStored):
        await buses[0].accepted(event)
    await turn_loop()
    assert heard == []
    assert refused == [event]


async def test_the_history_of_either_has_the_event_once_under_its_number(buses):
    histories = [History(), History()]
    for bus, history in zip(buses, histories, strict=True):
        bus.tap(history.note_event)
        bus.watcher = history
    event = buses[1].publish("k")
    await buses[1].accepted(event)
    await turn_loop()
    assert [history.event(event.event_id).seq for history in histories] == [1, 1]
    assert [history.waiting for history in histories] == [0, 0]


async def test_an_event_that_cannot_be_noted_is_delivered_all_the_same(buses, caplog):
    def fail(*_: object) -> bool:
        raise RuntimeError("a fault")

    for bus in buses:
        bus.tap(fail)
    got = [bus.subscribe(["k"], owner="demo:w") for bus in buses]
    await buses[0].accepted(buses[0].publish("k", {"n": 1}))
    await turn_loop()
    assert [[one.payload for one in subscription.queued()] for subscription in got] == [[{"n": 1}]] * 2
    assert "could not be noted" in caplog.text
