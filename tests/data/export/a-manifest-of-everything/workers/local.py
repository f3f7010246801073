# /// script
# requires-python = "*"
# dependencies = [
#     "dreadnode>=2.0,<3.0",
# ]
# ///
"""Worker local, exported from a notebook by dnworker."""

from dreadnode.capabilities.worker import RuntimeClient, Worker

worker = Worker(name="local")


@worker.every(cron="0 6 * * *")
async def digest(client: RuntimeClient) -> None:
    pass


if __name__ == "__main__":
    worker.run()
