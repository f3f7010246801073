# /// script
# requires-python = "*"
# dependencies = [
#     "dnworker>=*",
# ]
#
# [tool.uv.sources]
# dnworker = { path = "../vendor/dnworker-*.whl" }
# ///
"""Worker bridge, exported from a notebook by dnworker."""

from dnworker import sleep

from dnworker import RuntimeClient, Worker

worker = Worker(name="bridge")


@worker.task
async def spin(client: RuntimeClient) -> None:
    await sleep(60)


if __name__ == "__main__":
    worker.run()
