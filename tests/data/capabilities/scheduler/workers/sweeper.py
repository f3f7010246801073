"""Sweeps what the scheduler left behind."""

from dreadnode.capabilities.worker import RuntimeClient, Worker

from . import calendar_of_jobs as calendar

worker = Worker("sweeper")


@worker.every(minutes=60)
async def sweep(client: RuntimeClient) -> None:
    await client.publish("sweep.done", {"rule": calendar.RULE})
