"""Events and traces: fire, see what happened, fire again."""

from __future__ import annotations

CELLS: list[tuple[str, str]] = [
    (
        "markdown",
        """
        # Events and traces

        Workers react to events. You fire events here, read what each one caused, fire recorded events again, and
        compare two versions of a handler on the same events.
        """,
    ),
    ("code", "%load_ext dnworker"),
    (
        "code",
        """
        %%capability
        name: orders
        version: 0.1.0
        description: Takes orders, ships them, and says so
        """,
    ),
    (
        "markdown",
        """
        ## A chain of handlers

        `take` publishes an event, and `ship` handles it. Prints, log records and output of threads all end in the trace.
        """,
    ),
    (
        "code",
        """
        import asyncio
        import logging

        log = logging.getLogger("orders")
        """,
    ),
    (
        "code",
        """
        %%worker orders

        @worker.on_event("capability.orders.placed")
        async def take(event: EventEnvelope, client: RuntimeClient) -> None:
            order = event.payload["order_id"]
            print(f"taken: {order}, {event.payload.get('amount', 1)} pieces")
            await client.publish("capability.orders.taken", {"order_id": order, "express": event.payload["is_express"]})


        @worker.on_event("capability.orders.taken")
        async def ship(event: EventEnvelope, client: RuntimeClient) -> None:
            if not event.payload["express"]:
                log.warning("no hurry with %s", event.payload["order_id"])
                await asyncio.sleep(0.02)
            await client.notify(title=f"shipped {event.payload['order_id']}")
        """,
    ),
    (
        "markdown",
        """
        `%fire` publishes an event and waits for all that it causes. Without a payload it makes one of the fields that
        your handlers read.
        """,
    ),
    ("code", "%fire capability.orders.placed"),
    (
        "markdown",
        """
        Read the trace from top to bottom: the event, the handler that ran for it, what it printed, the event that it
        published, and the handler that ran for that. The bars show when each of them ran.

        ## An event that fails

        Real events lack fields. A `%%fire` cell sends exactly the payload of its body, as JSON, YAML or a Python dict.
        This order says nothing about express:
        """,
    ),
    (
        "code",
        """
        %%fire capability.orders.placed
        order_id: A-7
        amount: 3
        """,
    ),
    (
        "markdown",
        """
        The red line names the cell, the line and the missing key. Mend `take`, and fire the same event again with
        `%replay last`.
        """,
    ),
    (
        "code",
        """
        %%worker orders

        @worker.on_event("capability.orders.placed")
        async def take(event: EventEnvelope, client: RuntimeClient) -> None:
            order = event.payload["order_id"]
            express = event.payload.get("is_express", False)
            print(f"taken: {order}, {event.payload.get('amount', 1)} pieces")
            await client.publish("capability.orders.taken", {"order_id": order, "express": express})
        """,
    ),
    ("code", "%replay last"),
    (
        "markdown",
        """
        ## A trace is an object

        Keep a trace to work with it. Values on the line are JSON or Python literals; `{name}` is a variable.
        """,
    ),
    (
        "code",
        "size = 3\ntrace = %fire capability.orders.placed order_id=A-8 is_express=true amount={size}\ntrace",
    ),
    (
        "code",
        """
        assert trace.ok
        [event.kind for event in trace.events()]
        """,
    ),
    (
        "markdown",
        """
        For a long payload, `--template` writes a `%%fire` cell below that you edit.
        """,
    ),
    ("code", "%fire turn.failed --template"),
    (
        "markdown",
        """
        ## Fire again

        Every event has a number and an id. `%events` lists the latest.
        """,
    ),
    ("code", "%events --last 5"),
    (
        "markdown",
        "`%replay` fires recorded events again, and `--edit` changes a field. It also works after a restart.",
    ),
    ("code", "%replay last 2 --edit amount=100"),
    ("markdown", "Save events to a file, and fire them again on another day or another machine."),
    ("code", "%events save orders.jsonl --last 3"),
    ("code", "%replay orders.jsonl --worker orders"),
    (
        "markdown",
        """
        The panel shows the same runs as a list with a waterfall. `%panel` opens it:

        ![The panel: a list of runs, the waterfall of one of them, and the error of a handler](../docs/images/panel-runs.png)

        ## Two versions on the same event

        Change a handler, and ask where the new version differs from the one before. Both run in shadow: what they
        would publish is written down and not published.
        """,
    ),
    (
        "code",
        """
        %%worker orders

        @worker.on_event("capability.orders.taken")
        async def ship(event: EventEnvelope, client: RuntimeClient) -> None:
            how = "express" if event.payload["express"] else "by post"
            await client.notify(title=f"shipped {event.payload['order_id']} {how}")
        """,
    ),
    ("code", "%replay last 1 --kind capability.orders.taken --compare"),
    (
        "markdown",
        """
        ## The same cells as a process

        A deployed worker runs as a process of its own. `%worker topology orders python` runs these cells like that,
        with this Python; `uv` in its place makes an environment from the worker's requirements. The state starts empty.
        """,
    ),
    ("code", "%worker topology orders python"),
    ("code", "%fire capability.orders.placed order_id=D-4 is_express=true"),
    ("markdown", "The trace looks the same. Bring the worker back into the notebook:"),
    ("code", "%worker topology orders in-process"),
    (
        "markdown",
        """
        ## Without magics

        `dn.worker` does the same in plain Python, for editors that check no cell that begins with `%%`.
        """,
    ),
    (
        "code",
        """
        archive = dn.worker("archive")

        @archive.on_event("notify")
        async def keep(event, client):
            archive.state.setdefault("titles", []).append(event.payload["title"])
        """,
    ),
    ("code", 'await dn.fire("capability.orders.placed", {"order_id": "E-5", "is_express": True})'),
    ("code", "%worker state archive"),
    (
        "markdown",
        """
        ## Export

        `dn.settle()` raises what handlers raised, so that an unattended run fails. The error above was on purpose.
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
    ("code", "%capability export out/orders"),
    ("markdown", "Next: [time and failure](03-time-and-failure.ipynb)."),
    ("code", "await dn.settle()"),
]
