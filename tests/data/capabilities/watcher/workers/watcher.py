#!/usr/bin/env python
# -*- coding: utf-8 -*-
# Licence: ours.
"""Watches turns.

Says how many there were.
"""

from __future__ import annotations

import json  # for texts
from dreadnode.capabilities.worker import (
    EventEnvelope,
    # the client publishes
    RuntimeClient,
    Worker,
)

# ---- constants ----

KIND = "a.b"  # what it publishes

# =========================
#  Helpers
#  of all kinds
# =========================

# Not about anything.

def say(n):
    # How.
    return json.dumps(n)


def only_first(n):
    return say(n)


#### the worker ####
# It is called this.
worker = Worker(
    name="watcher",  # as in the manifest
)


@worker.on_event("k")
async def first(event: EventEnvelope, client: RuntimeClient) -> None:
    await client.publish(KIND, {"text": only_first(1)})
    # Done.


@worker.on_event("j")
async def second(event: EventEnvelope, client: RuntimeClient) -> None:
    await client.publish(KIND, {"text": say(2)})

# Below the handlers.
LIMIT = 5 * 60


if __name__ == "__main__":
    # Runs alone.
    worker.run()
# The end.
