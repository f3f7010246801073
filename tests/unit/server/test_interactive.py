"""The interactive socket, frame by frame, over a real socket."""

from __future__ import annotations

import asyncio
import json

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

from dnworker import Runtime, RuntimeClient, TurnFailedError
from dnworker.core.envelope import EventEnvelope
from dnworker.core.errors import RuntimeUnavailable
from dnworker.server.interactive import FRAME_CAP, capped
from dnworker.server.listening import Listening
from dnworker.sessions.turn import TurnRequest


class Frames:
    """A socket as a client sees it."""

    def __init__(self, socket):
        self.socket = socket
        self.count = 0

    async def send(self, op, session_id=None, payload=None):
        self.count += 1
        frame = {"command_id": f"c{self.count}", "op": op, "session_id": session_id, "payload": payload or {}}
        await self.socket.send(json.dumps(frame))
        return frame["command_id"]

    async def next(self):
        async with asyncio.timeout(60):
            return json.loads(await self.socket.recv())

    async def until(self, kind):
        frames = []
        while not frames or frames[-1]["kind"] != kind:
            frames.append(await self.next())
        return frames

    async def ask(self, op, session_id=None, payload=None):
        """Send a command and return its answer, skipping everything else."""
        command_id = await self.send(op, session_id, payload)
        while (frame := await self.next()).get("command_id") != command_id:
            pass
        return frame

    async def refused(self, op, session_id=None, payload=None):
        """Send a command and return the status and detail of its refusal."""
        frame = await self.ask(op, session_id, payload)
        assert frame["kind"] == "command.error", frame
        return frame["payload"]["status_code"], frame["payload"]["detail"]


@pytest.fixture
async def runtime():
    async with Runtime(port=0, token="s3cret") as runtime:
        runtime.agents.default(lambda turn: f"you said {turn.message}")
        yield runtime


def open_socket(runtime, path="/api/ws", token="s3cret"):
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    return connect(f"{runtime.url.replace('http', 'ws')}{path}", additional_headers=headers, proxy=None)


@pytest.fixture
async def frames(runtime):
    async with open_socket(runtime) as socket:
        greeted = Frames(socket)
        await greeted.ask("hello")
        yield greeted


@pytest.mark.clause("7.2 hello")
async def test_hello_lists_the_operations_and_may_be_said_again(runtime):
    async with open_socket(runtime) as socket:
        frames = Frames(socket)
        for _ in range(2):
            hello = await frames.ask("hello")
            assert hello["kind"] == "hello.ack"
            assert hello["payload"]["supported_ops"] == [
                "hello",
                "subscribe",
                "unsubscribe",
                "turn.start",
                "turn.cancel",
                "prompt.respond",
                "ping",
            ]
        assert hello["connection_id"].startswith("conn_")
        assert list(hello) == [
            "schema_version",
            "connection_id",
            "command_id",
            "session_id",
            "timestamp",
            "kind",
            "payload",
        ]


@pytest.mark.clause("7.2 hello")
async def test_before_hello_every_operation_is_refused_with_4400_and_the_socket_stays_open(runtime):
    async with open_socket(runtime) as socket:
        frames = Frames(socket)
        assert (await frames.refused("ping"))[0] == 4400
        assert (await frames.refused("subscribe", "s"))[0] == 4400
        assert (await frames.ask("hello"))["kind"] == "hello.ack"


@pytest.mark.parametrize(
    "frame", ["{", "[]", "5", '"x"', '{"op":"ping"}', '{"command_id":5,"op":"ping"}', b"\xff\x00", "{}" * 3]
)
@pytest.mark.clause("7.2 malformed")
async def test_what_is_no_command_is_told_so_and_the_socket_stays_open(frames, frame):
    await frames.socket.send(frame)
    answer = await frames.next()
    assert (answer["kind"], answer["command_id"], answer["payload"]["status_code"]) == (
        "command.error",
        None,
        400,
    )
    assert (await frames.ask("ping"))["kind"] == "pong"


