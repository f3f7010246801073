"""POST /api/events a second at 32 connections: ours, a bare ASGI application, the reference."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

from common import RUNS, free_port, in_turn, is_ready, post_rate, report, serve_ours, serve_reference

BARE = """
import sys, uvicorn

async def app(scope, receive, send):
    if scope["type"] != "http":
        return
    body, more = b"", True
    while more:
        message = await receive()
        body += message.get("body", b"")
        more = message.get("more_body", False)
    answer = b'{"event_id":"00000000000000000000000000000000","seq":1}'
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(answer)).encode())]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": answer})

uvicorn.run(app, port=int(sys.argv[1]), http="httptools", loop="asyncio", log_config=None, access_log=False,
            lifespan="off", server_header=False)
"""


@contextmanager
def serve_bare() -> Iterator[str]:
    """Run the application that does nothing but answer."""
    port = free_port()
    process = subprocess.Popen([sys.executable, "-c", BARE, str(port)], stderr=subprocess.DEVNULL)
    url = f"http://127.0.0.1:{port}"
    try:
        while not is_ready(url):
            time.sleep(0.02)
        yield url
    finally:
        process.terminate()
        process.wait()


def rate(url: str) -> float:
    """Return POSTs a second."""
    body = {"kind": "bench.event", "payload": {"n": 1, "text": "x" * 100}}
    return asyncio.run(post_rate(url, "/api/events", body))


def main() -> None:
    """Serve all three at once and ask them in turn."""
    with serve_ours() as (ours, _, _), serve_bare() as bare, serve_reference() as (reference, _, _):
        for url in (ours, bare, reference):
            rate(url)  # warm
        mine, limit, theirs = in_turn(RUNS, lambda: rate(ours), lambda: rate(bare), lambda: rate(reference))
    report(
        what="POST /api/events a second, 32 connections",
        ours_per_s=mine,
        bare_asgi_per_s=limit,
        reference_per_s=theirs,
        share_of_bare=mine / limit,
        times_the_reference=mine / theirs,
        runs=RUNS,
    )


if __name__ == "__main__":
    main()
