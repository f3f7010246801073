"""The endpoints behind `client.once` of clients in other processes; a worker's token names the worker."""

from __future__ import annotations

import asyncio
from typing import Annotated

import msgspec

from dnworker.server.api import ApiCall, Fields, endpoint
from dnworker.server.hanging_up import while_there
from dnworker.server.rights import Right

WAIT_SECONDS = 20.0
"""Seconds that a request waits for the caller who is doing it; less than clients and proxies wait."""

ClaimId = Annotated[str, msgspec.Meta(min_length=1, max_length=64)]


class Claim(Fields):
    """What is to be done once, and an id that the caller makes up for this attempt."""

    key: str
    claim: ClaimId


class Begun(msgspec.Struct):
    """Whether the caller is to do it; the end of the claim must follow then."""

    first: bool | None
    """None while another still does it: nothing was begun, ask again."""


class End(Fields):
    """Whether it is done; else the next caller may do it."""

    done: bool


class Ended(msgspec.Struct):
    """The claim that has ended."""

    claim: str


@endpoint("POST", "/api/once", right=Right.PUBLISH, body=Claim, answer=Begun, errors=(409, 507))
async def begin(call: ApiCall) -> object:
    """Begin what a worker does once a day for a key; waits up to 20 s while another call of it does it."""
    worker = call.scope.get("worker")
    beginning = call.engine.once.begin(
        worker or "",
        call.body.key,
        call.body.claim,
        holder=call.scope.get("token", ""),
        may_vanish=worker is None,
    )
    try:
        async with asyncio.timeout(WAIT_SECONDS):
            return Begun(await while_there(call.receive, beginning))
    except TimeoutError:
        return Begun(None)


@endpoint("POST", "/api/once/{claim}/end", right=Right.PUBLISH, body=End, answer=Ended, errors=(404, 507))
async def end(call: ApiCall) -> object:
    """End what was begun by a claim."""
    claim = call.path["claim"]
    await call.engine.once.end(call.scope.get("worker") or "", claim, done=call.body.done)
    return Ended(claim)


endpoints = [begin, end]