@pytest.mark.clause("7.2 ping")
async def test_ping_is_answered_by_pong(frames):
    pong = await frames.ask("ping")
    assert (pong["kind"], pong["payload"]) == ("pong", {"op": "ping"})


@pytest.mark.parametrize(
    ("op", "session_id", "payload", "status"),
    [
        ("dance", "s", {}, 400),
        ("subscribe", None, {}, 400),
        ("subscribe", "", {}, 400),
        ("subscribe", "s", {"after_seq": "x"}, 400),
        ("subscribe", "s", {"after_seq": -1}, 400),
        ("turn.start", "s", {}, 400),
        ("turn.start", "s", {"message": 5}, 400),
        ("turn.start", "s", {"message": "x", "reset": "yes"}, 400),
        ("turn.cancel", "nobody", {}, 404),
        ("prompt.respond", "s", {}, 400),
        ("prompt.respond", "s", {"request_id": "r", "action": "submit"}, 400),
        ("prompt.respond", "s", {"request_id": "r", "action": "cancel", "decision": "allow"}, 400),
        ("prompt.respond", "s", {"request_id": "r", "decision": "perhaps"}, 400),
        ("prompt.respond", "nobody", {"request_id": "r", "action": "cancel"}, 404),
    ],
)
@pytest.mark.clause("7.2 refusals")
async def test_a_wrong_command_is_refused_with_its_status(frames, op, session_id, payload, status):
    got, detail = await frames.refused(op, session_id, payload)
    assert got == status
    assert detail


async def test_a_refused_turn_creates_no_session(runtime, frames):
    await frames.refused("turn.start", "s", {"message": None})
    assert "s" not in runtime.sessions


@pytest.mark.clause("7.2 subscribe")
async def test_subscribe_answers_ack_then_snapshot_and_creates_the_session(runtime, frames):
    await frames.send("subscribe", "s")
    ack, snapshot = await frames.next(), await frames.next()
    assert (ack["kind"], ack["payload"]) == ("command.ack", {"op": "subscribe"})
    assert (snapshot["kind"], snapshot["command_id"]) == ("session.snapshot", None)
    payload = snapshot["payload"]
    assert payload.pop("latest_seq") == 1  # session.created
    assert payload.pop("queued_turn_ids") == []
    assert payload == {
        "schema_version": 2,
        "session_id": "s",
        "active_turn_id": None,
        "turn_phase": "idle",
        "pending_prompt": None,
        "pending_prompts": [],
        "sync_status": {"state": "disabled", "last_error": None, "last_attempt_at": None},
        "draft_state": {"text_visible": False, "last_generation_input_tokens": None},
    }
    assert "s" in runtime.sessions


async def test_a_turns_frames_come_in_order_with_the_connections_id(frames):
    await frames.ask("subscribe", "s")
    command = await frames.send("turn.start", "s", {"message": "hi"})
    seen = await frames.until("turn.completed")
    ack = next(f for f in seen if f.get("command_id") == command)
    events = [f for f in seen if "seq" in f]
    assert events[0]["kind"] == "turn.accepted"
    assert {f["turn_id"] for f in events} == {ack["payload"]["turn_id"]}
    assert {f["connection_id"] for f in events} == {ack["connection_id"]}
    assert [f["seq"] for f in events] == sorted(f["seq"] for f in events)
    assert events[-1]["terminal"]
    assert events[-1]["payload"]["response_text"] == "you said hi"


@pytest.mark.clause("7.2 subscribe")
async def test_subscribing_after_an_event_replays_what_came_since(runtime, frames):
    runtime.sessions.create("s")
    first = runtime.bus.publish("demo.a", session_id="s")
    runtime.bus.publish("demo.b", session_id="s")
    await frames.send("subscribe", "s", {"after_seq": first.seq})
    kinds = [(f["kind"], f.get("replay")) for f in [await frames.next() for _ in range(3)]]
    assert kinds == [("command.ack", None), ("session.snapshot", None), ("demo.b", True)]
    runtime.bus.publish("demo.c", session_id="s")
    live = await frames.next()
    assert (live["kind"], live["replay"]) == ("demo.c", False)


