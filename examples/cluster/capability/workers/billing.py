"""Bills each order once, also where its event is delivered again after a node has died."""

from dnworker import EventEnvelope, RuntimeClient, Worker

worker = Worker(name="billing")


@worker.on_event("shop.order.placed")
async def bill(event: EventEnvelope, client: RuntimeClient) -> None:
    async with client.once(f"bill-{event.event_id}") as is_first:
        if is_first:
            print(f"order {event.payload['number']} is billed")
            await client.publish("shop.order.billed", {"number": event.payload["number"]})
