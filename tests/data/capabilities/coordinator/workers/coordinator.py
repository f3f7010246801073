#!/usr/bin/env -S uv run --script
# /// script
# requires-python = ">=3.11"
# dependencies = [
#     "dreadnode>=2.0,<3.0",
# ]
# ///
"""Coordinator: one session a change, one agent a stage.

A stage that fails is tried once more; then a person is asked.
"""

from __future__ import annotations

import asyncio
import logging
import os
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from dreadnode.capabilities.worker import EventEnvelope, RuntimeClient, Worker

from stages import STAGES, next_stage

if TYPE_CHECKING:
    from collections.abc import Iterable

log = logging.getLogger("coordinator")
worker = Worker(name="coordinator")

# Seconds; the manifest may say otherwise.
TIMEOUT = float(os.environ.get("STAGE_TIMEOUT", "60"))


@dataclass
class Case:
    """One change on its way."""

    change: str
    stage: str = STAGES[0]
    notes: list[str] = field(default_factory=list)


def open_cases() -> Iterable[Case]:
    return worker.state.get("cases", {}).values()


@worker.on_startup
async def start(client: RuntimeClient) -> None:
    worker.state["cases"] = {}
    log.info("stages: %s", ", ".join(STAGES))


# A change arrives: its first stage begins.
@worker.on_event("change.opened")
async def on_change(event: EventEnvelope, client: RuntimeClient) -> None:
    case = Case(event.payload["change"])
    worker.state["cases"][case.change] = case
    await client.publish("stage.begun", {"change": case.change, "stage": case.stage})


@worker.on_event("stage.done")
async def on_stage(event: EventEnvelope, client: RuntimeClient) -> None:
    case = worker.state["cases"][event.payload["change"]]
    case.notes.append(event.payload.get("note", ""))
    case.stage = next_stage(case.stage)
    if case.stage is None:
        del worker.state["cases"][case.change]
        await client.publish("change.closed", {"change": case.change, "notes": case.notes})
        return
    await client.publish("stage.begun", {"change": case.change, "stage": case.stage})


# What nobody answered for a while is told to a person.
@worker.every(minutes=10)
async def remind(client: RuntimeClient) -> None:
    for case in open_cases():
        await client.notify(title=f"{case.change} waits in {case.stage}")


@worker.task
async def drain(client: RuntimeClient) -> None:
    while True:
        await asyncio.sleep(TIMEOUT)


@worker.on_shutdown
async def stop(client: RuntimeClient) -> None:
    for case in open_cases():
        log.warning("%s was left in %s", case.change, case.stage)


if __name__ == "__main__":
    worker.run()
