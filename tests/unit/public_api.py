"""How the public API is used; type-checked with the package, never run."""

from __future__ import annotations

from dnworker import (
    EventEnvelope,
    Runtime,
    RuntimeClient,
    Trace,
    TurnCancelledError,
    TurnFailedError,
    VirtualClock,
    Worker,
    WorkerState,
)
from dnworker.patterns import batch, debounce, limit, once, throttle

worker = Worker(name="bridge")


@worker.on_startup
async def connect(client: RuntimeClient) -> None:
    worker.state["seen"] = set()


@worker.on_event("turn.completed")
async def on_turn(event: EventEnvelope, client: RuntimeClient) -> None:
    answer: dict[str, object] = await client.publish("demo.answer", {"turn": event.payload["turn_id"]})
    await client.notify(title=f"{event.kind} {answer['seq']}", severity="success")


@worker.on_event("doc.changed")
@batch(size=100, within=2)
async def index(events: list[EventEnvelope], client: RuntimeClient) -> int:
    return len([event.payload["doc"] for event in events])


@worker.on_event("doc.changed")
@once(key=lambda e: e.event_id, within="1h")
@debounce(seconds=5, key=lambda e: e.session_id, max_wait=60)
@throttle(rate=10, per=60, else_="drop")
@limit(at_once=2)
async def build(event: EventEnvelope, client: RuntimeClient) -> None:
    await index(event, client)  # each takes and returns what the one below does


@worker.every(cron="0 * * * *")
async def hourly(client: RuntimeClient) -> None:
    try:
        await client.restart_worker("demo", "relay")
    except (TurnFailedError, TurnCancelledError) as exc:
        print(exc)


@worker.task
async def read(client: RuntimeClient) -> None:
    async for event in client.subscribe("demo.a", "demo.b"):
        print(event.seq + 1, event.timestamp.isoformat())


async def main() -> None:
    async with Runtime(port=None, clock=VirtualClock()) as runtime:
        managed = await runtime.add(worker)
        trace: Trace = await runtime.fire("turn.completed", {"turn_id": "t1"}, session_id="s1", timeout=30)
        assert trace.ok
        assert [i.duration for i in trace.invocations]
        assert managed.state is WorkerState.RUNNING
        await runtime.advance(3600)
        await runtime.settle(timeout=5)


if __name__ == "__main__":
    worker.run()
