"""The endpoints of the catalogue of events: the list of kinds, and all that is known of one."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta

from dnworker.catalogue.entries import KindEntry, KindList
from dnworker.server.api import ApiCall, Fields, endpoint
from dnworker.server.rights import Right

WHOLE = 50
"""Whole entries of a page at most."""

Kind = Annotated[str, Meta(max_length=512)]


class KindsQuery(Fields):
    """Which kinds: those that begin with `prefix`, after a kind, and how many; `whole` has their entries."""

    prefix: Kind = ""
    after: Kind | None = None
    limit: Annotated[int, Meta(ge=1, le=1_000)] = 200
    whole: bool = False


@endpoint("GET", "/api/catalogue", query=KindsQuery, answer=KindList, right=Right.LOGS)
async def list_kinds(call: ApiCall) -> object:
    """List the kinds of events, with who publishes and hears each, and when it was seen first and last."""
    from dnworker.engine.event_catalogue import EventCatalogue  # not before it is asked for

    query: KindsQuery = call.query
    return await EventCatalogue(call.engine).rows(
        limit=min(query.limit, WHOLE) if query.whole else query.limit,
        after=query.after,
        prefix=query.prefix,
        whole=query.whole,
    )


@endpoint("GET", "/api/catalogue/{kind}", answer=KindEntry, right=Right.LOGS, errors=(404,))
async def kind(call: ApiCall) -> object:
    """Return all that is known of a kind: its schema, fields, drift and examples."""
    from dnworker.engine.event_catalogue import EventCatalogue

    return await EventCatalogue(call.engine).entry(call.path["kind"])


endpoints = [list_kinds, kind]
