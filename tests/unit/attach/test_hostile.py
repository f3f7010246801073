"""A runtime that answers nonsense: it is told in one line, and detaching still leaves nothing."""

from __future__ import annotations

import asyncio
import json

import pytest
from msgspec.structs import force_setattr
from websockets.asyncio.server import serve

from dnworker import Worker
from dnworker.attach.attaching import attach

from .rig import attached, flagger, listener, until

HEALTH = {"status": "ok", "version": "1.0.0", "timings": {"ready": 1.0}}
INFO = {"version": "2.0.52", "runtime_id": None, "capabilities": []}


class Liar:
    """Greets as the reference, and then sends these frames to whoever follows."""

    def __init__(self, *frames: str | bytes) -> None:
        self.frames = frames
        self.followed = 0

    async def __aenter__(self) -> Liar:
        self._server = await serve(self._follow, "127.0.0.1", 0, process_request=self._answer)
        self.url = f"http://127.0.0.1:{next(iter(self._server.sockets)).getsockname()[1]}"
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        self._server.close()
        await self._server.wait_closed()

    def _answer(self, connection, request):
        path = request.path.partition("?")[0]
        if path.startswith("/api/ws"):
            return None
        known = {"/api/health": HEALTH, "/api/ready": HEALTH, "/api/runtime": INFO, "/api/sessions": []}
        status = 200 if path in known else 404
        response = connection.respond(status, json.dumps(known.get(path, {})))
        response.headers["Connection"] = "close"
        return response

    async def _follow(self, socket) -> None:
        self.followed += 1
        for frame in self.frames:
            await socket.send(frame)
        await socket.wait_closed()


def frame(**fields) -> str:
    envelope = {"schema_version": 2, "event_id": "0" * 32, "seq": 1, "kind": "order.placed"}
    return json.dumps({**envelope, "timestamp": "2026-01-01T00:00:00Z", "payload": {}, **fields})


@pytest.mark.parametrize(
    ("bad", "said"),
    [
        ("no json", "not an event envelope"),
        (b"\xff\xfe", "not an event envelope"),
        ("[]", "not an event envelope"),
        (frame(payload=[1]), "not an event envelope"),
        (frame(seq="1"), "not an event envelope"),
        (frame(schema_version=3), "sends events of version 3"),
    ],
)
async def test_a_frame_that_is_no_event_is_told_and_the_stream_is_opened_again(here, bad, said):
    worker, got = listener()
    await here.add(worker)
    async with Liar(frame(), bad) as there:
        attachment = await attach(here, there.url, token="x")
        await until(lambda: said in attachment.detail)
        await until(lambda: there.followed > 1)
        assert "\n" not in attachment.detail
        await attachment.detach()
    assert len(got) == 1
    assert attachment.state == "ended"


async def test_numbers_that_go_back_or_jump_give_no_event_twice(here):
    worker, got = listener()
    await here.add(worker)
    seqs = (5, 5, 4, 2**61, 2**61, 6)
    async with Liar(*(frame(seq=seq, event_id=f"{seq:032x}") for seq in seqs)) as there:
        attachment = await attach(here, there.url, token="x")
        await until(lambda: len(got) == 2)
        await asyncio.sleep(0.05)
        await attachment.detach()
    assert attachment.received == len(got) == 2


async def test_an_answer_without_an_end_is_given_up(here, there, monkeypatch):
    monkeypatch.setattr("dnworker.attach.handshake.ANSWER_BYTES", 1_000)
    await here.add(flagger(1))
    with pytest.raises(RuntimeError, match="answers with over 0 MB"):
        await attach(here, there.url, token="s3cret")
    assert here.attachment is None


@pytest.mark.parametrize("answer", [{"events": "none"}, [], {"events": [], "workers": {}, "next": 0}])
async def test_effects_that_are_none_are_told_and_rows_stay_unknown(here, there, monkeypatch, answer):
    from dnworker.server import effects

    await here.add(flagger(1))
    handler = effects.effects.handler
    force_setattr(effects.effects, "handler", lambda call: answer)  # an endpoint is frozen
    try:
        async with attached(here, there) as attachment:
            there.publish("order.placed", {"id": 1, "amount": 5})
            await until(lambda: attachment.compare_detail)
            assert "\n" not in attachment.compare_detail
            assert attachment.score.pending == 1
    finally:
        force_setattr(effects.effects, "handler", handler)
    assert (attachment.score.same, attachment.score.different, attachment.score.unknown) == (0, 0, 1)


async def test_a_dnworker_that_does_not_tell_effects_is_unknown(here, there, monkeypatch):
    from dnworker.core.errors import NotFound
    from dnworker.server import effects

    def lacking(call):
        raise NotFound("Not Found")

    await here.add(flagger(1))
    handler = effects.effects.handler
    force_setattr(effects.effects, "handler", lacking)
    try:
        async with attached(here, there) as attachment:
            there.publish("order.placed", {"id": 1, "amount": 5})
            await until(lambda: attachment.score.unknown == 1)
    finally:
        force_setattr(effects.effects, "handler", handler)
    assert attachment.rows()[0].why == "that dnworker is too old to say what its workers did"


async def test_a_handler_that_blocks_the_loop_loses_nothing(here, there):
    import time

    worker, got = Worker("bridge"), []

    @worker.on_event("order.placed")
    async def on_placed(event, client) -> None:
        if event.payload["n"] == 0:
            time.sleep(0.5)
        got.append(event.payload["n"])

    await here.add(worker)
    async with attached(here, there) as attachment:
        for n in range(600):
            there.publish("order.placed", {"n": n})
        await until(lambda: len(got) == 600)
        assert attachment.gaps == []
    assert sorted(got) == [*range(600)]
