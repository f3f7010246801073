"""The endpoints through which agents look at a notebook and change it; only a notebook's runtime has them."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Awaitable, Callable
from typing import Annotated, Any, Literal

from msgspec import Meta

from dnworker.core.errors import ApiError, BrokerError, NotFound, TooLarge, UsageError, WorkerFailed, code_of
from dnworker.core.text import clip
from dnworker.engine.door import MAX_SECONDS, MAX_SOURCE_BYTES, NotebookDoor, agent_name
from dnworker.engine.past import Found
from dnworker.engine.trace_answer import answer_of
from dnworker.events.trace import Trace
from dnworker.server.api import ApiCall, Fields, endpoint
from dnworker.server.hanging_up import while_there
from dnworker.server.rights import Right

Name = Annotated[str, Meta(min_length=1, max_length=256)]
Seconds = Annotated[float, Meta(gt=0, le=MAX_SECONDS)]

DEFAULT_SECONDS = 30.0
ROWS = 1_000
LONGEST_TEXT = 200_000
"""Characters of a trace or a comparison as text; what is beyond is left out, and said."""

GRACE = 15.0
"""Seconds after its time is up that a call may take to end in order; then it is ended here."""

_STATUS = {
    **dict.fromkeys(("DN113", "DN209", "DN301"), 404),
    **dict.fromkeys(("DN112", "DN117", "DN212", "DN313", "DN711"), 409),
}
"""The statuses of mistakes that are not those of the caller's words; of others it is 400."""


class By(Fields, kw_only=True):
    """Who calls, as it is shown to the user, and how many seconds the call may wait."""

    by: Annotated[str, Meta(max_length=256)] = "unnamed"
    timeout: Seconds = DEFAULT_SECONDS


class CellBody(By, kw_only=True):
    """The whole text of a cell that begins with `%%worker NAME`; a `dry_run` changes nothing."""

    source: Annotated[str, Meta(max_length=MAX_SOURCE_BYTES)]
    dry_run: bool = False


class FireBody(By, kw_only=True):
    """An event; a known kind gets a realistic payload where none is given."""

    kind: Name
    payload: dict[str, Any] | None = None
    session_id: Name | None = None


class ReplayBody(By, kw_only=True):
    """A recorded event by id, the beginning of one or `#seq`; a `payload` takes the place of its own."""

    event: Name
    payload: dict[str, Any] | None = None
    compare: bool = False
    from_state: bool = False
    worker: Name | None = None


class ClockBody(By, kw_only=True):
    """How far the clock goes: seconds, or to what is due `next`."""

    advance: Annotated[float, Meta(ge=0, le=10_000_000)] | Literal["next"]


class TestBody(By, kw_only=True):
    """A recorded event, the worker that it tests where several took it, and the name of the test."""

    event: Name
    name: Name | None = None
    worker: Name | None = None


class RunTestBody(By, kw_only=True):
    """The text of a pytest module."""

    source: Annotated[str, Meta(max_length=MAX_SOURCE_BYTES)]


class Refused(ApiError):
    """The notebook refuses a call of an agent."""

    code = "DN983"

    def __init__(self, text: str, status: int, code: str | None) -> None:
        super().__init__(text, code=code or self.code)
        self.status = status


Serve = Callable[[NotebookDoor, ApiCall], Any]


def _through(serve: Serve) -> Callable[[ApiCall], Awaitable[Any]]:
    """Let an endpoint go through the door of the notebook, in bounded time, with refusals of one line."""

    @functools.wraps(serve)
    async def handler(call: ApiCall) -> Any:
        try:
            answer = serve(_door(call), call)
            if not asyncio.iscoroutine(answer):
                return answer
            async with asyncio.timeout(_seconds(call) + GRACE):
                return await while_there(call.receive, answer)  # nothing runs for who has hung up
        except (UsageError, WorkerFailed, BrokerError) as exc:
            code = code_of(exc)
            raise Refused(str(exc), _STATUS.get(code or "", 400), code) from exc
        except TimeoutError as exc:
            text = f"the notebook did not end this within {_seconds(call) + GRACE:g} s, so it was cancelled"
            raise Refused(text, 504, "DN984") from exc

    return handler


def _seconds(call: ApiCall) -> float:
    return call.body.timeout if isinstance(call.body, By) else DEFAULT_SECONDS


def _door(call: ApiCall) -> NotebookDoor:
    """Return the door.

    Raises:
        NotFound: this is the runtime of no notebook.
    """
    open_door = call.engine.door
    if open_door is None:
        raise NotFound(
            "this runtime is not a notebook's, so it has no cells; load one: %load_ext dnworker, then "
            "%runtime mcp gives its address",
            code="DN983",
        )
    return open_door()


def _bounded(source: str) -> str:
    if len(source.encode("utf-8", "surrogatepass")) > MAX_SOURCE_BYTES:
        raise TooLarge(f"the source is over {MAX_SOURCE_BYTES:,} bytes")
    return source