@pytest.mark.clause("7.2 subscribe")
async def test_events_that_were_dropped_ask_for_a_resync_and_only_new_ones_follow(runtime, frames):
    runtime.sessions.create("s")
    first = runtime.bus.publish("demo.a", session_id="s")
    for _ in range(509):
        newest = runtime.bus.publish("demo.a", session_id="s")
    await frames.send("subscribe", "s", {"after_seq": first.seq - 1})
    ack, resync, snapshot = [await frames.next() for _ in range(3)]
    assert (ack["kind"], snapshot["kind"]) == ("command.ack", "session.snapshot")
    assert resync["kind"] == "transport.resync_required"
    assert resync["payload"] == {
        "after_seq": first.seq - 1,
        "latest_seq": newest.seq,
        "oldest_buffered_seq": first.seq + 10,
    }
    runtime.bus.publish("demo.new", session_id="s")
    assert (await frames.next())["kind"] == "demo.new"


@pytest.mark.clause("7.2 unsubscribe")
async def test_subscribing_again_replaces_the_subscription(runtime, frames):
    await frames.ask("subscribe", "s")
    await frames.ask("subscribe", "s")
    runtime.bus.publish("demo.once", session_id="s")
    await frames.until("demo.once")
    assert (await frames.ask("ping"))["kind"] == "pong"
    assert (await frames.ask("unsubscribe", "s"))["payload"] == {"op": "unsubscribe"}
    runtime.bus.publish("demo.unseen", session_id="s")
    await frames.send("ping")
    assert [f["kind"] for f in await frames.until("pong")] == ["pong"]


@pytest.mark.clause("7.2 unsubscribe")
async def test_unsubscribing_from_what_was_never_subscribed_is_acknowledged(frames):
    assert (await frames.ask("unsubscribe", "s"))["kind"] == "command.ack"


@pytest.mark.clause("7.2 cancel")
async def test_cancelled_comes_before_the_ack_of_the_cancel(runtime, frames):
    async def reply(turn):
        yield "begun"
        await asyncio.Event().wait()

    runtime.agents.default(reply)
    await frames.ask("subscribe", "s")
    await frames.send("turn.start", "s", {"message": "a"})
    await frames.until("turn.event")
    for message in "bc":
        await frames.ask("turn.start", "s", {"message": message})
    cancel = await frames.send("turn.cancel", "s", {"drop_queued": True})
    seen = []
    while not seen or seen[-1].get("command_id") != cancel:
        seen.append(await frames.next())
    ended = [f["payload"] for f in seen if f["kind"] == "turn.cancelled"]
    assert [(p["reason"], p.get("dropped_queued")) for p in ended] == [
        ("queue_dropped", None),
        ("queue_dropped", None),
        ("user_interrupt", 2),
    ]
    assert seen[-1]["payload"] == {"op": "turn.cancel", "status": "cancelled"}
    assert (await frames.ask("turn.cancel", "s"))["payload"]["status"] == "idle"


@pytest.mark.clause("7.2 cancel")
async def test_cancelling_a_turn_that_is_neither_active_nor_waiting_is_a_409(runtime, frames):
    runtime.sessions.create("s")
    assert (await frames.refused("turn.cancel", "s", {"turn_id": "turn_x"}))[0] == 409


@pytest.mark.clause("7.2 gone")
async def test_a_turn_goes_on_when_its_socket_is_gone(runtime):
    release = asyncio.Event()

    async def reply(turn):
        await release.wait()
        return "done all the same"

    runtime.agents.default(reply)
    async with open_socket(runtime) as socket:
        frames = Frames(socket)
        await frames.ask("hello")
        await frames.ask("turn.start", "s", {"message": "a"})
    completed = runtime.bus.subscribe(["turn.completed"])
    release.set()
    assert (await anext(completed)).payload["response_text"] == "done all the same"


