"""`Deployed`: asks a runtime of ours in bulk what its workers did with events, once that has settled."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import httpx
import msgspec

from dnworker.attach.catching_up import can_be_asked
from dnworker.attach.comparing import Comparing, Pending
from dnworker.attach.handshake import read_json
from dnworker.attach.sides import Act, Run, Side, published, raised, requested
from dnworker.client.http import HttpConnection

ASKED_AT_ONCE = 500
"""Events of one request."""

REQUESTS_AT_ONCE = 8
"""Requests of one round; what is left over comes in the next."""

WIDEST = 2_000
"""Numbers that one request spans: what lies between is read in vain, there."""

AGAIN_FIRST, AGAIN_LONGEST = 0.2, 10.0
"""Seconds after which it is asked again for an event that has not settled."""

GIVEN_UP = 600.0
"""Seconds after which an event that has not settled is never compared."""


_REFUSED = {
    403: "the token may not read there what handlers did",
    404: "that dnworker is too old to say what its workers did",
    405: "that dnworker is too old to say what its workers did",
}
"""Why what a handler did is not answered, by the status."""


class _Effect(msgspec.Struct, kw_only=True):
    id: str
    kind: str
    session_id: str | None = None
    payload: Any = msgspec.UNSET


class _Run(msgspec.Struct, kw_only=True):
    worker: str
    handler: str
    outcome: str
    delivery: int = 1
    errors: list[str] = []
    published: list[_Effect] = []
    requests: list[str] = []


class _Event(msgspec.Struct, kw_only=True):
    id: str
    seq: int
    settled: bool
    lacks: str | None = None
    runs: list[_Run] = []


class _Worker(msgspec.Struct, kw_only=True):
    state: str
    silent: str | None = None


class _Page(msgspec.Struct, kw_only=True):
    events: list[_Event]
    workers: dict[str, _Worker]
    next: int | None = None


class Deployed:
    """Decides on rows by what the other runtime answers.

    Args:
        connection: to that runtime.
        comparing: whose rows are decided.
        now: the loop's clock.
        counterparts: names of deployed workers by those of the notebook, where they differ.
    """

    def __init__(
        self,
        connection: HttpConnection,
        comparing: Comparing,
        now: Callable[[], float],
        counterparts: dict[str, str],
    ) -> None:
        self._connection = connection
        self._comparing = comparing
        self._now = now
        self._counterparts = counterparts

    async def round(self, *, is_last: bool = False) -> bool:
        """Ask for what is due, in the last round for all; returns whether more is due already.

        Raises:
            httpx.HTTPError, msgspec.MsgspecError, OSError, ValueError: it cannot be asked now.
        """
        now = self._now()
        waiting = [*self._comparing.waiting(), *self._comparing.second_looks()]
        due = sorted((one for one in waiting if one.due <= now or is_last), key=lambda one: one.seq)
        groups = [*_groups(due)]
        for group in groups[:REQUESTS_AT_ONCE]:
            await self._ask(group)
        return len(groups) > REQUESTS_AT_ONCE

    async def _ask(self, group: Sequence[Pending]) -> None:
        first, last = group[0].seq, group[-1].seq
        kinds = sorted({one.row.event.kind for one in group})
        query: dict[str, Any] = {"after": first - 1, "until": last, "limit": ASKED_AT_ONCE}
        if can_be_asked(kinds):
            query["kind"] = kinds
        while True:
            try:
                answer = await read_json(self._connection, "/api/history/effects", query)
            except httpx.HTTPStatusError as exc:
                if (why := _REFUSED.get(exc.response.status_code)) is None:
                    raise
                for one in group:
                    self._without_answer(one, why)
                return
            page = msgspec.convert(answer, _Page)
            reached = last if page.next is None else page.next
            self._decide([one for one in group if query["after"] < one.seq <= reached], page)
            if page.next is None:
                return
            if page.next <= query["after"]:
                raise ValueError("the pages of /api/history/effects do not lead on")
            query["after"] = page.next

    def _decide(self, group: Iterable[Pending], page: _Page) -> None:
        events = {one.seq: one for one in page.events}
        for pending in group:
            found = events.get(pending.seq)
            if found is None or found.id != pending.row.event.event_id:
                self._without_answer(pending, "that runtime keeps what it did no more")
            elif found.settled:
                there, why = self._side(pending.row.worker, found, page.workers)
                if there is None:
                    self._without_answer(pending, why)
                else:
                    self._comparing.decide(pending, there)
            elif self._now() - pending.since > GIVEN_UP:
                text = f"the deployed worker has not ended within {GIVEN_UP:g} s"
                self._without_answer(pending, text)
            else:
                delay = min(AGAIN_FIRST * 2 ** min(pending.asked, 10), AGAIN_LONGEST)
                pending.asked, pending.due = pending.asked + 1, self._now() + delay

    def _without_answer(self, pending: Pending, why: str) -> None:
        """Note that the other side is not known; a verdict that was given before stands."""
        if pending.is_decided:
            self._comparing.leave(pending)
        else:
            self._comparing.decide(pending, None, why)

    def _side(self, worker: str, event: _Event, workers: dict[str, _Worker]) -> tuple[Side | None, str]:
        name, why = self._counterpart(worker, workers)
        if name is None:
            return None, why
        runs = _last_deliveries([one for one in event.runs if one.worker == name])
        standing = workers[name]
        if not runs and standing.silent is not None:
            return None, f"nobody knows what {name} does there: {standing.silent}"
        if not runs and standing.state != "running":
            return None, f"{name} is {standing.state} there"
        lacks = event.lacks or next(filter(None, map(_lack, runs)), "")
        return Side(tuple(map(_run, runs)), f"there: {lacks}" if lacks else ""), ""

    def _counterpart(self, worker: str, workers: dict[str, _Worker]) -> tuple[str | None, str]:
        """Return the name of the deployed worker, or why there is none."""
        named = self._counterparts.get(worker)
        wanted = worker if named is None else named
        if wanted in workers:
            return wanted, ""
        if named is not None and ":" in named:
            return None, f"no worker {named} is there"
        short = wanted.rpartition(":")[2]
        alike = [name for name in workers if name.rpartition(":")[2] == short]
        if len(alike) == 1:
            return alike[0], ""
        if alike:
            return None, f"several workers {short} are there: {', '.join(sorted(alike)[:5])}"
        return None, f"no worker {short} is there"


def _groups(due: Sequence[Pending]) -> Iterable[list[Pending]]:
    """Divide what is due into requests: not too many events, nor too much between them."""
    group = list[Pending]()
    for one in due:
        if group and (len(group) == ASKED_AT_ONCE or one.seq - group[0].seq > WIDEST):
            yield group
            group = []
        group.append(one)
    if group:
        yield group


def _last_deliveries(runs: list[_Run]) -> list[_Run]:
    """Return of each handler the run of the last delivery: those before it were tried again."""
    last: dict[str, int] = {}
    for run in runs:
        last[run.handler] = max(last.get(run.handler, 0), run.delivery)
    return [run for run in runs if run.delivery == last[run.handler]]


def _lack(run: _Run) -> str | None:
    if run.outcome == "cancelled":
        return f"{run.handler} was cancelled"
    if any(one.payload is msgspec.UNSET for one in run.published):
        return "the payloads that it published are kept no more"
    return None


def _run(run: _Run) -> Run:
    acts: list[Act] = [published(one.kind, one.payload, one.session_id) for one in run.published]
    known = {act.line for act in acts}
    acts += [requested(line) for line in run.requests if line not in known]
    return Run(run.handler, (*acts, *map(raised, run.errors)))
