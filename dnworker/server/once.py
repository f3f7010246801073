"""The endpoints behind `client.once` of clients in other processes; a worker's token names the worker."""

from __future__ import annotations

from typing import Annotated

import msgspec

from dnworker.server.api import ApiCall, Fields, endpoint
from dnworker.server.hanging_up import while_there
from dnworker.server.rights import Right

ClaimId = Annotated[str, msgspec.Meta(min_length=1, max_length=64)]


class Claim(Fields):
    """What is to be done once, and an id that the caller makes up for this attempt."""

    key: str
    claim: ClaimId


class Begun(msgspec.Struct):
    """Whether the caller is to do it; the end of the claim must follow then."""

    first: bool


class End(Fields):
    """Whether it is done; else the next caller may do it."""

    done: bool


class Ended(msgspec.Struct):
    """The claim that has ended."""

    claim: str


@endpoint("POST", "/api/once", right=Right.PUBLISH, body=Claim, answer=Begun, errors=(409, 507))
async def begin(call: ApiCall) -> object:
    """Begin what a worker does once a day for a key; waits while another call of it is doing it."""
    worker = call.scope.get("worker")
    beginning = call.engine.once.begin(
        worker or "",
        call.body.key,
        call.body.claim,
        holder=call.scope.get("token", ""),
        may_vanish=worker is None,
    )
    return Begun(await while_there(call.receive, beginning))


@endpoint("POST", "/api/once/{claim}/end", right=Right.PUBLISH, body=End, answer=Ended, errors=(404, 507))
async def end(call: ApiCall) -> object:
    """End what was begun by a claim."""
    claim = call.path["claim"]
    await call.engine.once.end(call.scope.get("worker") or "", claim, done=call.body.done)
    return Ended(claim)


endpoints = [begin, end]
