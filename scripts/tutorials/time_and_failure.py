"""Time and failure: make both happen when you want."""

from __future__ import annotations

CELLS: list[tuple[str, str]] = [
    (
        "markdown",
        """
        # Time and failure

        Workers fail when nobody watches: a schedule fires at three in the morning, a task crashes again and again, a
        connection fails on the third call. In this notebook you make all of that happen now.
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


        @worker.on_event("capability.nightly.item")
        async def take(event: EventEnvelope, client: RuntimeClient) -> None:
            await client.publish("capability.nightly.taken", {"number": event.payload["number"]})
        """,
    ),
    (
        "markdown",
        """
        ## A clock of your own

        `%clock virtual` stops the clock of schedules, backoff and `dnworker.sleep`. The kernel itself keeps running:
        widgets, sockets and `asyncio.sleep` are not affected. You move the clock, and the order is the same every time.
        """,
    ),
    ("code", "%clock virtual"),
    ("code", "%clock advance 2h"),
    ("code", "%clock next"),
    (
        "markdown",
        """
        ## A task that crashes

        The reader below fails in its first three runs. It is started again after 1, 2 and 4 seconds; with the virtual
        clock these pass at once.
        """,
    ),
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
    ("code", "import asyncio"),
    ("code", "%clock advance 10s"),
    ("code", "%worker reader"),
    (
        "markdown",
        """
        Errors are kept: they are in the trace, in the worker's log and on the panel, and `dn.settle()` raises them,
        so that an unattended run fails. These errors are intended.
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

        `--chaos` duplicates, delays and reorders events, and lets calls of the client fail. The same seed injects the same
        faults again, so you can reproduce a failure until it is fixed.
        """,
    ),
    (
        "code",
        """
        %fire capability.nightly.item number=1 --times 6 --chaos seed=7,duplicate=0.3,delay=0.02,reorder,fail=client.publish:3
        """,
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
        """
        The handler should survive a call that fails. Fix it, and fire the same events again.
        """,
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
    ("code", "await dn.settle()"),
    (
        "markdown",
        """
        ## Who holds the loop?

        All workers of a notebook share the kernel's loop, so a handler that blocks stops every one of them. After a
        second its log, the trace and the panel name the handler and the line. *Interrupt* stops only that handler.
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
    ("code", "%worker logs nightly"),
    (
        "markdown",
        """
        If a change was a mistake, `%worker rollback nightly` restores the previous generation. `%runtime doctor`
        checks everything around the workers.
        """,
    ),
    ("code", "%runtime doctor"),
    ("code", "%worker remove rude"),
    ("code", "%capability export out/nightly"),
    ("code", "await dn.settle()"),
]
