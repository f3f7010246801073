# /// script
# requires-python = ">=3.11"
# dependencies = [
#     "dreadnode>=2.0,<3.0",
# ]
# ///
"""Worker greeter, exported from a notebook by dnworker."""

from dreadnode.capabilities.worker import EventEnvelope, RuntimeClient, Worker

worker = Worker(name="greeter")


@worker.on_event("turn.completed")
async def count(event: EventEnvelope, client: RuntimeClient) -> None:
    worker.state["turns"] = worker.state.get("turns", 0) + 1
    print(f"turn {event.payload['turn_id']} is the number {worker.state['turns']}")


@worker.every(minutes=5)
async def report(client: RuntimeClient) -> None:
    print(f"{worker.state.get('turns', 0)} turns so far")


if __name__ == "__main__":
    worker.run()
