"""What is known of the bucket stays known while the server is away and while it is read again."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace

import pytest

from dnworker.core.clock import VirtualClock
from dnworker.core.errors import BrokerError
from dnworker.events.brokers.jetstream import mirror as module
from dnworker.events.brokers.jetstream.mirror import VALUES, Mirror
from dnworker.events.brokers.jetstream.names import Names
from dnworker.events.brokers.jetstream.pulling import Raw


class Stage:
    """A mirror whose stream a test is."""

    def __init__(self) -> None:
        names, self.changes, self.clock = Names("test"), [], VirtualClock()
        client = SimpleNamespace(is_connected=True)
        info = SimpleNamespace(created="then")

        async def give_info(stream):
            return info

        self.connected = SimpleNamespace(
            api=SimpleNamespace(client=client, info=give_info),
            names=names,
            failure=None,
            values=info,
            settings=SimpleNamespace(address="nats://test"),
        )
        self.mirror = Mirror(
            self.connected, self.clock, lambda part, key: self.changes.append(key), lambda problem: None
        )
        self._names = names

    async def begin(self, **values: int) -> None:
        await self.mirror._begin()
        self.take(**values)

    def take(self, **values: int) -> None:
        for key, seq in values.items():
            subject = self._names.key(VALUES, key)
            self.mirror._take(Raw(subject, seq, seq, 0, {}, b"%d" % seq))

    def remove(self, key: str, seq: int) -> None:
        self.mirror._take(Raw(self._names.key(VALUES, key), seq, seq, 0, {"KV-Operation": "DEL"}, b""))

    @property
    def there(self) -> dict[str, int]:
        return {seen.key: seen.revision for seen in self.mirror.all_of(VALUES)}


@pytest.fixture
async def stage():
    made = Stage()
    await made.begin(a=1, b=2, c=3)
    made.mirror._caught_up()
    made.changes.clear()
    return made


async def test_while_all_is_read_again_what_was_known_is_there(stage):
    await stage.begin()  # and again, as where the server does not answer
    await stage.begin(b=7)
    assert stage.there == {"a": 1, "b": 7, "c": 3}
    assert stage.changes == ["b"]


async def test_what_has_gone_meanwhile_is_told_once_all_was_read(stage):
    await stage.begin(b=2, d=5)
    stage.remove("c", 6)
    assert stage.changes == ["d", "c"]
    stage.mirror._caught_up()
    assert stage.there == {"b": 2, "d": 5}
    assert stage.changes == ["d", "c", "a"]


async def test_nobody_is_told_that_all_is_read_before_it_is(stage):
    stage.mirror.restart()
    waiting = asyncio.create_task(stage.mirror.caught_up())
    await asyncio.sleep(0)
    await stage.begin(a=9)
    await asyncio.sleep(0)
    assert not waiting.done()
    stage.mirror._caught_up()
    await waiting


async def test_what_cannot_be_read_again_is_an_error(stage, monkeypatch):
    monkeypatch.setattr(module, "BEHIND_SECONDS", 0.01)
    stage.mirror.restart()
    with pytest.raises(BrokerError, match="cannot be read now"):
        await stage.mirror.caught_up()
    stage.mirror._caught_up()
    stage.connected.failure = "nats://here is away"
    with pytest.raises(BrokerError, match="is away"):
        await stage.mirror.caught_up()
