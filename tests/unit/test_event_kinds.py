"""What the runtime publishes, and what turns yield, is as `event_kinds` and `raw_events` declare it."""

from __future__ import annotations

import asyncio
import re
from pathlib import Path

import jsonschema
import pytest

from dnworker import Runtime, RuntimeClient
from dnworker.core.event_kinds import KINDS, schema_of
from dnworker.core.raw_events import RAW_EVENTS, problems_with
from dnworker.core.samples import SAMPLES, TERMINAL_KINDS
from dnworker.events.streams import Resumed, _Gap
from dnworker.server.rights import COMMANDS
from scripts.reference.events import OF_STREAMS
from scripts.reference.recorded import recording
from tests.unit.server.test_interactive import Frames, open_socket

PACKAGE = Path(__file__).parents[2] / "dnworker"
LITERAL = re.compile(r'"((?:turn|session|transport|capabilities|component|prompt)\.[a-z_]+)"')
NEVER_PUBLISHED = {"transport.heartbeat"}
PUBLISHED = [name for name, kind in KINDS.items() if kind.scope != "stream" and name not in NEVER_PUBLISHED]


def check(kind, payload):
    jsonschema.validate(payload, schema_of(kind))


@pytest.mark.parametrize("kind", PUBLISHED)
def test_a_runtime_publishes_a_kind_as_it_is_declared(kind):
    seen = [one for one in recording().events if one.kind == kind]
    assert seen
    for one in seen:
        check(kind, one.payload)
        assert one.terminal is KINDS[kind].is_terminal
        if KINDS[kind].scope == "turn":
            assert one.session_id is not None
            assert one.turn_id is not None
        elif KINDS[kind].scope == "session":
            assert one.session_id is not None


def test_a_runtime_publishes_no_kind_that_is_not_declared():
    assert {one.kind for one in recording().events} - KINDS.keys() == {"demo.greeting"}


def test_the_kinds_that_the_source_names_are_declared():
    named = {
        kind for file in PACKAGE.rglob("*.py") for kind in LITERAL.findall(file.read_text(encoding="utf-8"))
    }
    assert named - COMMANDS.keys() == KINDS.keys() - {"notify"}


@pytest.mark.parametrize("kind", SAMPLES)
def test_what_is_fired_for_a_kind_without_a_payload_is_as_the_kind_is_declared(kind):
    check(kind, SAMPLES[kind])


def test_terminal_kinds_are_the_same_everywhere():
    assert {name for name, kind in KINDS.items() if kind.is_terminal} == TERMINAL_KINDS


@pytest.mark.parametrize("kind", OF_STREAMS)
def test_an_example_that_is_written_by_hand_is_as_the_kind_is_declared(kind):
    check(kind, OF_STREAMS[kind])


def test_every_kind_of_one_stream_has_an_example():
    assert {
        name for name, kind in KINDS.items() if kind.scope == "stream"
    } == OF_STREAMS.keys() - NEVER_PUBLISHED


@pytest.mark.parametrize(
    "envelope", [Resumed(4, 2, 0).envelope, Resumed(None, 0, 1).envelope, _Gap().envelope]
)
def test_what_a_stream_of_a_worker_says_of_itself_is_as_declared(envelope):
    check(envelope.kind, envelope.payload)


async def test_a_stream_that_connected_again_says_so_as_declared(unused_tcp_port):
    first = Runtime(port=unused_tcp_port, token="t")
    await first.start()
    client = RuntimeClient(first.url, auth_token="t")
    events = client.subscribe("a")
    waiting = asyncio.ensure_future(anext(events))
    while not first.bus._subscribers.of_kind("a"):
        await asyncio.sleep(0)
    await first.stop()
    async with Runtime(port=unused_tcp_port, token="t"):
        reconnected = await waiting
        check(reconnected.kind, reconnected.payload)
        await events.aclose()
        await client.close()


async def test_a_socket_of_sessions_says_where_it_begins_as_declared():
    async with Runtime(port=0, token="s3cret") as runtime, open_socket(runtime) as socket:
        frames = Frames(socket)
        await frames.ask("hello")
        runtime.sessions.create("s")
        first = runtime.bus.publish("demo.a", session_id="s")
        for _ in range(509):
            runtime.bus.publish("demo.a", session_id="s")
        await frames.send("subscribe", "s", {"after_seq": first.seq - 1})
        for kind in ("transport.resync_required", "session.snapshot"):
            check(kind, (await frames.until(kind))[-1]["payload"])


async def test_a_socket_of_sessions_that_fell_behind_says_so_as_declared():
    async with Runtime(port=0, token="s3cret") as runtime, open_socket(runtime) as socket:
        frames = Frames(socket)
        await frames.ask("hello")
        await frames.ask("subscribe", "s")
        for _ in range(600):
            runtime.bus.publish("demo.big", {"x": "y" * 20_000}, session_id="s")
        kind = "transport.forwarder_failed"
        check(kind, (await frames.until(kind))[-1]["payload"])


async def test_a_subscriber_that_reads_too_slowly_is_told_as_declared():
    async with Runtime(port=0, token="s3cret") as runtime, open_socket(runtime, "/api/ws/events") as socket:
        while not runtime.bus._subscribers.of_kind("demo.big"):
            await asyncio.sleep(0)
        for _ in range(600):
            runtime.publish("demo.big", {"x": "y" * 50_000})
        kind = "transport.subscriber_dropped"
        check(kind, (await Frames(socket).until(kind))[-1]["payload"])


@pytest.mark.parametrize("agent", ["triage", "deploy", "broken", "nobody", "asked", "slow"])
def test_a_turn_yields_raw_events_as_they_are_declared(agent):
    assert [found for raw in recording().turns[agent] if (found := problems_with(raw))] == []


def test_every_type_of_raw_event_is_yielded_by_a_turn():
    yielded = {raw["type"] for raws in recording().turns.values() for raw in raws}
    assert yielded == RAW_EVENTS.keys()


@pytest.mark.parametrize(
    ("raw", "says"),
    [
        ({"type": "new"}, "no type 'new' is declared"),
        ({"type": "error"}, "error: Object missing required field `error`"),
        ({"type": "error", "error": "x", "more": 1}, "error: Object contains unknown field `more`"),
    ],
)
def test_a_raw_event_of_another_shape_is_noticed(raw, says):
    assert says in problems_with(raw)