async def test_a_question_takes_one_answer_and_others_are_told_409(runtime, frames):
    async def reply(turn):
        return await turn.ask("Name?")

    runtime.agents.default(reply)
    await frames.ask("subscribe", "s")
    await frames.send("turn.start", "s", {"message": "a"})
    prompt = (await frames.until("prompt.required"))[-1]["payload"]["raw_event"]["data"]
    answer = {"request_id": prompt["request_id"], "action": "submit", "answers": [{"text": "Ada"}]}
    for text in ("Ada", "Bob", "Ada"):
        answers = [{"text": text}]
        await frames.send("prompt.respond", "s", answer | {"answers": answers})
    seen = await frames.until("turn.completed")
    ends = [
        f
        for f in seen
        if f["kind"] in ("command.ack", "command.error") and f["payload"]["op"] == "prompt.respond"
    ]
    while len(ends) < 3:
        ends += await frames.until("command.error")
    assert [f["kind"] for f in ends] == ["command.ack", "command.error", "command.error"]
    assert {f["payload"]["status_code"] for f in ends[1:]} == {409}
    assert "was answered already" in ends[1]["payload"]["detail"]
    assert seen[-1]["payload"]["response_text"] == "Ada"
    assert prompt["questions"][0]["kind"] == "input"


async def test_a_slow_reader_is_told_that_its_events_were_cut_off(runtime, frames):
    await frames.ask("subscribe", "s")
    for _ in range(40):
        for _ in range(100):
            runtime.bus.publish("demo.big", {"x": "y" * 20_000}, session_id="s")
        await asyncio.sleep(0)
    failed = (await frames.until("transport.forwarder_failed"))[-1]
    assert "events behind" in failed["payload"]["detail"]
    assert (await frames.ask("ping"))["kind"] == "pong"


@pytest.mark.clause("7 cap")
def test_a_frame_over_the_cap_is_replaced_by_a_marker():
    envelope = EventEnvelope(seq=1, kind="demo.huge", payload={"x": "y" * FRAME_CAP})
    payload = json.loads(capped(envelope))["payload"]
    assert payload["dreadnode_truncated"] is True
    assert payload["cap_bytes"] == FRAME_CAP
    assert payload["original_bytes"] > FRAME_CAP


# -- who may open one ----------------------------------------------------------------------------------


@pytest.mark.parametrize("path", ["/api/ws", "/api/ws/events"])
@pytest.mark.clause("7 handshake")
async def test_a_wrong_token_is_a_403_at_the_handshake(runtime, path):
    for token in ("wrong", None):
        with pytest.raises(InvalidStatus) as refused:
            async with open_socket(runtime, path, token):
                pass
        assert refused.value.response.status_code == 403


@pytest.mark.parametrize("path", ["/api/ws", "/api/ws/events"])
@pytest.mark.clause("7 handshake")
async def test_a_ticket_opens_one_socket_once(runtime, path):
    ticket = runtime.tokens.issue_ticket("s3cret")
    async with open_socket(runtime, f"{path}?ticket={ticket}", token=None):
        pass
    with pytest.raises(InvalidStatus):
        async with open_socket(runtime, f"{path}?ticket={ticket}", token=None):
            pass


@pytest.mark.parametrize("path", ["/api/ws", "/api/ws/events"])
@pytest.mark.clause("7 retired")
async def test_a_replaced_token_file_closes_the_sockets_of_the_old_token(tmp_path, path):
    file = tmp_path / "token"
    file.write_text("old")
    async with Runtime(port=0, token_file=file) as runtime, open_socket(runtime, path, "old") as socket:
        unused = runtime.tokens.issue_ticket("old")
        file.write_text("new-token")
        with pytest.raises(ConnectionClosed) as closed:  # without anybody asking for anything
            await socket.recv()
        assert closed.value.rcvd.code == 4402
        with pytest.raises(InvalidStatus):
            async with open_socket(runtime, f"{path}?ticket={unused}", None):
                pass


