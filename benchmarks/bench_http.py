"""POST /api/events a second at 32 connections: ours, a bare ASGI application, the reference."""

from __future__ import annotations

import asyncio

from common import RUNS, in_turn, post_rate, report, serve_ours, serve_program, serve_reference

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


def rate(url: str) -> float:
    """Return POSTs a second."""
    body = {"kind": "bench.event", "payload": {"n": 1, "text": "x" * 100}}
    return asyncio.run(post_rate(url, "/api/events", body))


def main() -> None:
    """Serve all three at once and ask them in turn."""
    with serve_ours() as (ours, _, _), serve_program(BARE) as bare, serve_reference() as (reference, _, _):
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
