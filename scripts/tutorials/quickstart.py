"""A worker in five minutes."""

from __future__ import annotations

CELLS: list[tuple[str, str]] = [
    (
        "markdown",
        """
        # A worker in five minutes

        A *worker* is a long-running background component: it reacts to runtime events, runs on schedules and
        keeps state. Here you write one live, fire events at it, change it while it runs, and export it as a
        capability that deploys without changes.

        Run the cells from top to bottom.
        """,
    ),
    ("code", "%load_ext dnworker"),
    (
        "markdown",
        """
        `%load_ext` started a runtime on this kernel's own event loop. The next cell names the capability that
        this notebook is and that we will export, as YAML.
        """,
    ),
    (
        "code",
        """
        %%capability
        name: quickstart
        version: 0.1.0
        description: Counts turns and greets new sessions
        """,
    ),
    (
        "markdown",
        """
        ## Define a worker

        The body of a `%%worker` cell is ordinary Python in which `worker`, `EventEnvelope` and `RuntimeClient`
        are bound. The cell shows all five decorators. Handlers may use functions and constants of other cells.
        """,
    ),
    (
        "code",
        """
        import asyncio

        GREETING = "Hello"


        def short(identifier: str) -> str:
            # Sessions have long ids; eight characters tell them apart.
            return identifier[:8]
        """,
    ),
    (
        "code",
        """
        %%worker bridge

        @worker.on_startup
        async def connect(client: RuntimeClient) -> None:
            worker.state["turns"] = 0
            worker.state["lock"] = asyncio.Lock()
            print("connected")


        @worker.on_event("session.created")
        async def greet(event: EventEnvelope, client: RuntimeClient) -> None:
            await client.notify(title=f"{GREETING}, session {short(event.session_id)}")


        @worker.on_event("turn.completed")
        async def count(event: EventEnvelope, client: RuntimeClient) -> None:
            async with worker.state["lock"]:
                worker.state["turns"] += 1
            print(f"turn {event.payload['turn_id']} took {event.payload['duration_ms']} ms")
            await client.publish("capability.quickstart.counted", {"turns": worker.state["turns"]})


        @worker.every(minutes=5)
        async def report(client: RuntimeClient) -> None:
            print(f"{worker.state['turns']} turns so far")


        @worker.task
        async def watch(client: RuntimeClient) -> None:
            while True:
                await asyncio.sleep(60)


        @worker.on_shutdown
        async def disconnect(client: RuntimeClient) -> None:
            print("disconnected")
        """,
    ),
    (
        "markdown",
        """
        ## Fire events at it

        `%fire` shows the trace: the event, the handlers that ran, what they printed and what they published.
        A kind that the runtime knows gets a realistic payload when you give none.
        """,
    ),
    ("code", "%fire session.created"),
    ("code", "%fire turn.completed turn_id=t1 duration_ms=147"),
    ("markdown", "## Look at it\n\nThe panel is live: it shows what happens from now on."),
    ("code", "%panel"),
    (
        "markdown",
        """
        ## Change it while it runs

        Run a `%%worker` cell again after a change, or redefine a handler in another cell as here: the new code
        replaces the old, and state is kept.
        """,
    ),
    (
        "code",
        """
        %%worker bridge

        @worker.on_event("turn.completed")
        async def count(event: EventEnvelope, client: RuntimeClient) -> None:
            async with worker.state["lock"]:
                worker.state["turns"] += 1
            tokens = event.payload.get("usage", {}).get("output_tokens", 0)
            print(f"turn {event.payload['turn_id']} wrote {tokens} tokens")
            await client.publish("capability.quickstart.counted", {"turns": worker.state["turns"], "tokens": tokens})
        """,
    ),
    ("code", "%fire turn.completed"),
    ("code", "%worker"),
    (
        "markdown",
        """
        ## Export it

        The export is one script with its dependencies in a PEP 723 header, and a manifest. It contains `GREETING` and
        `short` because handlers use them, and nothing else of the notebook.
        """,
    ),
    ("code", "%capability export out/quickstart"),
    (
        "markdown",
        """
        Any runtime that reads the manifest can run it, this one too, as a process of its own under `uv run`:
        `%capability load out/quickstart --replace` lets it run in place of the cells, until
        `%capability unload quickstart`. `%capability check out/quickstart` runs the export in a clean environment,
        fires the events from above at export and notebook, and shows where they differ. `%events test #2`
        makes a test of one of those events, which the export includes. End a notebook that runs unattended with
        `await dn.settle()`: it raises what handlers raised.
        """,
    ),
    ("code", "await dn.settle()"),
]
