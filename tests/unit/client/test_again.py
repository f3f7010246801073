"""`run_turn(retry=)` starts a turn again that a killed runtime cut off, and no other."""

from __future__ import annotations

import asyncio
import os
import socket
import sys

import pytest

from dnworker import RuntimeClient, TurnFailedError
from dnworker.core.errors import CommandError, RuntimeUnavailable, UsageError
from dnworker.testing import ModelServer, Says, Waits

TOKEN = "again"


class Served:
    """A `dnworker serve --durable` of one capability with one agent, which can be killed and started again."""

    def __init__(self, directory, model_url):
        self.directory = directory
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        root = directory / "desk"
        (root / "agents").mkdir(parents=True)
        (root / "capability.yaml").write_text("schema: 1\nname: desk\nversion: 0.1.0\ndescription: d\n")
        (root / "agents" / "triage.md").write_text("---\nname: triage\nmodel: openai/m\n---\nSort.\n")
        self.environ = os.environ | {
            "HOME": str(directory),
            "DREADNODE_RUNTIME_TOKEN": TOKEN,
            "OPENAI_BASE_URL": model_url,
            "OPENAI_API_KEY": "none",
        }
        self.process = None

    async def start(self):
        with (self.directory / "log").open("ab") as log:
            self.process = await asyncio.create_subprocess_exec(
                sys.executable, "-m", "dnworker", "serve", "--port", str(self.port),
                "--durable", str(self.directory / "events.db"), str(self.directory / "desk"),
                env=self.environ, cwd=self.directory, stdout=log, stderr=log, stdin=asyncio.subprocess.DEVNULL,
            )  # fmt: skip
        client = self.client()
        async with asyncio.timeout(60):
            while True:
                assert self.process.returncode is None, (self.directory / "log").read_text()[-2000:]
                try:
                    await client.start()
                    break
                except RuntimeUnavailable:
                    await asyncio.sleep(0.05)  # it binds its port after its imports
        await client.close()

    def client(self):
        return RuntimeClient(f"http://127.0.0.1:{self.port}", auth_token=TOKEN)

    async def kill(self):
        if self.process is not None and self.process.returncode is None:
            self.process.kill()
            await self.process.wait()


@pytest.fixture
async def served(tmp_path):
    """A killable runtime and its model: the first answer never comes."""
    async with ModelServer([Waits(), Says("done"), Says("second"), Says("more")]) as model:
        served = Served(tmp_path, model.base_url)
        served.model = model
        try:
            await served.start()
            yield served
        finally:
            await served.kill()


async def until_asked(served, count):
    async with asyncio.timeout(60):
        while len(served.model.requests) < count:
            await asyncio.sleep(0.02)


@pytest.mark.slow
async def test_a_turn_that_a_kill_cut_off_is_started_again_and_its_session_goes_on(served):
    async with served.client() as client:
        asked = {"session_id": "s", "agent": "triage"}
        first = asyncio.create_task(client.run_turn(message="one", retry=2, **asked))
        await until_asked(served, 1)
        queued = await client._start_turn("s", "two", None, "triage", False, None)  # acknowledged: it is kept
        await served.kill()
        await served.start()
        async with asyncio.timeout(90):
            ends = [event async for event in queued if event.terminal]
            texts = {(await first)["response_text"], ends[0].payload["response_text"]}
        assert texts == {"done", "second"}
        said = [one["content"] for one in await client.fetch_session_messages("s") if one["role"] == "user"]
        assert sorted(said) == ["one", "two"]


@pytest.mark.slow
async def test_without_retry_the_turn_that_a_kill_cut_off_fails_as_retryable(served):
    async with served.client() as client:
        turn = asyncio.create_task(client.run_turn(session_id="s", agent="triage", message="one"))
        await until_asked(served, 1)
        await served.kill()
        await served.start()
        async with asyncio.timeout(90):
            with pytest.raises(TurnFailedError) as failed:
                await turn
        assert (failed.value.error_type, failed.value.retryable) == ("TurnInterrupted", True)


class Fails:
    """Starts turns that fail in turn, then are answered."""

    def __init__(self, client, *failures):
        self.left = [*failures]
        self.started = 0
        client._run_turn = self.run

    async def run(self, *_):
        self.started += 1
        if self.left:
            raise self.left.pop(0)
        return {"response_text": "done"}


@pytest.fixture
def no_waits(monkeypatch):
    monkeypatch.setattr("dnworker.client.again.FIRST", 0.0)


@pytest.mark.parametrize(
    ("failure", "started"),
    [
        (TurnFailedError("TurnInterrupted", "x", retryable=True), 2),
        (CommandError("stopping", 503), 2),
        (TurnFailedError("TurnLost", "missed"), 1),
        (TurnFailedError("ValueError", "x"), 1),
        (CommandError("no such session", 404), 1),
        (RuntimeUnavailable("the socket broke"), 1),
    ],
)
async def test_only_what_cannot_be_answered_twice_is_started_again(runtime, no_waits, failure, started):
    client = runtime.client()
    fails = Fails(client, failure)
    if started == 1:
        with pytest.raises(type(failure)):
            await client.run_turn(session_id="s", message="m", retry=3)
    else:
        assert await client.run_turn(session_id="s", message="m", retry=3) == {"response_text": "done"}
    assert fails.started == started


async def test_it_gives_up_after_as_many_attempts_as_it_was_told(runtime, no_waits):
    client = runtime.client()
    fails = Fails(client, *[TurnFailedError("TurnInterrupted", "x", retryable=True)] * 9)
    with pytest.raises(TurnFailedError):
        await client.run_turn(session_id="s", message="m", retry=2)
    assert fails.started == 3
    with pytest.raises(UsageError, match="-1 retries"):
        await client.run_turn(session_id="s", message="m", retry=-1)
