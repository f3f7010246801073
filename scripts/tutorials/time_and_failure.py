"""Time and failure: make both happen when you want."""

from __future__ import annotations

CELLS: list[tuple[str, str]] = [
    (
        "markdown",
        """
        # Time and failure

        Workers fail when nobody watches: at three in the morning, on the third call, again and again. You make all of
        that happen here, now, and mend it.
        """,
    ),
    ("code", "%load_ext dnworker"),
    (
        "code",
        """
        %%capability
        name: nightly
        version: 0.1.0
        description: A report every hour, and a reader that comes back
        """,
    ),
    (
        "code",
        """
        %%worker nightly

        @worker.on_startup
        async def start(client: RuntimeClient) -> None:
            worker.state["reads"] = 0


        @worker.every(cron="0 * * * *")
        async def report(client: RuntimeClient) -> None:
            print(f"{worker.state['reads']} reads")
            await client.publish("capability.nightly.reported", {"reads": worker.state["reads"]})


        @worker.every(minutes=20)
        async def sweep(client: RuntimeClient) -> None:
            print("swept")
        """,
    ),
    (
        "markdown",
        """
        ## A clock of your own

        `%clock virtual` stops the clock of your schedules, and shows what is due. The kernel itself goes on: widgets,
        sockets and `asyncio.sleep` are not affected.
        """,
    ),
    ("code", "%clock virtual"),
    (
        "markdown",
        "You move the clock. Two hours pass at once, and everything that was due runs in its order.",
    ),
    ("code", "%clock advance 2h"),
    ("markdown", "`%clock next` goes to whatever is due next."),
    ("code", "%clock next"),
    (
        "markdown",
        """
        ## A task that crashes

        A task runs as long as its worker. This one fails three times before it gets a connection. It starts again
        after 1, 2 and 4 seconds.
        """,
    ),
    ("code", "import asyncio"),
    (
        "code",
        """
        %%worker reader

        @worker.task
        async def read(client: RuntimeClient) -> None:
            worker.state["runs"] = worker.state.get("runs", 0) + 1
            if worker.state["runs"] <= 3:
                raise ConnectionError(f"attempt {worker.state['runs']} refused")
            await client.publish("capability.nightly.connected", {"after": worker.state["runs"]})
            await asyncio.Event().wait()
        """,
    ),
    ("code", "%clock advance 10s"),
    ("markdown", "It has recovered, and `%worker reader` still tells how often it failed, and where."),
    ("code", "%worker reader"),
    (
        "markdown",
        """
        No error gets lost. Each is in the trace, in the log and on the panel, and `dn.settle()` raises it, so that an
        unattended run fails. These three were on purpose.
        """,
    ),
    (
        "code",
        """
        from dnworker import HandlerFailed

        try:
            await dn.settle()
        except HandlerFailed as failed:
            print(failed)
        """,
    ),
    ("code", "%clock real"),
    (
        "markdown",
        """
        ## Faults on purpose

        `--chaos` doubles, delays and reorders events, and lets calls of the client fail. The same seed makes the same
        faults, so you can repeat a failure until it is mended.
        """,
    ),
    (
        "code",
        """
        %%worker nightly

        @worker.on_event("capability.nightly.item")
        async def take(event: EventEnvelope, client: RuntimeClient) -> None:
            await client.publish("capability.nightly.taken", {"number": event.payload["number"]})
        """,
    ),
    (
        "code",
        """
        %fire capability.nightly.item number=1 --times 6 --chaos seed=7,duplicate=0.3,delay=0.02,reorder,fail=client.publish:3
        """,
    ),
    (
        "markdown",
        "One of the eight failed: its call of `publish` found no connection. `dn.settle()` says the same.",
    ),
    (
        "code",
        """
        try:
            await dn.settle()
        except HandlerFailed as failed:
            print(failed)
        """,
    ),
    (
        "markdown",
        "The handler should survive a call that fails. Let it try three times, and fire the same faults again.",
    ),
    (
        "code",
        """
        %%worker nightly

        import httpx


        @worker.on_event("capability.nightly.item")
        async def take(event: EventEnvelope, client: RuntimeClient) -> None:
            for attempt in range(3):
                try:
                    await client.publish("capability.nightly.taken", {"number": event.payload["number"]})
                    return
                except httpx.TransportError as exc:
                    print(f"attempt {attempt + 1}: {exc}")
        """,
    ),
    (
        "code",
        """
        %fire capability.nightly.item number=1 --times 6 --chaos seed=7,duplicate=0.3,delay=0.02,reorder,fail=client.publish:3
        """,
    ),
    (
        "markdown",
        """
        All eight went through.

        ## Who blocks the loop?

        All workers of a notebook share one loop. A handler that blocks it stops every one of them. The cell below is
        such a mistake, and says so before it runs:
        """,
    ),
    (
        "code",
        """
        %%worker rude

        import time


        @worker.on_event("capability.nightly.block")
        async def block(event: EventEnvelope, client: RuntimeClient) -> None:
            time.sleep(1.5)
        """,
    ),
    ("code", "%fire capability.nightly.block"),
    (
        "markdown",
        "The trace names the line that blocks, and what to write. The log of another worker says who held it up:",
    ),
    ("code", "%worker logs nightly --last 3"),
    ("markdown", "Take the worker out. `%runtime doctor` then looks at everything around your workers."),
    ("code", "%worker remove rude"),
    ("code", "%runtime doctor"),
    (
        "markdown",
        """
        If a change of yours was a mistake, `%worker rollback nightly` brings the generation before it back.
        """,
    ),
    ("code", "%capability export out/nightly"),
    ("markdown", "Next: [agents](04-agents.ipynb)."),
    ("code", "await dn.settle()"),
]
