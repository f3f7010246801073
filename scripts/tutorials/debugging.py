"""Debugging: from the red line to the wrong variable, and back to the state before it."""

from __future__ import annotations

CELLS: list[tuple[str, str]] = [
    (
        "markdown",
        """
        # Debugging

        A handler fails on some events, and not on others. In this notebook you go from its red line to the wrong
        variable, stop it before it fails, see what it has done to the worker's state, and go back to the state before.
        """,
    ),
    ("code", "%load_ext dnworker"),
    (
        "code",
        """
        %%capability
        name: till
        version: 0.1.0
        description: Splits what a table has paid among its guests
        """,
    ),
    (
        "code",
        """
        %%worker till

        @worker.on_startup
        async def start(client: RuntimeClient) -> None:
            worker.state["total"] = 0
            worker.state["shares"] = []


        @worker.on_event("capability.till.paid")
        async def split(event: EventEnvelope, client: RuntimeClient) -> None:
            amount, guests = event.payload["amount"], event.payload["guests"]
            worker.state["total"] += amount
            share = amount / guests
            worker.state["shares"].append(share)
            await client.publish("capability.till.split", {"share": share})
        """,
    ),
    ("code", "%fire capability.till.paid amount=30 guests=3"),
    (
        "markdown",
        """
        ## The red line

        The next table has left before somebody counted its guests. The trace names the error, the cell and the line. The
        worker goes on: the next event is handled as if nothing had happened.
        """,
    ),
    (
        "code",
        """
        failed = await dn.fire("capability.till.paid", {"amount": 40, "guests": 0})
        failed
        """,
    ),
    (
        "markdown",
        """
        ## From the red line to the wrong variable

        Run `%debug` in a cell of its own: it opens the frame that raised, with its variables. `%debug #12` does so for the
        event with that number in the trace, and `%debug till.split` for the last failure of that handler. At the prompt:

        ```text
        p guests      shows a variable
        u, d          go to the caller, and back
        l             shows the code around the line
        q             leaves
        ```

        A prompt needs somebody who answers. Where nobody can, as under `nbclient` or `papermill`, take the exception itself:
        its traceback has the same variables.
        """,
    ),
    (
        "code",
        """
        import traceback

        exception = failed.invocations[0].exception
        frame, line = [*traceback.walk_tb(exception.__traceback__)][-1]
        print(f"{type(exception).__name__} in {frame.f_code.co_name}: guests = {frame.f_locals['guests']}")
        """,
    ),
    (
        "markdown",
        """
        ## Stop before it fails

        `%fire capability.till.paid amount=40 guests=0 --debug` stops at the first line of each handler that the event
        reaches; `n` goes to the next line, `c` goes on, and `q` ends that handler alone. `%replay last --debug` does the same
        with an event that you have already.

        Or write `breakpoint()` where you want to stop. It stops in the cell that waits for the handler. Where no cell waits,
        or nobody can answer, it is not entered: the worker's log says where it was hit, and how to stop there.
        """,
    ),
    (
        "code",
        """
        %%worker till

        @worker.on_event("capability.till.paid")
        async def split(event: EventEnvelope, client: RuntimeClient) -> None:
            amount, guests = event.payload["amount"], event.payload["guests"]
            worker.state["total"] += amount
            if not guests:
                breakpoint()  # look around, then type c
            share = amount / guests
            worker.state["shares"].append(share)
            await client.publish("capability.till.split", {"share": share})
        """,
    ),
    ("code", "%fire capability.till.paid amount=50 guests=2"),
    (
        "markdown",
        """
        ## What it has done to the state

        The trace says which keys of `worker.state` each handler has changed, from what to what. So you see the second
        mistake: `split` adds to the total before it fails. `%worker state till` shows all of the state, and the State view
        of the panel shows it as it changes.
        """,
    ),
    ("code", "%worker state till"),
    (
        "markdown",
        """
        ## On the state before it

        `%replay #12 --from-state` runs an event on the state as it was before it was handled, and leaves the live state
        alone. So a failure can be had again, as often as you need it. You type the number that the trace shows; the cells
        below ask the trace for it, so that they are right wherever this notebook runs.
        """,
    ),
    (
        "code",
        """
        again = get_ipython().run_line_magic
        number = f"#{failed.event.seq}"
        again("replay", f"{number} --from-state")
        """,
    ),
    ("markdown", "Mend the handler: it checks before it changes anything."),
    (
        "code",
        """
        %%worker till

        @worker.on_event("capability.till.paid")
        async def split(event: EventEnvelope, client: RuntimeClient) -> None:
            amount, guests = event.payload["amount"], event.payload["guests"]
            if not guests:
                await client.publish("capability.till.open", {"amount": amount})
                return
            share = amount / guests
            worker.state["total"] += amount
            worker.state["shares"].append(share)
            await client.publish("capability.till.split", {"share": share})
        """,
    ),
    (
        "markdown",
        "Compare both generations on the same event and the same state: `%replay #12 --from-state --compare`.",
    ),
    ("code", 'again("replay", f"{number} --from-state --compare")'),
    (
        "markdown",
        """
        The live state still has the 40 of the event that failed. `%worker state till --restore #12` puts the state back as
        it was before that event; the payment after it is fired again, since it is gone with the rest.
        """,
    ),
    ("code", 'again("worker", f"state till --restore {number}")'),
    ("code", "%fire capability.till.paid amount=50 guests=2"),
    ("code", "%worker state till"),
    (
        "markdown",
        """
        ## A forgotten await

        A call of the client does nothing until it is awaited. The handler below raises nothing, and yet nobody is notified:
        its outcome is a warning, with the line and what to write.
        """,
    ),
    (
        "code",
        """
        %%worker till

        @worker.on_event("capability.till.open")
        async def tell(event: EventEnvelope, client: RuntimeClient) -> None:
            client.notify(title=f"{event.payload['amount']} are still open")
        """,
    ),
    ("code", "%fire capability.till.paid amount=25 guests=0"),
    (
        "code",
        """
        %%worker till

        @worker.on_event("capability.till.open")
        async def tell(event: EventEnvelope, client: RuntimeClient) -> None:
            await client.notify(title=f"{event.payload['amount']} are still open")
        """,
    ),
    ("code", "%replay last"),
    (
        "markdown",
        """
        ## One handler at a time

        `%worker remove till.tell` takes one handler out and leaves the others, and their state, alone. It is back when its cell
        runs again. Until then the export is without it too, and says so.
        """,
    ),
    ("code", "%worker remove till.tell"),
    ("code", "%worker till"),
    (
        "markdown",
        """
        A cell that runs again unchanged is no new generation, so nothing is lost by Run All. A cell that fails leaves nothing
        behind; handlers that it registered before run on, and are called stale, with the way to drop them.

        An unattended run does not overlook a failure: `dn.settle()` raises what handlers raised. These errors are intended.
        """,
    ),
    (
        "code",
        """
        from dnworker import HandlerFailed

        try:
            await dn.settle()
        except HandlerFailed as raised:
            print(raised)
        """,
    ),
    ("code", "%capability export out/till"),
    ("code", "await dn.settle()"),
]
