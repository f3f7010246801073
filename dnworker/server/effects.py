"""The endpoint that tells what workers did with events, in bulk, for who compares with them."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta

from dnworker.engine.effects_answer import EffectsPage, effects_page
from dnworker.server.api import ApiCall, Fields, endpoint
from dnworker.server.rights import Right


class EffectsQuery(Fields):
    """Of which events: after which number, up to which one, of which kinds, and how many at most."""

    after: Annotated[int, Meta(ge=0, le=2**62)] = 0
    until: Annotated[int, Meta(ge=0, le=2**62)] | None = None
    kind: Annotated[list[Annotated[str, Meta(max_length=256)]], Meta(max_length=50)] = []
    limit: Annotated[int, Meta(ge=1, le=1_000)] = 200


@endpoint("GET", "/api/history/effects", query=EffectsQuery, answer=EffectsPage, right=Right.LOGS)
def effects(call: ApiCall) -> object:
    """Tell what handlers did with events of memory, the oldest first: what they raised and published."""
    query: EffectsQuery = call.query
    return effects_page(
        call.engine, after=query.after, until=query.until, kinds=frozenset(query.kind), limit=query.limit
    )


endpoints = [effects]
