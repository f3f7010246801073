"""POST /api/events a second at 32 connections: ours, a bare ASGI application, the reference.

Ours and the bare one also on uvloop, where that is installed.
"""

from __future__ import annotations

from contextlib import ExitStack
from functools import partial
from importlib.util import find_spec

from common import (
    QUICK,
    RUNS,
    apart,
    has_reference,
    median,
    post_request,
    report,
    row,
    serve_ours,
    serve_program,
    serve_reference,
    taken_in_turn,
)

ROWS = ("post", "post-uvloop")

CONNECTIONS = 32

LOOPS = ("asyncio", "uvloop") if find_spec("uvloop") else ("asyncio",)

BODY = {"kind": "bench.event", "payload": {"n": 1, "text": "x" * 100}}

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

uvicorn.run(app, port=int(sys.argv[2]), http="httptools", loop=sys.argv[1], log_config=None, access_log=False,
            lifespan="off", server_header=False)
"""


def measure(url: str) -> dict[str, float]:
    """Return POSTs a second, and how busy the load itself was."""
    host, port, request = post_request(url, "/api/events", BODY)
    seconds = 0.2 if QUICK else 1.5
    return apart(
        do="post", host=host, port=port, request=request.decode(), connections=CONNECTIONS, seconds=seconds
    )


def main() -> None:
    """Serve all at once, each off the core of the load, and ask them in turn."""
    with ExitStack() as stack:
        urls = []
        for loop in LOOPS:
            urls.append(stack.enter_context(serve_ours(pinned=True, options=["--loop", loop])).url)
            urls.append(stack.enter_context(serve_program(BARE, loop, pinned=True)).url)
        if has_reference():
            urls.append(stack.enter_context(serve_reference(pinned=True)).url)
        for url in urls:
            measure(url)  # warm
        taken = taken_in_turn(RUNS, *(partial(measure, url) for url in urls))
    ours, bare, *others = [[one["rate"] for one in side] for side in taken]
    theirs = others[2 * len(LOOPS) - 2 :]
    report(
        what="POST /api/events a second, 32 connections",
        rows=[row("post", ours, bare)] + ([row("post-uvloop", *others[:2])] if len(LOOPS) > 1 else []),
        load_busy=median([one["busy"] for one in taken[0]]),
        load_busy_bare=median([one["busy"] for one in taken[1]]),
        reference_per_s=median(theirs[0]) if theirs else None,
        times_the_reference=median(ours) / median(theirs[0]) if theirs else None,
        runs=RUNS,
    )


if __name__ == "__main__":
    main()
