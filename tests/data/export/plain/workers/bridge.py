# /// script
# requires-python = "*"
# dependencies = [
#     "dreadnode>=2.0,<3.0",
# ]
# ///
"""Worker bridge, exported from a notebook by dnworker."""

from dreadnode.capabilities.worker import EventEnvelope, RuntimeClient, Worker

bridge = Worker(name="bridge")

PREFIX = "capability.demo"
seen = 3


def kind(name):
    return f"{PREFIX}.{name}"


# counts what it hears
@bridge.on_event("turn.completed")
async def on_turn(event: EventEnvelope, client: RuntimeClient) -> None:
    bridge.state["n"] = bridge.state.get("n", 0) + seen
    await client.publish(kind("counted"), {"n": bridge.state["n"]})


@bridge.every(minutes=5)
async def report(client: RuntimeClient) -> None:
    print(bridge.state)


if __name__ == "__main__":
    bridge.run()