@pytest.mark.clause("4.8 shutdown")
async def test_the_servers_stop_closes_sockets_with_1012():
    runtime = Runtime(port=0, token="s3cret")
    await runtime.start()
    async with open_socket(runtime) as socket:
        await runtime.stop()
        with pytest.raises(ConnectionClosed) as closed:
            await socket.recv()
    assert closed.value.rcvd.code == 1012


# -- a client that loses its runtime -------------------------------------------------------------------


@pytest.mark.clause("13.7")
async def test_a_waiting_turn_survives_a_broken_socket(runtime):
    release = asyncio.Event()

    async def reply(turn):
        yield "begun "
        await release.wait()
        yield "ended"

    runtime.agents.default(reply)
    async with RuntimeClient(runtime.url, auth_token="s3cret") as client:
        turn = asyncio.create_task(client.run_turn(session_id="s", message="a"))
        await anext(runtime.bus.subscribe(["turn.event"]))
        socket = client._connection._interactive()
        while socket._watched.get("s") is None:  # until an event has reached the client
            await asyncio.sleep(0)
        await socket._socket.close()
        release.set()
        async with asyncio.timeout(60):
            assert (await turn)["response_text"] == "begun ended"


async def test_a_restarted_runtime_that_has_counted_as_far_does_not_hide_a_lost_turn(unused_tcp_port):
    async def forever(turn):
        yield "begun"
        await asyncio.Event().wait()

    first = Runtime(port=unused_tcp_port, token="t")
    await first.start()
    first.agents.default(forever)
    async with RuntimeClient(first.url, auth_token="t") as client:
        turn = asyncio.create_task(client.run_turn(session_id="s", message="a"))
        await anext(first.bus.subscribe(["turn.event"]))
        socket = client._connection._interactive()
        while socket._watched.get("s") is None:
            await asyncio.sleep(0)
        first.turns.stop = lambda: asyncio.sleep(0)
        await first.stop()
        async with Runtime(port=None, token="t") as second:
            second.agents.default(lambda turn: "another")
            for _ in range(5):
                await second.client().run_turn(session_id="s", message="b")
            await second.stop()
            second.listening = Listening(port=unused_tcp_port)
            await second.start()
            async with asyncio.timeout(60):
                with pytest.raises(TurnFailedError, match="not among what was missed"):
                    await turn
            assert (await client.run_turn(session_id="s", message="c"))["response_text"] == "another"


async def test_after_a_client_gave_up_its_next_turn_works(unused_tcp_port, monkeypatch):
    monkeypatch.setattr("dnworker.client.socket.RECONNECT_BUDGET", 0.1)
    first = Runtime(port=unused_tcp_port, token="t")
    await first.start()
    first.agents.default(lambda turn: turn.ask("Name?"))
    async with RuntimeClient(first.url, auth_token="t") as client:
        turn = asyncio.create_task(client.run_turn(session_id="s", message="a"))
        await anext(first.bus.subscribe(["prompt.required"]))
        first.turns.stop = lambda: asyncio.sleep(0)
        await first.stop()
        async with asyncio.timeout(60):
            with pytest.raises(RuntimeUnavailable):
                await turn
        async with Runtime(port=unused_tcp_port, token="t") as second, asyncio.timeout(60):
            second.agents.default(lambda turn: "again")
            assert (await client.run_turn(session_id="s", message="b"))["response_text"] == "again"


