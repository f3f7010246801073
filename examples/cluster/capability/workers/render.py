"""Renders what is billed; `--require shop:render=gpu` runs it on nodes with that label only."""

from dnworker import EventEnvelope, RuntimeClient, Worker

worker = Worker(name="render")


@worker.on_event("shop.order.billed")
async def render(event: EventEnvelope, client: RuntimeClient) -> None:
    print(f"order {event.payload['number']} is rendered")
