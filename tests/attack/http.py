"""Attacks on the server's sockets: what strangers, clients and browsers send, and who may do what."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import sys
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from urllib.parse import urlsplit

import httpx
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed

from tests.attack.attack import Scale, attack
from tests.attack.served import Served, make_capability, serving

HALF = b"GET /api/runtime HTTP/1.1\r\nHost: localhost\r\nX-Half: "

SLEEPS = """
import os, sys, time
print(os.environ["DREADNODE_RUNTIME_TOKEN"], flush=True)
time.sleep(600)
"""


ECHO = """
from dnworker import Worker
worker = Worker("echo")

@worker.on_event("say")
async def on_say(event, client):
    session = await client.create_session(session_id="s")
    await client.publish("said", {"text": event.payload["text"], "session": session.session_id})

if __name__ == "__main__":
    worker.run()
"""


@contextlib.asynccontextmanager
async def raw(served: Served) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    """Open a connection, and abort it in the end."""
    where = urlsplit(served.url)
    reader, writer = await asyncio.open_connection(where.hostname, where.port)
    try:
        yield reader, writer
    finally:
        writer.transport.abort()


async def send_without_end(served: Served, begin: bytes, more: bytes, most: int) -> int:
    """Send until the server closes, or `most` bytes; returns how much went out."""
    sent = 0
    async with raw(served) as (_, writer):
        with contextlib.suppress(ConnectionError):
            writer.write(begin)
            while sent < most:
                writer.write(more)
                sent += len(more)
                await writer.drain()
    return sent


def no_flood(served: Served, most: int = 5) -> None:
    """Check that standard error has no traceback and few lines."""
    assert not any("Traceback" in line for line in served.err), "\n".join(served.err[-30:])
    assert len(served.err) <= most, "\n".join(served.err[-30:])


@attack()
async def headers_without_end(scale: Scale) -> str:
    """Headers, trailers and chunk extensions that never end cost little memory, and are cut off."""
    post = b"POST /panel/session HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
    kinds = [
        (HALF, b"a" * 100_000),
        (b"GET / HTTP/1.1\r\n", b"X: a\r\n" * 15_000),
        (b"GET /", b"a" * 100_000),
        (post + b"Transfer-Encoding: chunked\r\n\r\n1;a=", b"b" * 100_000),
        (post + b"Transfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n", b"X: a\r\n" * 15_000),
    ]
    async with serving(scale.directory) as served:
        before = served.rss_mib()
        sent = await asyncio.gather(
            *(send_without_end(served, *kind, most=scale.of(800, 200) * 1_000_000) for kind in kinds)
        )
        await served.answers_within(5)
        grown = served.peak_mib() - before
        no_flood(served)
    assert grown < 60, f"{grown:.0f} MiB for headers without end"
    assert max(sent) < 60_000_000, f"{max(sent):,} bytes were read"
    return f"{grown:.0f} MiB grown; at most {max(sent) / 1e6:.1f} MB were taken"


@attack()
async def half_sent_requests_without_descriptors(scale: Scale) -> str:
    """With 64 file descriptors and 120 half-sent requests the API answers, and the processor rests."""
    seconds = scale.of(10, 3)
    async with contextlib.AsyncExitStack() as stack:
        served = await stack.enter_async_context(serving(scale.directory, limits="ulimit -n 64"))
        for _ in range(120):
            with contextlib.suppress(OSError):
                _, writer = await stack.enter_async_context(raw(served))
                writer.write(HALF)
        await served.answers_within(5)
        await asyncio.sleep(0.5)
        began, cpu = time.monotonic(), served.cpu_seconds()
        answers = 0
        while time.monotonic() - began < seconds:
            async with httpx.AsyncClient(base_url=served.url, headers=served.client.headers) as fresh:
                assert (await fresh.get("/api/runtime")).status_code == 200
            answers += 1
            await asyncio.sleep(0.5)
        share = (served.cpu_seconds() - cpu) / (time.monotonic() - began)
        files = served.open_files()
        no_flood(served)
    assert share < 0.1, f"{share:.0%} of a processor"
    assert files < 64
    return f"{answers} new clients answered, {share:.1%} of a processor, {files} descriptors"


@attack()
async def a_flood_of_strangers(scale: Scale) -> str:
    """While connections come and go as fast as they can, clients with a token get in and workers go on."""
    seconds = scale.of(15, 3)
    async with serving(scale.directory) as served:
        over = asyncio.Event()
        count = 0

        async def flood() -> None:
            nonlocal count
            where = urlsplit(served.url)
            kept: list[asyncio.Transport] = []
            while not over.is_set():
                with contextlib.suppress(OSError):
                    loop = asyncio.get_running_loop()
                    made, _ = await loop.create_connection(asyncio.Protocol, where.hostname, where.port)
                    made.write(HALF)
                    kept.append(made)
                    count += 1
                if len(kept) > 300:
                    kept.pop(0).abort()
            for made in kept:
                made.abort()

        floods = [asyncio.create_task(flood()) for _ in range(4)]
        slowest, answers, began = 0.0, 0, time.monotonic()
        failed = 0
        while time.monotonic() - began < seconds:
            at = time.monotonic()
            async with httpx.AsyncClient(base_url=served.url, headers=served.client.headers) as fresh:
                try:
                    answers += (await fresh.get("/api/runtime")).status_code == 200
                except httpx.TransportError:
                    failed += 1
            slowest = max(slowest, time.monotonic() - at)
            await asyncio.sleep(0.05)
        over.set()
        await asyncio.gather(*floods)
        files, peak = served.open_files(), served.peak_mib()
        no_flood(served)
    assert answers, "no client got in"
    assert failed <= answers / 20, f"{failed} of {failed + answers} clients did not get in"
    assert files < 250, f"{files} descriptors"
    return f"{count:,} strangers; {answers} clients answered, {failed} refused, the slowest in {slowest:.2f} s; {peak:.0f} MiB"


@attack(limit=240)
async def what_is_slow_is_cut_off(scale: Scale) -> str:
    """Headers, bodies and handshakes that drip, and connections that say nothing, are gone after their time."""
    limits = ("--limit", "header-seconds=1", "--limit", "body-seconds=1") if scale.short else ()
    at_most = 22  # a connection that is idle after an answer stays for 15 s, for clients of the reference
    async with serving(scale.directory, *limits) as served:
        idle = served.open_files()
        drips = [
            (b"", b""),
            (HALF, b"a"),
            (b"", b"\r\n"),
            (b"POST /panel/session HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
             b"Content-Length: 9999\r\n\r\n", b" "),
            (b"GET /api/ws HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\n", b""),
            (b"GET /api/health HTTP/1.1\r\nHost: localhost\r\n\r\n", b""),
        ]  # fmt: skip

        async def drip(begin: bytes, more: bytes) -> float:
            began = time.monotonic()
            async with raw(served) as (reader, writer):
                with contextlib.suppress(ConnectionError):
                    writer.write(begin)
                    reading = asyncio.ensure_future(reader.read(-1))
                    while not reading.done():
                        if more:
                            writer.write(more)
                        await asyncio.wait([reading], timeout=0.2)
                    await reading
            return time.monotonic() - began

        took = await asyncio.gather(*(drip(*one) for one in drips for _ in range(scale.of(15, 2))))
        while served.open_files() > idle + 2:
            await asyncio.sleep(0.05)
        no_flood(served)
    assert max(took) < at_most, f"{max(took):.1f} s"
    return f"{len(took)} connections gone after at most {max(took):.1f} s"


@attack()
async def ambiguous_requests(scale: Scale) -> str:
    """Requests that two servers could read in two ways are refused, each with its connection."""
    get, host = b"GET /api/health HTTP/1.1\r\n", b"Host: localhost\r\n"
    post = b"POST /api/events HTTP/1.1\r\n" + host
    wrong = [
        get + host + host + b"\r\n",
        get + host + b"Host: evil.example\r\n\r\n",
        get + b"\r\n",
        b"GET http://evil.example/api/health HTTP/1.1\r\n" + host + b"\r\n",
        post + b"Content-Length: 1\r\nContent-Length: 2\r\n\r\nx",
        post + b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        post + b"Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
        get + host + b"X: a\r\n b\r\n\r\n",
        get + b"Host: localhost\nX: b\r\n\r\n",
        get + b"Host: localhost\rX: b\r\n\r\n",
        get + host + b"X: a\0b\r\n\r\n",
        get + host + b"X: a\r\n" * 200 + b"\r\n",
        b"CONNECT localhost:1 HTTP/1.1\r\n" + host + b"\r\n",
    ]
    async with serving(scale.directory) as served:
        for sent in wrong:
            async with raw(served) as (reader, writer):
                writer.write(sent + get + host + b"\r\n")
                async with asyncio.timeout(10):
                    answer = await reader.read(-1)
            assert answer[9:10] in b"45", (sent, answer)
            assert answer.count(b"HTTP/1.1 ") == 1, (sent, answer)
        await served.answers_within(5)
        no_flood(served, 0)
    return f"{len(wrong)} refused"


@attack()
async def files_that_are_none(scale: Scale) -> str:
    """Reading devices, pipes, endless and huge files is refused at once, and hinders nobody."""
    os.mkfifo(scale.directory / "pipe")
    with (scale.directory / "huge").open("wb") as stream:
        stream.truncate(1 << 42)
    paths = ["/dev/zero", "/dev/random", "/dev/tty", "/dev/stdin", "pipe", "huge", "/proc/kmsg", "/proc/self/mem",
             "/proc/self/pagemap", "/proc/kcore", "/", "/dev/stdout"]  # fmt: skip
    async with serving(scale.directory) as served:
        async with asyncio.timeout(20):
            answers = await asyncio.gather(
                *(
                    served.client.get("/api/files/read", params={"path": path})
                    for path in paths * scale.of(10, 2)
                )
            )
        await served.answers_within(5)
        assert {a.status_code for a in answers} <= {400, 404, 413}, [a.status_code for a in answers]
        assert served.peak_mib() < 300, f"{served.peak_mib():.0f} MiB"
        code = await served.stop()
    assert code == 0, f"exit code {code}"
    return f"{len(answers)} refused; SIGTERM ended it with code 0"


@attack()
async def a_token_that_is_revoked(scale: Scale) -> str:
    """When a worker's process ends, sockets that were opened with its token are closed, and it opens no more."""
    root = make_capability(scale.directory / "cap", "w: {command: python3, args: [w.py]}", {"w.py": SLEEPS})
    async with serving(scale.directory, root) as served:
        async with asyncio.timeout(20):
            while not (output := (await served.detail("demo:w"))["process"]["recent_output"]):
                await asyncio.sleep(0.05)
            token = output[-1].split()[-1]
            headers = {"Authorization": f"Bearer {token}"}
            sockets = [
                await connect(served.url.replace("http", "ws") + path, additional_headers=headers, proxy=None)
                for path in ("/api/ws", "/api/ws/events")
            ]
            await served.post("/api/workers/demo/w/restart?force=true")
            for socket in sockets:
                try:
                    while True:
                        await socket.recv()
                except ConnectionClosed as exc:
                    assert exc.rcvd is not None
                    assert exc.rcvd.code == 4402, exc.rcvd
        async with httpx.AsyncClient(base_url=served.url, headers=headers) as client:
            assert (await client.get("/api/runtime")).status_code == 401
    return "both sockets closed with 4402; the token gets 401"


