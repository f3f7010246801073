from dnworker import Worker

worker = Worker(name="counter")


@worker.on_event("demo.count")
async def count(event, client):
    worker.state["n"] = worker.state.get("n", 0) + event.payload["by"]
    print("now", worker.state["n"])
    async with client.once("first") as first:
        if first:
            await client.publish("demo.counted", {"n": worker.state["n"]})