def _settled(trace: Trace) -> dict[str, Any]:
    """Return a trace as agents get it: the rows of `/api/history`, its text, and whether all has ended."""
    answer = answer_of(Found(trace, "memory"), limit=ROWS, payload=False, mermaid=False)
    return {
        "event_id": trace.event.event_id,
        "seq": trace.event.seq,
        "kind": trace.event.kind,
        "outcome": answer.outcome,
        "settled": not trace.is_under_way and not trace.timed_out,
        "tree": answer.rows,
        "text": clip("\n".join("  " * row.depth + row.text for row in answer.rows), LONGEST_TEXT),
        "cut": answer.cut,
    }


@endpoint("GET", "/api/notebook", right=Right.OPERATE, errors=(404,))
@_through
def notebook(door: NotebookDoor, call: ApiCall) -> object:
    """Tell what the notebook is, and whether agents may write in it."""
    return door.notebook()


@endpoint("GET", "/api/notebook/workers/{name}", right=Right.OPERATE, errors=(404,))
@_through
def worker(door: NotebookDoor, call: ApiCall) -> object:
    """Show a worker of cells: handlers, the source of its cells, its last error, and who wrote it."""
    return door.worker(call.path["name"])


@endpoint("POST", "/api/notebook/cells", body=CellBody, right=Right.OPERATE, errors=(400, 403, 404, 409, 504))
@_through
async def write_cell(door: NotebookDoor, call: ApiCall) -> object:
    """Run a `%%worker` cell as if it had been typed: all of it takes effect, or nothing."""
    body: CellBody = call.body
    source, by = _bounded(body.source), agent_name(body.by)
    return await door.write_cell(source, by=by, dry_run=body.dry_run, timeout=body.timeout)


@endpoint("GET", "/api/notebook/changes", right=Right.OPERATE, errors=(404,))
@_through
def changes(door: NotebookDoor, call: ApiCall) -> object:
    """List what agents have changed, the newest last."""
    return {"changes": door.changes()}


@endpoint(
    "POST",
    "/api/notebook/changes/{id}/undo",
    body=By,
    right=Right.OPERATE,
    errors=(400, 403, 404, 409, 504),
)
@_through
async def undo(door: NotebookDoor, call: ApiCall) -> object:
    """Bring back the generation before a change, unless somebody has changed the worker since."""
    return await door.undo(call.path["id"], by=agent_name(call.body.by), timeout=call.body.timeout)


@endpoint("POST", "/api/notebook/fire", body=FireBody, right=Right.OPERATE, errors=(400, 404, 409))
@_through
async def fire(door: NotebookDoor, call: ApiCall) -> object:
    """Publish an event, wait for all that it causes, and return that."""
    body: FireBody = call.body
    trace = await door.fire(
        body.kind, body.payload, session=body.session_id, timeout=body.timeout, by=agent_name(body.by)
    )
    return _settled(trace)


@endpoint("POST", "/api/notebook/replay", body=ReplayBody, right=Right.OPERATE, errors=(400, 404, 409))
@_through
async def replay(door: NotebookDoor, call: ApiCall) -> object:
    """Fire a recorded event again, edited if wanted, or compare two generations of a worker on it."""
    body: ReplayBody = call.body
    replayed = await door.replay(
        body.event,
        payload=body.payload,
        compare=body.compare,
        from_state=body.from_state,
        worker=body.worker,
        timeout=body.timeout,
        by=agent_name(body.by),
    )
    differences = [clip(line, LONGEST_TEXT) for line in replayed.differences[:ROWS]]
    trace = None if replayed.trace is None else _settled(replayed.trace)
    return {"trace": trace, "differences": differences}


@endpoint("POST", "/api/notebook/clock", body=ClockBody, right=Right.OPERATE, errors=(400, 404, 409, 504))
@_through
async def clock(door: NotebookDoor, call: ApiCall) -> object:
    """Move the notebook's virtual clock, and tell what ran."""
    body: ClockBody = call.body
    return await door.advance(body.advance, timeout=body.timeout, by=agent_name(body.by))


@endpoint("POST", "/api/notebook/test", body=TestBody, right=Right.OPERATE, errors=(400, 404, 409))
@_through
async def make_test(door: NotebookDoor, call: ApiCall) -> object:
    """Write the pytest test that keeps a recorded event; nothing is stored."""
    return await door.make_test(call.body.event, call.body.name, call.body.worker)


@endpoint(
    "POST", "/api/notebook/run_test", body=RunTestBody, right=Right.OPERATE, errors=(400, 403, 404, 504)
)
@_through
async def run_test(door: NotebookDoor, call: ApiCall) -> object:
    """Run a pytest module on the workers as they are now, in a process of its own."""
    return await door.run_test(_bounded(call.body.source), timeout=call.body.timeout)


@endpoint("GET", "/api/notebook/export", right=Right.OPERATE, errors=(400, 404, 504))
@_through
async def export(door: NotebookDoor, call: ApiCall) -> object:
    """Check what an export would write; nothing is written."""
    return await door.check_export(timeout=DEFAULT_SECONDS)


endpoints = [
    notebook,
    worker,
    write_cell,
    changes,
    undo,
    fire,
    replay,
    clock,
    make_test,
    run_test,
    export,
]