@attack()
async def a_worker_with_the_scope_of_a_worker(scale: Scale) -> str:
    """Under `--worker-scope worker` a worker's token publishes and subscribes, and gets 403 for what is not its own."""
    workers = (
        "w: {command: python3, args: [w.py]}\nother: {command: python3, args: [w.py]}\n"
        f"echo: {{command: {sys.executable}, args: [echo.py]}}"
    )
    root = make_capability(scale.directory / "cap", workers, {"w.py": SLEEPS, "echo.py": ECHO})
    async with serving(scale.directory, root, "--worker-scope", "worker") as served:
        async with asyncio.timeout(20):
            while not (output := (await served.detail("demo:w"))["process"]["recent_output"]):
                await asyncio.sleep(0.05)
        headers = {"Authorization": f"Bearer {output[-1].split()[-1]}"}
        stream = served.url.replace("http", "ws") + "/api/ws/events?kinds=said"
        async with connect(stream, additional_headers=headers, proxy=None) as events:
            await served.publish("say", {"text": "hello"})
            async with asyncio.timeout(30):
                said = json.loads(await events.recv())["payload"]
        assert said == {"text": "hello", "session": "s"}
        async with httpx.AsyncClient(base_url=served.url, headers=headers) as client:
            may = [
                await client.post("/api/events", json={"kind": "a"}),
                await client.post("/api/sessions", json={}),
                await client.get("/api/workers/demo/w"),
                await client.post("/api/workers/demo/other/restart", params={"force": True}),
                await client.post("/api/ws/ticket"),
            ]
            may_not = [
                await client.post("/api/shell", params={"command": "env"}),
                await client.get("/api/files/read", params={"path": "/proc/self/environ"}),
                await client.get("/api/files"),
                await client.put("/api/files/upload", params={"batch": "b", "path": "p"}, content=b"x"),
                await client.post("/api/reload"),
                await client.get("/api/runtime"),
                await client.get("/api/logs"),
                await client.get("/api/tools"),
                await client.get("/api/workers/demo/other"),
                await client.get("/api/workers/demo/none"),
                await client.post("/panel/session", json={"token": headers["Authorization"][7:]}),
            ]
    assert {a.status_code for a in may} == {200}, [(a.url, a.status_code) for a in may]
    for answer in may_not:
        assert answer.status_code == 403, (answer.url, answer.status_code)
        assert "has no right" in answer.json()["detail"]
    return f"{len(may)} allowed, {len(may_not)} refused with the missing right"


