"""A version of a worker that lacks a handler: what waits for it is said, shown, and given to a later version."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable

import pytest

from dnworker import Runtime, Worker
from dnworker.core.errors import HandlerFailed
from dnworker.events.brokers.memory import MemoryBroker
from dnworker.events.brokers.sqlite.broker import SqliteBroker
from dnworker.workers.inprocess_worker import Generation
from dnworker.workers.managed import ManagedWorker
from dnworker.workers.runner import NotStarted

pytestmark = pytest.mark.timeout(60)


async def until(is_so: Callable[[], object]) -> None:
    """Return as soon as something is so."""
    async with asyncio.timeout(10):
        while not is_so():
            await asyncio.sleep(0.01)


class Seen:
    """What the handlers of all versions were given, by kind."""

    def __init__(self) -> None:
        self.all: list[tuple[str, int]] = []
        self.is_open = asyncio.Event()
        self.is_open.set()

    def worker(self, *kinds: str, fails: bool = False) -> Worker:
        """Return a version that has handlers of these kinds."""
        worker = Worker("bridge")
        for kind in kinds:
            worker.on_event(kind)(self._handler())
        if fails:

            @worker.on_startup
            async def on_startup(client):
                raise ValueError("no")

        return worker

    def _handler(self) -> Callable[..., object]:
        async def on_event(event, client):
            await self.is_open.wait()
            self.all.append((event.kind, event.payload["n"]))

        return on_event

    async def wait(self, count: int) -> list[tuple[str, int]]:
        """Return what was given as soon as it is so many events."""
        await until(lambda: len(self.all) >= count)
        return sorted(self.all)


@pytest.fixture
def seen():
    return Seen()


async def publish(runtime: Runtime, kind: str, numbers: Iterable[int]) -> None:
    """Publish events, and return once they are accepted."""
    for n in numbers:
        await runtime.client().publish(kind, {"n": n})


async def become(managed: ManagedWorker, worker: Worker, number: int) -> None:
    """Have a worker go on with another version."""
    generation = Generation(number, managed.definition, lambda: worker, lambda: worker)
    await managed.follow(generation)


async def line(runtime: Runtime, text: str) -> str:
    """Return the one line of the runtime's log that has a text, as soon as it is there."""
    await until(lambda: runtime.log.page(level="warning", text=text).entries)
    (record,) = runtime.log.page(level="warning", text=text).entries
    return record.message


@pytest.mark.parametrize("kinds", [("demo.go",), ()], ids=["another kind", "no kind"])
async def test_a_version_that_lacks_a_handler_says_what_waits_for_it_and_the_next_that_has_it_gets_it(
    tmp_path, seen, kinds
):
    file = tmp_path / "events.db"
    async with Runtime(port=None, broker=SqliteBroker(file)) as runtime:
        managed = await runtime.add(seen.worker("demo.go", "demo.old"))
        await managed.stop()
        await publish(runtime, "demo.old", range(3))
    async with Runtime(port=None, broker=SqliteBroker(file)) as runtime:
        managed = await runtime.add(seen.worker(*kinds))
        said = await line(runtime, "named no more")
        assert "demo.old is named no more, with 3 events not handled, published from 20" in said
        assert "`dnworker cursors reset notebook:bridge --to now`" in said
        assert managed.losses == "3 events kept of kinds that it names no more: demo.old (3)"
        assert "demo.old (3)" in managed.component().detail
    async with Runtime(port=None, broker=SqliteBroker(file)) as runtime:
        managed = await runtime.add(seen.worker(*kinds))
        await until(lambda: managed.losses is not None)
        assert not runtime.log.page(level="warning", text="named no more").entries
    async with Runtime(port=None, broker=SqliteBroker(file)) as runtime:
        managed = await runtime.add(seen.worker("demo.go", "demo.old"))
        assert await seen.wait(3) == [("demo.old", 0), ("demo.old", 1), ("demo.old", 2)]
        await until(lambda: managed.losses is None)


async def test_a_generation_that_lacks_a_handler_leaves_what_waits_to_the_next_that_has_it(tmp_path, seen):
    async with Runtime(port=None, broker=SqliteBroker(tmp_path / "events.db")) as runtime:
        managed = await runtime.add(seen.worker("demo.go", "demo.old"))
        await managed.stop()
        await publish(runtime, "demo.old", range(2))
        await become(managed, seen.worker("demo.go"), 2)
        await line(runtime, "demo.old is named no more")
        await publish(runtime, "demo.old", [10])
        with pytest.raises(NotStarted):
            await become(managed, seen.worker("demo.old", fails=True), 3)
        await become(managed, seen.worker("demo.go", "demo.old"), 4)
        await publish(runtime, "demo.old", [2])
        assert await seen.wait(3) == [("demo.old", 0), ("demo.old", 1), ("demo.old", 2)]
        with pytest.raises(HandlerFailed, match="on_startup"):
            await runtime.settle()
        assert len(seen.all) == 3


async def test_what_waits_for_a_worker_that_is_removed_is_said(tmp_path, seen):
    async with Runtime(port=None, broker=SqliteBroker(tmp_path / "events.db")) as runtime:
        managed = await runtime.add(seen.worker("demo.go"))
        await managed.stop()
        await publish(runtime, "demo.go", range(2))
        await runtime.remove("bridge")
        said = await line(runtime, "was removed")
        assert said.startswith(
            "notebook:bridge was removed with 2 events that it has not handled: they are kept"
        )
        await runtime.add(seen.worker("demo.go"))
        assert await seen.wait(2) == [("demo.go", 0), ("demo.go", 1)]


async def test_in_memory_what_waits_for_a_handler_that_goes_is_counted_as_lost(seen):
    async with Runtime(port=None, broker=MemoryBroker()) as runtime:
        managed = await runtime.add(seen.worker("demo.go", "demo.old"))
        managed._runner._dispatch.task.cancel()  # as one that is slow to take what comes
        await publish(runtime, "demo.old", range(2))
        managed._runner._dispatch._events.retarget(["demo.go"])
        assert "2 events lost: demo.old is named no more" in await line(runtime, "named no more")
        assert managed.losses.startswith(
            "2 events lost: demo.old is named no more, and events are kept in memory"
        )
        for event in (one for one in runtime.history.events(9) if one.kind == "demo.old"):
            (why,) = runtime.history.losses_of(event.event_id)
            assert why.startswith("lost for notebook:bridge: demo.old is named no more")


def test_the_line_of_one_event_is_in_the_singular():
    from dnworker.engine.left_events import said
    from dnworker.events.brokers.left_events import LeftEvents

    at = "2030-01-01T00:00:00+00:00"
    assert said(LeftEvents("demo:w", "demo.old", 1, at, at)) == (
        f"demo.old is named no more, with 1 event not handled, of {at}: it is kept, and a version that names "
        "demo.old again gets it; `dnworker cursors reset demo:w --to now` lets all go that waits"
    )
