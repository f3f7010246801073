"""Commands that follow go on over a restart of the runtime: nothing twice, and what may be missing is said."""

from __future__ import annotations

import asyncio
import re
from contextlib import asynccontextmanager, redirect_stdout, suppress

import pytest

from dnworker import Runtime, Worker
from dnworker.cli import events, lasting, logs, nodes, ps, tail
from dnworker.cli.main import make_parser
from dnworker.cli.terminal import TOP
from dnworker.client.client import RuntimeClient
from dnworker.core.errors import UsageError
from dnworker.events.brokers.sqlite.broker import SqliteBroker

from ...ports import free_port
from .terminals import SGR, terminal

pytestmark = pytest.mark.timeout(60)


@pytest.fixture(autouse=True)
def quick(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    for module, name in (
        (events, "LOOK"),
        (logs, "LOOK"),
        (nodes, "POLL"),
        (ps, "EVERY"),
        (tail, "LOG_POLL"),
    ):
        monkeypatch.setattr(module, name, 0.01)
    monkeypatch.setattr(lasting, "AGAIN", 0.01)
    monkeypatch.setattr(tail, "AGAIN", 0.01)
    for name in ("NO_COLOR", "FORCE_COLOR"):
        monkeypatch.delenv(name, raising=False)


class Wire:
    """Connections to a port that can be cut, as a network does."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._writers = set()

    async def __aenter__(self):
        self._server = await asyncio.start_server(self._join, "127.0.0.1", 0)
        self.url = f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"
        return self

    async def __aexit__(self, *exc_info) -> None:
        self._server.close()
        self.cut()

    def cut(self) -> None:
        for writer in self._writers:
            writer.transport.abort()
        self._writers.clear()

    async def _join(self, reader, writer) -> None:
        far_reader, far_writer = await asyncio.open_connection("127.0.0.1", self._port)
        self._writers |= {writer, far_writer}
        await asyncio.gather(self._pipe(reader, far_writer), self._pipe(far_reader, writer))

    async def _pipe(self, reader, writer) -> None:
        with suppress(OSError):
            while data := await reader.read(65_536):
                writer.write(data)
        writer.close()


@asynccontextmanager
async def serving(port: int, **more):
    async with Runtime(port=port, token="s3cret", **more) as runtime:
        worker = Worker("bridge")

        @worker.on_event("order.placed")
        async def on_order(event, client) -> None:
            print("order", event.payload["id"])

        with runtime.capture_output():
            await runtime.add(worker)
            yield runtime


class Followed:
    """A command that runs as a task, and what it has written."""

    def __init__(self, task, capsys) -> None:
        self.task = task
        self._capsys = capsys
        self.out = self.err = ""

    def read(self) -> str:
        found = self._capsys.readouterr()
        self.out += found.out
        self.err += found.err
        return self.out + self.err

    async def wait(self, word: str, times: int = 1) -> None:
        async with asyncio.timeout(30):
            while self.read().count(word) < times:
                assert not self.task.done(), self.task
                await asyncio.sleep(0.01)


@asynccontextmanager
async def following(runtime: Runtime, tmp_path, capsys, *words: str):
    token = tmp_path / "token"
    token.write_text("s3cret")
    token.chmod(0o600)
    options = make_parser().parse_args([*words, "--url", runtime.url, "--token-file", str(token)])
    command = {"ps": ps._watch, "events": events._events, "logs": logs._logs, "tail": tail._tail}
    command["nodes"] = nodes._nodes
    async with RuntimeClient(runtime.url, auth_token="s3cret") as client:
        task = asyncio.create_task(command[words[0]](client, options))
        try:
            yield Followed(task, capsys)
        finally:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task


@pytest.mark.parametrize("words", [["ps", "--watch"], ["nodes", "--watch"]])
async def test_what_is_watched_goes_on_when_the_runtime_is_there_again(tmp_path, capsys, words):
    port = free_port()
    sign = "notebook:bridge" if words[0] == "ps" else "is no node"
    async with serving(port) as runtime:
        watched = following(runtime, tmp_path, capsys, *words)
        watch = await watched.__aenter__()
        await watch.wait(sign)
    try:
        await watch.wait("lost, trying again")
        async with serving(port):
            await watch.wait(f"a runtime answers again at http://127.0.0.1:{port}")
            if words[0] == "ps":
                await watch.wait("notebook:bridge", 1)
    finally:
        await watched.__aexit__(None, None, None)
    assert watch.err.count("lost, trying again") == 1


async def test_ps_that_watches_at_a_terminal_says_below_the_table_that_the_runtime_is_lost(
    tmp_path, capsys, monkeypatch
):
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.delenv("COLUMNS", raising=False)
    port = free_port()
    with terminal(90) as made, open(made.slave, "w", encoding="utf-8", closefd=False) as out:
        with redirect_stdout(out):
            async with serving(port) as runtime:
                watched = following(runtime, tmp_path, capsys, "ps", "--watch")
                await watched.__aenter__()
                await asyncio.to_thread(made.wait, "notebook:bridge")
            await asyncio.to_thread(made.wait, "(lost, trying again)")
            async with serving(port) as runtime:
                seen = len(made.text)
                async with asyncio.timeout(30):
                    while "notebook:bridge" not in made.text[seen:]:
                        await asyncio.sleep(0.01)
                await watched.__aexit__(None, None, None)
        states = [SGR.sub("", one) for one in made.text.split(TOP)]
    (lost, *_) = [one for one in states if "(lost, trying again)" in one]
    assert lost.index("notebook:bridge") < lost.index("(lost")
    assert "(lost" not in states[-1]


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (["logs", "-f"], "bridge: order {}"),
        (["tail", "--logs"], "bridge: order {}"),
        (["events", "order.placed", "-f"], "#{}  "),
    ],
)
async def test_what_is_followed_shows_each_line_once_over_a_restart(tmp_path, capsys, words, text):
    port = free_port()
    async with serving(port) as runtime:
        followed = following(runtime, tmp_path, capsys, *words)
        follow = await followed.__aenter__()
        seqs = [(await runtime.fire("order.placed", {"id": number})).event.seq for number in (101, 102)]
        await follow.wait(_sign(text, 102, seqs[-1]))
    try:
        await follow.wait("lost, trying again")
        async with serving(port) as again:
            seqs += [(await again.fire("order.placed", {"id": number})).event.seq for number in (103, 104)]
            await follow.wait("restarted; what the one before")
            lines = 4 if "#" in text else 1
            await follow.wait("order.placed" if lines == 4 else "bridge: order 104", lines)
    finally:
        await followed.__aexit__(None, None, None)
    for number in (101, 102, 103, 104):
        if "#" not in text:
            assert follow.out.count(f"bridge: order {number}") == 1
    if "#" in text:
        assert follow.out.count("order.placed") == 4
    assert follow.err.count("restarted") == 1


def _sign(text: str, number: int, seq: int) -> str:
    return text.format(seq if "#" in text else number)


async def test_a_durable_runtime_that_was_restarted_shows_no_event_again(tmp_path, capsys):
    port, file = free_port(), tmp_path / "events.db"
    async with serving(port, broker=SqliteBroker(file)) as runtime:
        followed = following(runtime, tmp_path, capsys, "events", "order.placed", "-f")
        follow = await followed.__aenter__()
        for number in (1, 2, 3):
            await runtime.fire("order.placed", {"id": number})
        await follow.wait("order.placed", 3)
    try:
        async with serving(port, broker=SqliteBroker(file)) as again:
            await follow.wait("restarted")
            await again.fire("order.placed", {"id": 4})
            await follow.wait("order.placed", 4)
    finally:
        await followed.__aexit__(None, None, None)
    numbers = re.findall(r"#(\d+)", follow.out)
    assert len(numbers) == len(set(numbers)) == 4


async def test_a_connection_that_was_lost_costs_tail_no_event_and_shows_none_twice(tmp_path, capsys):
    async with serving(port := free_port()) as runtime, Wire(port) as wire:
        words = ["tail", "order.placed"]
        async with following(wire, tmp_path, capsys, *words) as follow:
            async with asyncio.timeout(30):
                while "order.placed" not in follow.read():
                    await runtime.fire("order.placed", {"id": 0})
                    await asyncio.sleep(0.05)
            wire.cut()
            for number in (1, 2, 3):
                await runtime.fire("order.placed", {"id": number})
            await follow.wait('{"id": 3}')
            await runtime.fire("order.placed", {"id": 4})
            await follow.wait('{"id": 4}')
    for number in (1, 2, 3, 4):
        assert follow.out.count(f'{{"id": {number}}}') == 1
    assert follow.err == "(lost, trying again)\n"


async def test_tail_goes_on_at_the_address_where_the_runtime_is_there_again(tmp_path, capsys, monkeypatch):
    async with serving(port := free_port()) as runtime:
        followed = following(runtime, tmp_path, capsys, "tail", "order.placed")
        follow = await followed.__aenter__()
        async with asyncio.timeout(30):
            while "order.placed" not in follow.read():
                await runtime.fire("order.placed", {"id": 0})
                await asyncio.sleep(0.05)
    try:
        await follow.wait("lost, trying again")
        async with serving(free_port()) as again:
            monkeypatch.setattr(
                tail, "another", lambda options, address: RuntimeClient(again.url, auth_token="s3cret")
            )
            monkeypatch.setattr(lasting, "another", tail.another)
            await follow.wait("the runtime was restarted")
            async with asyncio.timeout(30):
                while '{"id": 7}' not in follow.read():
                    await again.fire("order.placed", {"id": 7})
                    await asyncio.sleep(0.05)
    finally:
        await followed.__aexit__(None, None, None)
    assert follow.err.count("lost, trying again") == 1
    assert again.url != f"http://127.0.0.1:{port}"


async def test_lines_that_were_dropped_before_they_were_read_are_counted(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(logs, "LOOK", 0.3)
    async with serving(free_port()) as runtime:
        runtime.logs._lines_kept = 5
        async with following(runtime, tmp_path, capsys, "logs", "-f") as follow:
            runtime.logs.add("notebook:bridge", "first")
            await follow.wait("first")
            for number in range(20):
                runtime.logs.add("notebook:bridge", f"line {number}.")
            await follow.wait("line 19.")
    assert "15 lines of all workers were dropped before they were read" in follow.err


async def test_logs_since_has_all_lines_of_the_time_and_says_how_far_the_log_goes(tmp_path, capsys):
    async with serving(free_port()) as runtime:
        for number in range(2_500):
            runtime.logs.add("notebook:bridge", f"line {number}.")
        async with following(runtime, tmp_path, capsys, "logs", "--since", "10m") as follow:
            await follow.task
        assert len(follow.read().splitlines()) == 2_500
        async with following(runtime, tmp_path, capsys, "logs", "--since", "10m", "-n", "3") as follow:
            await follow.task
        assert [line.rsplit(" ", 1)[1] for line in follow.read().splitlines()] == ["2497.", "2498.", "2499."]
        async with following(runtime, tmp_path, capsys, "logs", "--since", "2100-01-01") as follow:
            await follow.task
        assert follow.read() == ""
        runtime.logs._lines_kept = 5
        runtime.logs.add("notebook:bridge", "last")
        async with following(runtime, tmp_path, capsys, "logs", "--since", "10m") as follow:
            await follow.task
        follow.read()
        assert len(follow.out.splitlines()) == 5
        assert follow.err.startswith("(the log reaches back to ")
        async with following(runtime, tmp_path, capsys, "logs", "--since", "2100-01-01") as follow:
            await follow.task
        assert follow.read() == ""


async def test_why_a_runtime_refuses_is_said_once(monkeypatch):
    said, attempts = [], 0

    def find(options):
        nonlocal attempts
        attempts += 1
        if attempts > 5:
            raise LookupError
        raise UsageError("several runtimes run here", code="DN906")

    async def look(client):
        raise TimeoutError

    monkeypatch.setattr(lasting, "make_client", find)
    options = make_parser().parse_args(["ps"])
    with pytest.raises(LookupError):
        await lasting.Lasting(RuntimeClient("http://127.0.0.1:1"), options, said.append).ask(look)
    assert said == ["lost, trying again", "lost, trying again: several runtimes run here"]


async def test_a_runtime_that_does_not_answer_in_time_counts_as_lost(monkeypatch):
    said = []

    async def look(client):
        await asyncio.Event().wait()

    def find(options):
        raise LookupError

    monkeypatch.setattr(lasting, "PATIENCE", 0.01)
    monkeypatch.setattr(lasting, "make_client", find)
    with pytest.raises(LookupError):
        options = make_parser().parse_args(["ps"])
        await lasting.Lasting(RuntimeClient("http://127.0.0.1:1"), options, said.append).ask(look)
    assert said == [lasting.LOST]
