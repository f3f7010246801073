"""Places an order every second: a schedule runs on one node, the one that holds this worker."""

from dnworker import RuntimeClient, Worker

worker = Worker(name="orders")


@worker.every(seconds=1)
async def place(client: RuntimeClient) -> None:
    worker.state["placed"] = worker.state.get("placed", 0) + 1
    await client.publish("shop.order.placed", {"number": worker.state["placed"]})
