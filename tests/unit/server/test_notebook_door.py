"""The endpoints of agents, over a door that records: what they check, bound, mark and refuse."""

from __future__ import annotations

import asyncio

import pytest

from dnworker import Runtime, Worker
from dnworker.core.errors import Conflict, UsageError, WorkerFailed
from dnworker.engine.door import Replayed, WritingNotAllowed, agent_name
from dnworker.events.causes import published_by_agent
from dnworker.server import notebook_door


class Book:
    """A notebook that notes what is asked of it."""

    def __init__(self, runtime: Runtime) -> None:
        self.runtime = runtime
        self.asked: list[tuple[object, ...]] = []
        self.raises: Exception | None = None
        self.holds = False

    def notebook(self):
        return {"path": None, "allow_write": False}

    def worker(self, name):
        self.asked.append(("worker", name))
        return {"name": name}

    def changes(self):
        return []

    async def write_cell(self, source, *, by, dry_run, timeout):
        self.asked.append(("cell", source, by, dry_run, timeout))
        if self.raises is not None:
            raise self.raises
        if self.holds:
            await asyncio.Event().wait()
        return {"ok": True}

    async def undo(self, change, *, by, timeout):
        self.asked.append(("undo", change, by))
        if self.raises is not None:
            raise self.raises
        return {"undone": True}

    async def fire(self, kind, payload, *, session, timeout, by):
        with published_by_agent(by):
            return await self.runtime.fire(kind, payload, session_id=session, timeout=timeout)

    async def replay(self, event, **how):
        self.asked.append(("replay", event, how))
        return Replayed(None, ["+ one"] * 5_000)

    async def advance(self, by_time, *, timeout, by):
        self.asked.append(("clock", by_time))
        return {"now": "", "fired": []}

    async def make_test(self, event, name, worker):
        return {"name": name, "source": ""}

    async def run_test(self, source, *, timeout):
        return {"passed": True, "output": ""}

    async def check_export(self, *, timeout):
        return {"ok": True}


@pytest.fixture
def book(served):
    made = Book(served)
    served.door = lambda: made
    return made


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("GET", "", None),
        ("GET", "/workers/bridge", None),
        ("GET", "/changes", None),
        ("GET", "/export", None),
        ("POST", "/cells", {"source": "%%worker w"}),
        ("POST", "/changes/1/undo", {}),
        ("POST", "/fire", {"kind": "a"}),
        ("POST", "/replay", {"event": "#1"}),
        ("POST", "/clock", {"advance": 1}),
        ("POST", "/test", {"event": "#1"}),
        ("POST", "/run_test", {"source": ""}),
    ],
)
async def test_a_runtime_without_a_notebook_says_which_has_one(http, method, path, body):
    answer = await http.request(method, f"/api/notebook{path}", json=body)
    assert (answer.status_code, answer.headers["dnworker-code"]) == (404, "DN983")
    assert "%runtime mcp" in answer.json()["detail"]
    assert "\n" not in answer.json()["detail"]


async def test_a_cell_goes_through_with_the_agents_name_and_its_time(http, book):
    body = {"source": "%%worker w", "by": "claude", "timeout": 5, "dry_run": True}
    assert (await http.post("/api/notebook/cells", json=body)).json() == {"ok": True}
    assert book.asked == [("cell", "%%worker w", "claude", True, 5.0)]


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/cells", {}),
        ("/cells", {"source": 1}),
        ("/cells", {"source": "x" * 256_001}),
        ("/cells", {"source": "%%worker w", "timeout": 0}),
        ("/cells", {"source": "%%worker w", "timeout": 1e9}),
        ("/cells", {"source": "%%worker w", "by": "x" * 257}),
        ("/fire", {"kind": ""}),
        ("/fire", {"kind": "x" * 257}),
        ("/clock", {"advance": "soon"}),
        ("/clock", {"advance": -1}),
        ("/clock", {}),
        ("/replay", {"event": "#1", "payload": []}),
        ("/run_test", {"source": "x" * 256_001}),
    ],
)
async def test_what_is_out_of_bounds_is_refused_before_the_notebook_hears_of_it(http, book, path, body):
    answer = await http.post(f"/api/notebook{path}", json=body)
    assert answer.status_code == 422
    assert book.asked == []


async def test_a_source_is_bounded_in_bytes_not_only_in_characters(http, book):
    answer = await http.post("/api/notebook/cells", json={"source": "ü" * 200_000})
    assert answer.status_code == 413
    assert book.asked == []


@pytest.mark.parametrize(
    ("raised", "status", "code"),
    [
        (WritingNotAllowed("no"), 403, "DN985"),
        (Conflict("changed since", code="DN986"), 409, "DN986"),
        (UsageError("wrong", code="DN101"), 400, "DN101"),
        (UsageError("the clock is real", code="DN212"), 409, "DN212"),
        (UsageError("no such event", code="DN209"), 404, "DN209"),
        (UsageError("without a code"), 400, "DN983"),
        (WorkerFailed("did not start"), 400, "DN310"),
    ],
)
async def test_a_refusal_has_its_status_and_its_code(http, book, raised, status, code):
    book.raises = raised
    answer = await http.post("/api/notebook/changes/7/undo", json={"by": "claude"})
    assert (answer.status_code, answer.headers["dnworker-code"]) == (status, code)
    assert answer.json()["detail"] == str(raised)


async def test_a_call_that_does_not_end_is_ended(http, book, monkeypatch):
    monkeypatch.setattr(notebook_door, "GRACE", 0.0)
    book.holds = True
    answer = await http.post("/api/notebook/cells", json={"source": "%%worker w", "timeout": 0.05})
    assert (answer.status_code, answer.headers["dnworker-code"]) == (504, "DN984")


async def test_what_an_agent_fires_is_marked_in_its_trace_and_in_the_history(http, book, served):
    worker = Worker("bridge")

    @worker.on_event("demo.asked")
    async def on_asked(event, client) -> None:
        await client.publish("demo.answered", {})

    await served.add(worker)
    fired = await http.post("/api/notebook/fire", json={"kind": "demo.asked", "by": "claude"})
    trace = fired.json()
    assert (trace["outcome"], trace["settled"]) == ("ok", True)
    assert "(fired by agent claude)" in trace["text"]
    assert trace["text"].count("fired by agent") == 1
    by_hand = await served.fire("demo.asked")
    assert "fired by" not in str(by_hand)
    told = (await http.get(f"/api/history/events/{trace['event_id']}/trace")).json()
    assert "(fired by agent claude)" in [row["text"] for row in told["rows"]]


async def test_a_comparison_without_end_is_cut(http, book):
    answer = await http.post("/api/notebook/replay", json={"event": "#1", "compare": True})
    assert len(answer.json()["differences"]) == 1_000
    assert answer.json()["trace"] is None


@pytest.mark.parametrize(
    ("given", "shown"),
    [
        ("claude", "claude"),
        ("  Claude Code (v2.1)\n", "Claude Code (v2.1)"),
        ("", "unnamed"),
        ("\x1b[31m<script>", "31m script"),
        ("a" * 300, "a" * 64),
        ("агент 7", "агент 7"),
        ("a\u202eb", "a b"),
    ],
)
def test_the_name_of_an_agent_is_one_short_plain_line(given, shown):
    assert agent_name(given) == shown
