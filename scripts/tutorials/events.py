"""Events and traces: fire, see what happened, fire again."""

from __future__ import annotations

CELLS: list[tuple[str, str]] = [
    (
        "markdown",
        """
        # Events and traces

        Workers react to events. Here you fire events without looking up their payloads, see everything an event
        caused, fire recorded events again, and compare two versions of a handler on the same events.
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

        `take` publishes an event, and `ship` handles it. A handler may write output in any way: prints, logging, threads.
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
        ## Fire without a payload

        A kind that the runtime knows has a realistic payload. A kind of your own gets a first payload from the fields
        that handlers read, and later the one that was fired last. Tab completes kinds and fields.
        """,
    ),
    ("code", "%fire capability.orders.placed"),
    (
        "markdown",
        """
        The trace is a tree: the event, the handlers it ran, what they printed and published, and what that caused,
        with a bar for when each ran. Values on the line are JSON, Python literals, or `{name}` for a variable.
        """,
    ),
    (
        "code",
        "size = 3\ntrace = %fire capability.orders.placed order_id=A-7 is_express=false amount={size}\ntrace",
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
        A longer payload goes into the body of `%%fire`, as JSON, YAML or a Python dict;
        `%fire KIND --template` adds a cell with a payload to edit.
        """,
    ),
    ("code", "%fire turn.failed --template"),
    (
        "code",
        """
        %%fire capability.orders.placed
        order_id: B-1
        is_express: true
        amount: 12
        """,
    ),
    (
        "markdown",
        """
        ## Fire again

        Every event has a number and an id. `%replay` fires recorded events again, with changes if you want, at all workers
        or at one. It reads the journal, so it works after a restart of the kernel too.
        """,
    ),
    ("code", "%events --last 5"),
    ("code", "%replay last 2 --edit amount=100"),
    ("code", "%events save orders.jsonl --last 3"),
    ("code", "%replay orders.jsonl --worker orders"),
    (
        "markdown",
        """
        ## Two generations on the same events

        Change a handler, and see where the new version differs from the previous one. Both run without effect: what
        they would publish is recorded and not published.
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
    ("code", "await dn.fire('capability.orders.taken', {'order_id': 'C-9', 'express': True});"),
    ("code", "%replay last 1 --kind capability.orders.taken --compare"),
    (
        "markdown",
        """
        ## The same cells as a process

        `%worker topology orders uv` runs the worker as the exported script would run, with its own environment;
        `python` uses this kernel's. State starts empty, as in a deployment. The trace looks the same.
        """,
    ),
    ("code", "%worker topology orders python"),
    ("code", "%fire capability.orders.placed order_id=D-4 is_express=true"),
    ("code", "%worker topology orders in-process"),
    (
        "markdown",
        """
        ## Without magics

        For editors that do not analyse `%%` cells, `dn.worker` does the same in plain Python. It can be exported
        too.
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
    (
        "code",
        """
        await dn.fire("capability.orders.placed", {"order_id": "E-5", "is_express": True})
        archive.state["titles"]
        """,
    ),
    ("code", "%capability export out/orders"),
    ("code", "await dn.settle()"),
]
