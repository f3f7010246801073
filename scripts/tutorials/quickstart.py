"""A worker in five minutes."""

from __future__ import annotations

CELLS: list[tuple[str, str]] = [
    (
        "markdown",
        """
        # A worker in five minutes

        A *worker* runs in the background: it handles events, runs on schedules and keeps state. You write one here
        while it runs. It fails once, you mend it, and at the end you export it as a capability that deploys as it is.

        Run the cells from top to bottom.
        """,
    ),
    ("code", "%load_ext dnworker"),
    (
        "markdown",
        """
        A runtime now runs inside this kernel. The next cell names the capability that this notebook becomes.
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
        ## Write a worker

        A `%%worker` cell is ordinary Python. `worker`, `EventEnvelope` and `RuntimeClient` are there already.

        This handler runs for each turn that an agent completes. It counts the turns and publishes an event of its own.
        """,
    ),
    (
        "code",
        """
        %%worker bridge

        @worker.on_event("turn.completed")
        async def count(event: EventEnvelope, client: RuntimeClient) -> None:
            worker.state["turns"] += 1
            print(f"turn {event.payload['turn_id']} took {event.payload['duration_ms']} ms")
            await client.publish("capability.quickstart.counted", {"turns": worker.state["turns"]})
        """,
    ),
    ("markdown", "Fire an event at it. You give no payload, so the runtime makes one that looks real."),
    ("code", "%fire turn.completed"),
    (
        "markdown",
        """
        ## Mend it

        What you see is a *trace*: the event, and the handler that ran for it. The handler failed. The trace names the
        cell, the line and the error: nobody has set `turns` yet.

        The worker still runs. A handler for its startup is the remedy, and it can stand in a cell of its own, with one
        for the end.
        """,
    ),
    (
        "code",
        """
        %%worker bridge

        @worker.on_startup
        async def connect(client: RuntimeClient) -> None:
            worker.state["turns"] = 0
            print("connected")


        @worker.on_shutdown
        async def disconnect(client: RuntimeClient) -> None:
            print("disconnected")
        """,
    ),
    ("markdown", "The worker started again with the new handler. Fire the same event once more:"),
    ("code", "%replay last"),
    (
        "markdown",
        """
        Now the trace shows what the handler printed, what it changed in the state, and what it published. Write values
        after the kind to choose them:
        """,
    ),
    ("code", "%fire turn.completed turn_id=t1 duration_ms=147"),
    (
        "markdown",
        """
        ## Add more

        A worker has as many cells as you like. This one greets new sessions and reports every five minutes. Handlers may
        use functions and constants of other cells.
        """,
    ),
    (
        "code",
        """
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

        @worker.on_event("session.created")
        async def greet(event: EventEnvelope, client: RuntimeClient) -> None:
            await client.notify(title=f"{GREETING}, session {short(event.session_id)}")


        @worker.every(minutes=5)
        async def report(client: RuntimeClient) -> None:
            print(f"{worker.state['turns']} turns so far")
        """,
    ),
    ("code", "%fire session.created"),
    (
        "markdown",
        """
        ## Look at it

        The panel shows workers, runs and logs while they happen. Click a run to see its trace, or a worker to see its
        handlers and its state.
        """,
    ),
    ("code", "%panel"),
    (
        "markdown",
        """
        ## Change it while it runs

        In your own notebook you edit a cell and run it again: the new code replaces the old, and the state stays. This
        notebook runs from top to bottom, so the new `count` has a cell of its own, and takes the place of the first.
        """,
    ),
    (
        "code",
        """
        %%worker bridge

        @worker.on_event("turn.completed")
        async def count(event: EventEnvelope, client: RuntimeClient) -> None:
            worker.state["turns"] += 1
            tokens = event.payload.get("usage", {}).get("output_tokens", 0)
            print(f"turn {event.payload['turn_id']} wrote {tokens} tokens")
            await client.publish("capability.quickstart.counted", {"turns": worker.state["turns"], "tokens": tokens})
        """,
    ),
    ("code", "%fire turn.completed"),
    ("markdown", "`%worker NAME` lists the handlers of a worker, with the cells that they come from."),
    ("code", "%worker bridge"),
    (
        "markdown",
        """
        ## When nobody watches

        A notebook that runs unattended must not hide a failure. `dn.settle()` waits until nothing runs, and raises
        what handlers raised since it was last called. Here that is the mistake from the beginning:
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
    (
        "markdown",
        """
        ## Export it

        An export is a manifest and one script for each worker. The script contains `GREETING` and `short`, because a
        handler uses them, and nothing else of this notebook.
        """,
    ),
    ("code", "%capability export out/quickstart"),
    ("code", "print(open('out/quickstart/workers/bridge.py').read())"),
    (
        "markdown",
        """
        In a terminal, `dnworker serve out/quickstart` runs it without Jupyter.

        Next: [events and traces](02-events-and-traces.ipynb), or a [whole project](06-a-folder-watcher.ipynb).
        """,
    ),
    ("code", "await dn.settle()"),
]