async def test_a_turn_that_says_too_much_at_once_is_caught_up_with(runtime, monkeypatch):
    monkeypatch.setattr("dnworker.server.interactive.SUBSCRIBER_LIMIT", 5)
    runtime.agents.default(lambda turn: (str(n) for n in range(300)))
    async with RuntimeClient(runtime.url, auth_token="s3cret") as client, asyncio.timeout(60):
        raw = [r async for r in client.stream_chat(session_id="s", message="a")]
    pieces = [r["data"]["content"] for r in raw if r["type"] == "generationcontent"]
    assert pieces == [str(n) for n in range(300)]


@pytest.mark.clause("13.7")
async def test_a_turn_whose_runtime_was_started_anew_ends_with_an_error(unused_tcp_port):
    async def forever(turn):
        yield "begun"
        await asyncio.Event().wait()

    first = Runtime(port=unused_tcp_port, token="t")
    await first.start()
    first.agents.default(forever)
    async with RuntimeClient(first.url, auth_token="t") as client:
        turn = asyncio.create_task(client.run_turn(session_id="s", message="a"))
        await anext(first.bus.subscribe(["turn.event"]))
        socket = client._connection._interactive()
        while socket._watched.get("s") is None:
            await asyncio.sleep(0)
        first.turns.stop = lambda: asyncio.sleep(0)  # as after a kill: nobody tells the client
        await first.stop()
        async with Runtime(port=unused_tcp_port, token="t"):
            async with asyncio.timeout(60):
                with pytest.raises(TurnFailedError, match="started anew") as lost:
                    await turn
    assert lost.value.error_type == "TurnLost"


# -- anything at all -----------------------------------------------------------------------------------

JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64)
    | st.floats(allow_nan=False)
    | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
OPS = st.sampled_from(
    ["hello", "subscribe", "unsubscribe", "turn.start", "turn.cancel", "prompt.respond", "ping", "other"]
)
PAYLOADS = st.fixed_dictionaries(
    {},
    optional={
        "message": JSON,
        "after_seq": JSON,
        "turn_id": JSON,
        "drop_queued": JSON,
        "request_id": JSON,
        "action": JSON | st.sampled_from(["submit", "cancel"]),
        "answers": JSON,
        "decision": JSON | st.sampled_from(["allow", "deny"]),
        "reset": JSON,
        "metadata": JSON,
        "generate_params_extra": JSON,
        "agent": JSON,
        "model": JSON,
    },
)
COMMANDS = st.fixed_dictionaries(
    {"command_id": st.just("c") | JSON, "op": OPS | JSON},
    optional={"session_id": JSON | st.sampled_from(["s", "t"]), "payload": PAYLOADS | JSON},
)


@pytest.fixture
def kept_runtime():
    """A loop that stands still between examples, and the runtime on it that all of them meet."""
    with asyncio.Runner() as loop:
        runtime = Runtime(port=0, token="s3cret")
        loop.run(runtime.start())
        runtime.agents.default(lambda turn: "ok")
        yield loop, runtime
        loop.run(runtime.stop())


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(frames=st.lists(COMMANDS.map(json.dumps) | st.text(max_size=30) | st.binary(max_size=20), max_size=8))
def test_no_frame_kills_the_socket(kept_runtime, frames):
    loop, runtime = kept_runtime

    async def send_all():
        async with open_socket(runtime) as socket:
            for frame in [json.dumps({"command_id": "first", "op": "hello"}), *frames]:
                await socket.send(frame)
            await socket.send(json.dumps({"command_id": "last", "op": "ping"}))
            async with asyncio.timeout(60):
                while (answer := json.loads(await socket.recv())).get("command_id") != "last":
                    assert answer.get("payload", {}).get("status_code", 0) < 500 or (
                        answer["payload"]["status_code"] == 4400
                    )
            assert answer["kind"] == "pong"

    loop.run(send_all())


async def test_a_turn_started_in_process_is_seen_on_the_socket(runtime, frames):
    await frames.ask("subscribe", "s")
    runtime.turns.start(runtime.sessions.get("s"), TurnRequest(message="x"))
    assert (await frames.until("turn.completed"))[-1]["payload"]["response_text"] == "you said x"
