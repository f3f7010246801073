"""Keeps a calendar of jobs and says when one is due."""

from __future__ import annotations

from datetime import UTC, datetime

from dreadnode.capabilities.worker import EventEnvelope, RuntimeClient, Worker

from .calendar_of_jobs import due, key_of

worker = Worker()

# Seconds that a job may be late before it is skipped.
GRACE = 120


@worker.on_startup
async def load(client: RuntimeClient) -> None:
    worker.state["jobs"] = {}


@worker.on_event("job.planned")
async def plan(event: EventEnvelope, client: RuntimeClient) -> None:
    job = {"name": event.payload["name"], "at": event.payload["at"]}
    worker.state["jobs"][key_of(job)] = job
    await client.publish("job.accepted", {"key": key_of(job), "waiting": len(worker.state["jobs"])})


@worker.on_event("job.cancelled")
async def cancel(event: EventEnvelope, client: RuntimeClient) -> None:
    gone = worker.state["jobs"].pop(event.payload["key"])
    await client.publish("job.gone", {"name": gone["name"]})


@worker.every(seconds=30)
async def tick(client: RuntimeClient) -> None:
    now = datetime.now(UTC).timestamp()
    for key, job in list(worker.state["jobs"].items()):
        if due(job, now):
            del worker.state["jobs"][key]
            late = now - job["at"]
            await client.publish("job.due" if late <= GRACE else "job.missed", {"name": job["name"]})


# Every morning at six, UTC.
@worker.every(cron="0 6 * * *")
async def digest(client: RuntimeClient) -> None:
    await client.notify(title=f"{len(worker.state['jobs'])} jobs wait")
