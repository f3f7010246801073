"""Time and failure: make both happen when you want."""

from __future__ import annotations

CELLS: list[tuple[str, str]] = [
    (
        "markdown",
        """
        # Time and failure

        What matters about a worker happens at three in the morning: a schedule that fires, a task that crashes again
        and again, a connection that fails on the third call. Here all of that happens now.
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

        `%clock virtual` stops the time that schedules, backoff and `dnworker.sleep` go by. The kernel itself goes on:
        widgets, sockets and `asyncio.sleep` notice nothing. Then time moves when you say so, in the same order every time.
        """,
    ),
    ("code", "%clock virtual"),
    ("code", "%clock advance 2h"),
    ("code", "%clock next"),
    (
        "markdown",
        """
        ## A task that crashes

        The reader below fails at its first three runs. It is started again after 1, 2 and 4 seconds, which are over
        at once here.
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
        Errors never vanish: they are in the trace, in the worker's log, on the panel, and `dn.settle()` raises them,
        so that a run that nobody watches fails. Here they were wanted.
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

        `--chaos` duplicates, delays and reorders events, and lets calls of the client fail. The same seed makes the same
        happen again: a failure found once can be found until it is mended.
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
        The handler should survive a call that fails. Mend it, and fire the same again.
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

        All workers of a notebook share the kernel's loop. A handler that blocks stops every one of them; after a
        second its log, the trace and the panel say who it is, and where. *Interrupt* stops that handler and nothing else.
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
        And if a change was a mistake: `%worker rollback nightly` brings the generation before back. `%runtime doctor`
        looks at everything around the workers.
        """,
    ),
    ("code", "%runtime doctor"),
    ("code", "%worker remove rude"),
    ("code", "%capability export out/nightly"),
    ("code", "await dn.settle()"),
]
