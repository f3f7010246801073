"""Bridge between a WebSocket and the runtime."""

import asyncio
import json
import os

import websockets
from dreadnode.capabilities.worker import EventEnvelope, RuntimeClient, Worker

URL = os.environ["BRIDGE_URL"]
# What goes out before the socket is open waits here.
outbox: asyncio.Queue = asyncio.Queue(maxsize=100)

bridge = Worker(name="bridge")


def parse(raw):
    """Return kind and payload of a message; text that is no JSON is a payload of its own."""
    try:
        message = json.loads(raw)
    except ValueError:
        return "bridge.text", {"text": raw}
    return f"bridge.{message.pop('kind', 'message')}", message


@bridge.task
async def pump(client: RuntimeClient) -> None:
    # The runtime starts this again, with backoff, when the socket breaks.
    async with websockets.connect(URL) as socket:
        bridge.state["socket"] = socket
        await client.publish("bridge.connected", {"url": URL})
        async for raw in socket:
            kind, payload = parse(raw)
            await client.publish(kind, payload)


@bridge.on_event("turn.completed")
async def on_turn(event: EventEnvelope, client: RuntimeClient) -> None:
    try:
        outbox.put_nowait({"kind": "turn", "id": event.payload["turn_id"]})
    except asyncio.QueueFull:
        await client.notify(title="the bridge is full", severity="warning")
    await client.publish("bridge.queued", {"waiting": outbox.qsize()})


@bridge.every(seconds=5)
async def flush(client: RuntimeClient) -> None:
    socket = bridge.state.get("socket")
    while socket is not None and not outbox.empty():
        await socket.send(json.dumps(outbox.get_nowait()))


if __name__ == "__main__":
    bridge.run()
