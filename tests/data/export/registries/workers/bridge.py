# /// script
# requires-python = "*"
# dependencies = [
#     "dreadnode>=2.0,<3.0",
# ]
# ///
"""Worker bridge, exported from a notebook by dnworker."""

from dreadnode.capabilities.worker import EventEnvelope, RuntimeClient, Worker

worker = Worker(name="bridge")

COMMANDS = {}


def command(name):
    def register(function):
        COMMANDS[name] = function
        return function
    return register


@command("hi")
def hi():
    return "hi"


@worker.on_event("a")
async def on_a(event: EventEnvelope, client: RuntimeClient) -> None:
    print(COMMANDS[event.payload["command"]]())


if __name__ == "__main__":
    worker.run()