def _empty(file: Path) -> None:
    file.touch(0o600)


def _open_to_others(file: Path) -> None:
    file.write_text("word")
    file.chmod(0o644)


def _blank(file: Path) -> None:
    file.touch(0o600)
    file.write_text(" \n")


@attack()
async def token_files_that_are_none(scale: Scale) -> str:
    """A token file that is empty, open to others, a pipe or a directory is an error of one line."""
    spoils: list[Callable[[Path], object]] = [
        _empty,
        _open_to_others,
        lambda file: os.mkfifo(file, 0o600),
        _blank,
        lambda file: file.mkdir(0o700),
        lambda file: file.symlink_to("/dev/zero"),
        lambda file: file.symlink_to("nothing"),
    ]

    async def said(number: int) -> str:
        file = scale.directory / f"token-{number}"
        spoils[number](file)
        command = (sys.executable, "-m", "dnworker", "serve", "--port", "0", "--token-file", str(file))
        process = await asyncio.create_subprocess_exec(
            *command, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE, cwd=scale.directory
        )
        try:
            async with asyncio.timeout(30):
                out, err = await process.communicate()
        finally:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
        assert (process.returncode, out) == (1, b""), (number, process.returncode, out, err)
        return err.decode()

    count = scale.of(len(spoils), 2)
    for text in [await said(number) for number in range(count)]:
        assert "token file" in text, text
        assert len(text.splitlines()) == 1, text
    return f"{count} refused"


@attack()
async def a_socket_that_floods(scale: Scale) -> str:
    """Pings without end that nobody reads the answers to, and messages of endless frames, cost little memory."""
    limits = ("--limit", "body-seconds=2") if scale.short else ("--limit", "body-seconds=10")
    async with serving(scale.directory, *limits) as served:
        handshake = (
            b"GET /api/ws HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer "
            + served.token.encode()
            + b"\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
            b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
        )
        before = served.rss_mib()
        empty, ping = b"\x00\x80\0\0\0\0", b"\x89\xe4\0\0\0\0" + b"a" * 100
        most = scale.of(200, 20) * 1_000_000
        async with asyncio.timeout(100):
            await asyncio.gather(
                send_without_end(served, handshake + b"\x01\x80\0\0\0\0", empty * 20_000, most),
                send_without_end(served, handshake, ping * 1_000, most),
            )
        await served.answers_within(5)
        grown = served.peak_mib() - before
        no_flood(served)
    assert grown < 80, f"{grown:.0f} MiB"
    return f"{grown:.0f} MiB grown"
