"""The endpoint `/api/logs`: the runtime's log, a page at a time (contract 6.7)."""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta

from dnworker.core.models import LogPage
from dnworker.server.api import ApiCall, Fields, endpoint
from dnworker.server.rights import Right


class LogsQuery(Fields):
    """The records to return: after which, of which run, how many, of which level, with which text."""

    after: Annotated[int, Meta(ge=0)] | None = None
    instance_id: str | None = None
    limit: Annotated[int, Meta(ge=1, le=200)] = 100
    level: Literal["trace", "debug", "info", "success", "warning", "error", "critical"] = "debug"
    text: Annotated[str, Meta(max_length=256)] = ""


@endpoint("GET", "/api/logs", right=Right.LOGS, query=LogsQuery, answer=LogPage)
def logs(call: ApiCall) -> object:
    """Return records of the runtime and of its workers."""
    query: LogsQuery = call.query
    return call.engine.log.page(
        after=query.after,
        instance_id=query.instance_id,
        limit=query.limit,
        level=query.level,
        text=query.text,
    )


endpoints = [logs]
