"""What a runtime sees of the values that runtimes share."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any, cast

from dnworker.core.clock import RealClock
from dnworker.events.brokers.jetstream.mirror import SECONDS, VALUES, Mirror
from dnworker.events.brokers.jetstream.names import Names
from dnworker.events.brokers.jetstream.pulling import Raw

SHORT = 0.03


async def mirrored(changes: asyncio.Queue[str]) -> Mirror:
    """Return a mirror that no server tells anything."""
    connected = SimpleNamespace(names=Names("test"), api=SimpleNamespace(client=None))
    return Mirror(
        cast(Any, connected),
        RealClock(),
        lambda part, key: changes.put_nowait(f"{part} {key}"),
        lambda problem: None,
    )


def written(seq: int, seconds: float) -> Raw:
    """Return a value that has a time."""
    return Raw(f"{Names('test').bucket}.{VALUES}.seat", seq, seq, 0, {SECONDS: str(seconds)}, b"1")


async def test_who_watches_is_told_of_the_end_of_a_value_though_the_server_is_silent():
    changes: asyncio.Queue[str] = asyncio.Queue()
    mirror = await mirrored(changes)
    mirror._take(written(1, SHORT))
    assert changes.get_nowait() == f"{VALUES} seat"
    assert await asyncio.wait_for(changes.get(), 20) == f"{VALUES} seat"
    assert mirror.all_of(VALUES) == []


async def test_a_value_that_is_written_again_is_not_told_to_have_ended():
    changes: asyncio.Queue[str] = asyncio.Queue()
    mirror = await mirrored(changes)
    mirror._take(written(1, SHORT))
    mirror._take(written(2, 50.0))
    assert [timer.when() > asyncio.get_running_loop().time() + 40 for timer in mirror._ends.values()] == [
        True
    ]
    for timer in mirror._ends.values():
        timer.cancel()
