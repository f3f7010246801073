"""What looks alike for a moment, or in part, and is not the same."""

from __future__ import annotations

import asyncio

import pytest

from dnworker import Worker
from dnworker.attach.likeness import difference, known_in
from dnworker.attach.sides import judge, raised

from .rig import attached, settled, until
from .test_verdicts import side


def worker_of(handler) -> Worker:
    worker = Worker("bridge")
    worker.on_event("order.placed")(handler)
    return worker


async def nothing(event, client) -> None:
    """Do nothing with an event."""


def later(gate: asyncio.Event):
    """Return a handler whose task publishes once the gate is open."""
    tasks = set()

    async def handler(event, client) -> None:
        async def publish() -> None:
            await gate.wait()
            await client.publish("order.late", {"n": 1})

        tasks.add(asyncio.create_task(publish()))

    return handler


@pytest.fixture
def soon(monkeypatch):
    monkeypatch.setattr("dnworker.attach.comparing.SECOND_LOOK", 0.3)


@pytest.mark.parametrize(
    ("there_late", "here_late", "verdict"),
    [(True, True, "same"), (True, False, "different"), (False, True, "different")],
)
async def test_what_a_task_publishes_after_its_handler_is_compared_too(
    here, there, soon, there_late, here_late, verdict
):
    gate = asyncio.Event()
    await there.add(worker_of(later(gate) if there_late else nothing))
    await here.add(worker_of(later(gate) if here_late else nothing))
    async with attached(here, there) as attachment:
        there.publish("order.placed", {"id": 1})
        await until(lambda: attachment.received == 1)
        await settled(attachment)
        (row,) = attachment.rows()
        gate.set()
        await until(lambda: not attachment._comparing.second_looks())
    assert (row.verdict, row.why.partition(" ")[0]) == (verdict, "only" if verdict == "different" else "")
    assert len(row.notebook) == here_late
    score = attachment.score
    assert (score.same, score.different, score.total) == (verdict == "same", verdict == "different", 1)


async def test_what_a_task_publishes_after_the_second_look_makes_it_unknown(here, there, monkeypatch):
    monkeypatch.setattr("dnworker.attach.comparing.SECOND_LOOK", 0.0)
    gate = asyncio.Event()
    await there.add(worker_of(nothing))
    await here.add(worker_of(later(gate)))
    async with attached(here, there) as attachment:
        there.publish("order.placed", {"id": 1})
        await until(lambda: attachment.score.same == 1)
        await until(lambda: not attachment._comparing.second_looks())
        gate.set()
        await until(lambda: attachment.score.unknown == 1)
    (row,) = attachment.rows()
    assert (row.verdict, "a task here did more" in row.why) == ("unknown", True)
    assert attachment.score.total == 1
    assert attachment._effects._of == {}


async def test_what_once_lets_pass_here_alone_is_unknown(here, there):
    async def handler(event, client) -> None:
        async with client.once("key") as first:
            if first:
                await client.publish("order.priced", {"n": 1})

    await there.add(worker_of(handler))
    await here.add(worker_of(handler))
    async with attached(here, there) as attachment:
        for n in range(2):
            there.publish("order.placed", {"id": n})
        await until(lambda: attachment.received == 2)
        await settled(attachment)
    assert [row.verdict for row in attachment.rows()] == ["same", "unknown"]
    assert "once()" in attachment.rows()[1].why


@pytest.mark.parametrize(
    ("event", "there", "here"),
    [
        (
            {"due": "2026-01-01T10:00:00Z", "end": "2027-01-01T10:00:00Z"},
            {"due": "2026-01-01T10:00:00Z"},
            {"due": "2027-01-01T10:00:00Z"},
        ),
        ({"due": "2026-01-01T10:00:00Z"}, {"due": "2026-01-01T10:00:00Z"}, {"due": "2027-01-01T10:00:00Z"}),
        ({"paid_at": 1_700_000_000, "made_at": 1_600_000_000}, {"at": 1_700_000_000}, {"at": 1_600_000_000}),
    ],
)
def test_a_time_of_the_event_is_no_time_that_differs_by_chance(event, there, here):
    assert difference(there, here, known_in(event)) is not None
    assert difference(there, there, known_in(event)) is None
    assert difference(there, here, set()) is None


def test_a_long_error_is_like_itself_and_never_like_another_that_was_cut():
    long = "ValueError: " + "x" * 3_000
    cut = raised(f"{long[:2_012]} [cut: 1,000 more characters]")
    assert judge(side([cut]), side([raised(long)]), set())[0] == "unknown"
    assert judge(side([cut]), side([raised(f"{long[:-1]}y")]), set())[0] == "unknown"
    assert judge(side([cut]), side([raised("KeyError: 1")]), set())[0] == "different"
    assert judge(side([raised(long)]), side([raised(long)]), set())[0] == "same"


CALLS = {
    "title": lambda client: client.set_session_title("s-1", "flagged"),
    "delete": lambda client: client.delete_session("s-1"),
    "cancel": lambda client: client.cancel_session("s-1"),
    "subscribe": lambda client: client.subscribe_session("s-1"),
    "policy": lambda client: client.set_session_policy("s-1", "headless"),
}


def caller(call) -> Worker:
    async def handler(event, client) -> None:
        await call(client)

    return worker_of(handler)


@pytest.mark.parametrize("name", CALLS)
async def test_what_only_the_deployed_worker_has_its_runtime_change_is_different(here, there, name):
    await there.client().create_session(session_id="s-1")
    await there.add(caller(CALLS[name]))
    await here.add(worker_of(nothing))
    async with attached(here, there) as attachment:
        there.publish("order.placed", {"id": 1})
        await until(lambda: attachment.received == 1)
        await settled(attachment)
    (row,) = attachment.rows()
    assert (row.verdict, row.why.startswith("only the deployed one ")) == ("different", True)
    assert len(row.deployed) == 1


@pytest.mark.parametrize("name", CALLS)
async def test_what_both_have_the_runtime_change_is_unknown(here, there, name):
    await there.client().create_session(session_id="s-1")
    await there.add(caller(CALLS[name]))
    await here.add(caller(CALLS[name]))
    async with attached(here, there) as attachment:
        there.publish("order.placed", {"id": 1})
        await until(lambda: attachment.received == 1)
        await settled(attachment)
    (row,) = attachment.rows()
    assert (row.verdict, row.why.startswith("nobody knows")) == ("unknown", True)
