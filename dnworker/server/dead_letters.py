"""The endpoints that show dead letters, have them delivered again, and drop them."""

from __future__ import annotations

from datetime import datetime

import msgspec

from dnworker.core.envelope import EventEnvelope
from dnworker.core.errors import Invalid
from dnworker.engine import dead_letters
from dnworker.engine.dead_letters import Summary
from dnworker.engine.redelivery import redeliver
from dnworker.server.api import ApiCall, Fields, endpoint
from dnworker.workers.silence import why_not_retried


class Letters(msgspec.Struct, omit_defaults=True):
    """Dead letters, the newest first."""

    dead_letters: list[Summary]
    not_retried: dict[str, str] = {}
    """Why, of workers whose events are not tried again though they are to be, and so never become one."""


class OfWorker(Fields):
    """The worker, as `capability:worker`; none for all."""

    worker: str | None = None


class EveryOf(OfWorker):
    """That every one of them is meant: a path whose id is missing does not say that."""

    all: bool = False


class FailedHandler(msgspec.Struct):
    """A handler that is not tried again, and the last error that it has raised."""

    handler: str
    attempts: int
    failed_at: datetime
    error: str
    traceback: list[str]
    """Its lines, with the frames of the user's code."""


class Letter(msgspec.Struct):
    """A dead letter, whole."""

    worker: str
    why: str
    event: EventEnvelope
    handlers: list[FailedHandler]


class Retried(msgspec.Struct):
    """The event that is delivered in place of the dead letter."""

    event_id: str
    seq: int


class Dropped(msgspec.Struct):
    """How many were dropped."""

    dropped: int


@endpoint("GET", "/api/dead-letters", query=OfWorker, answer=Letters)
async def list_letters(call: ApiCall) -> object:
    """List dead letters, of all workers or of one."""
    letters = call.engine.dead_letters
    await letters.ready()
    only = call.query.worker
    not_retried = {
        worker.qualified_name: why
        for worker in call.engine.workers()
        if only in (None, worker.qualified_name) and (why := why_not_retried(worker)) is not None
    }
    return Letters(letters.all(only), not_retried)


@endpoint("GET", "/api/dead-letters/{id}", query=OfWorker, answer=Letter, errors=(404,))
async def show(call: ApiCall) -> object:
    """Show a dead letter, by the id of its event or the beginning of that."""
    return as_answer(await call.engine.dead_letters.read(await _find(call)))


@endpoint("POST", "/api/dead-letters/{id}/retry", query=OfWorker, answer=Retried, errors=(404, 409, 410))
async def retry(call: ApiCall) -> object:
    """Deliver the event of a dead letter again, to its worker alone."""
    event = await redeliver(call.engine, await _find(call))
    return Retried(event.event_id, event.seq)


@endpoint("DELETE", "/api/dead-letters/{id}", query=OfWorker, answer=Dropped, errors=(404,))
async def drop(call: ApiCall) -> object:
    """Forget a dead letter."""
    await call.engine.dead_letters.drop(await _find(call))
    return Dropped(1)


@endpoint("DELETE", "/api/dead-letters", query=EveryOf, answer=Dropped)
async def drop_all(call: ApiCall) -> object:
    """Forget all dead letters, or those of one worker, with `all=true`."""
    if not call.query.all:
        raise Invalid(
            "name a dead letter by its id, as in /api/dead-letters/ID; ?all=true drops every one",
            code="DN319",
        )
    letters = call.engine.dead_letters
    await letters.ready()
    found = letters.all(call.query.worker)
    for one in found:
        await letters.drop(one)
    return Dropped(len(found))


async def _find(call: ApiCall) -> Summary:
    letters = call.engine.dead_letters
    await letters.ready()
    return letters.find(call.path["id"], call.query.worker)


def as_answer(letter: dead_letters.DeadLetter) -> Letter:
    """Return a letter as it is answered."""
    handlers = [
        FailedHandler(one.handler, one.attempts, one.at, str(one.error), one.error.lines())
        for one in letter.handlers
    ]
    return Letter(letter.worker, letter.why, letter.event, handlers)


endpoints = [list_letters, show, retry, drop, drop_all]
