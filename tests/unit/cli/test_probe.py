"""`dnworker probe` asks whether a runtime is there, in one line and an exit code."""

from __future__ import annotations

import asyncio
import json
import socket
import subprocess
import sys
import threading

import pytest

from dnworker import Runtime, Worker
from dnworker.cli.probe import main


async def probe(*words):
    """Run the program; returns its exit code and its output."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "dnworker", "probe", *words),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    out, _ = await process.communicate()
    return process.returncode, out.decode().strip()


def broken():
    worker = Worker("broken")

    @worker.on_startup
    async def start(client):
        raise OSError("a secret path")

    return worker


async def test_ready_and_live_are_told_apart_and_only_named_workers_are_named():
    async with Runtime(port=0) as runtime:
        await runtime.add(Worker("fine"), capability="demo")
        url = "--url", runtime.url
        assert await probe(*url) == (0, "ready")
        assert await probe(*url, "--worker", "all") == (0, "ready")
        await runtime.add(broken(), capability="demo")
        assert await probe(*url) == (0, "ready")
        assert await probe(*url, "--worker", "all") == (1, "not ready: a worker starts or is in error")
        assert await probe(*url, "--worker", "demo:fine") == (0, "ready")
        named = await probe(*url, "--worker", "demo:broken", "--worker", "demo:none")
        assert named == (1, "not ready: demo:broken is error, demo:none is unknown")
        runtime.drain.announce(5)
        assert await probe(*url) == (1, "not ready: the runtime is stopping")
        assert await probe(*url, "--live") == (0, "live")
        code, said = await probe(*url, "--json")
        assert (code, json.loads(said)["stage"]) == (1, "stopping")


async def test_a_runtime_that_can_keep_no_event_is_ready_and_that_is_said():
    async with Runtime(port=0) as runtime:
        runtime.bus.broker.failure = "the disk of /secret/events.db is full"
        but = "but what keeps its events accepts none now: its log says why"
        assert await probe("--url", runtime.url) == (0, f"ready, {but}")
        assert await probe("--url", runtime.url, "--live") == (0, f"live, {but}")
        code, said = await probe("--url", runtime.url, "--json")
        assert (code, json.loads(said)["status"]) == (0, "degraded")


def answering(listener, *pieces):
    """Answer one connection with these bytes, in a thread."""

    def answer():
        one, _ = listener.accept()
        with one:
            one.recv(4096)
            for piece in pieces:
                one.sendall(piece)
            one.recv(1)  # until the other side has gone

    thread = threading.Thread(target=answer, daemon=True)
    thread.start()
    return thread


READY = b'HTTP/1.1 200 OK\r\ncontent-length: 17\r\n\r\n{"stage":"ready"}'


def test_a_unix_socket_is_asked_too(tmp_path, capsys):
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "s"))
        listener.listen()
        answering(listener, READY)
        assert main(["--url", f"unix:{tmp_path / 's'}"]) == 0
    assert capsys.readouterr().out == "ready\n"


@pytest.mark.parametrize(
    ("pieces", "said"),
    [
        ((b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n{",), "no answer within 0.2 s"),
        ((), "no answer within 0.2 s"),
        ((b"SSH-2.0 hello\r\n",), "SSH-2.0 hello"),
        ((b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n[]",), "answered 200; is a runtime there?"),
        ((b"HTTP/1.1 503 x\r\ncontent-length: 21\r\n\r\n" + b'{"stage":"\\u001b[2J"}',), "\\x1b[2J"),
    ],
)
def test_a_server_that_is_slow_or_strange_is_one_line(pieces, said, capsys):
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        answering(listener, *pieces)
        assert main(["--url", f"http://127.0.0.1:{listener.getsockname()[1]}", "--timeout", "0.2"]) == 1
    out = capsys.readouterr().out
    assert said in out
    assert out.count("\n") == 1


def test_nobody_there_and_wrong_use_are_one_line(capsys):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{free.getsockname()[1]}"
        assert main(["--url", url]) == 1
    assert capsys.readouterr().out == f"no runtime answers at {url}: Connection refused\n"
    assert main(["--url", "ftp://x"]) == 1
    assert main(["--timeout", "0"]) == 1
    err = capsys.readouterr().err
    assert "(DN906)" in err
    assert "(DN930)" in err


def test_it_imports_no_client_and_no_engine():
    code = "import sys; from dnworker.cli.entry import main\ntry: main(['probe', '--help'])\nexcept SystemExit: pass\n"
    code += "print([m for m in ('httpx', 'msgspec', 'asyncio', 'dnworker.engine') if m in sys.modules])"
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert answer.stdout.splitlines()[-1] == "[]"
