"""Debugging: from the red line to the wrong variable, and back to the state before it."""

from __future__ import annotations

CELLS: list[tuple[str, str]] = [
    (
        "markdown",
        """
        # Debugging a handler

        A handler fails on some events and not on others. You find the wrong variable here, see what the failure did to
        the worker's state, mend the handler on the very event that broke it, and put the state back.
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

        The next table left before somebody counted its guests.
        """,
    ),
    ("code", "%fire capability.till.paid amount=40 guests=0"),
    (
        "markdown",
        """
        The trace names the error, the cell and the line. The worker goes on: it handles the next event as if nothing
        had happened.

        ## The wrong variable

        Run `%debug` in a cell of its own. You stand at the line that raised, with all its variables:

        ```text
        p guests      shows a variable
        u, d          go to the caller, and back
        l             shows the code around the line
        q             leaves
        ```

        A debugger needs somebody who types. Where nobody can, `dn.last_failure` is the exception itself, and its
        traceback has the same variables:
        """,
    ),
    (
        "code",
        """
        import traceback

        frame, line = [*traceback.walk_tb(dn.last_failure.__traceback__)][-1]
        print(f"{type(dn.last_failure).__name__} in {frame.f_code.co_name}: guests = {frame.f_locals['guests']}")
        """,
    ),
    (
        "markdown",
        """
        ## The state

        Look at the trace again: `state: total 30 -> 70`. The handler counted the 40 and then failed. That is a second
        mistake, and the state has it now.
        """,
    ),
    ("code", "%worker state till"),
    (
        "markdown",
        """
        ## Try again, as often as you need

        `--from-state` runs an event on the state as it was before it, and leaves the live state alone. The failure is
        there again:
        """,
    ),
    ("code", "%replay last --from-state"),
    (
        "markdown",
        """
        Mend the handler: it looks before it changes anything. In your own notebook you edit the cell; here a new cell
        takes its place.
        """,
    ),
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
        "`--compare` runs both versions on an event and the state before it. Type the number that the trace above shows.",
    ),
    ("code", "%replay #4 --from-state --compare"),
    (
        "markdown",
        """
        The live state still has the 40. Put it back as it was before the event:
        """,
    ),
    ("code", "%worker state till --restore #4"),
    ("code", "%worker state till"),
    (
        "markdown",
        """
        ## Stop before it fails

        `%fire capability.till.paid amount=40 guests=0 --debug` stops at the first line of each handler that runs. `n` goes
        to the next line, `c` goes on, `q` ends that handler alone. `breakpoint()` in a handler stops there.

        In JupyterLab, turn on the bug icon and click left of a line instead:

        ![JupyterLab's debugger, stopped at a line of a handler, with its variables](../docs/images/debugging-lab.png)

        ## A forgotten await

        The worst failure is one that raises nothing. A call of the client does nothing until it is awaited:
        """,
    ),
    (
        "code",
        """
        %%worker till

        @worker.on_event("capability.till.open")
        async def remind(event: EventEnvelope, client: RuntimeClient) -> None:
            client.notify(title=f"{event.payload['amount']} are still open")
        """,
    ),
    ("code", "%fire capability.till.paid amount=25 guests=0"),
    ("markdown", "The trace warns, and says what to write."),
    (
        "code",
        """
        %%worker till

        @worker.on_event("capability.till.open")
        async def remind(event: EventEnvelope, client: RuntimeClient) -> None:
            await client.notify(title=f"{event.payload['amount']} are still open")
        """,
    ),
    ("code", "%replay last"),
    (
        "markdown",
        """
        ## One handler less

        `%worker remove` takes one handler out and leaves the others, and the state, alone. It is back when its cell
        runs again. Until then an export is without it.
        """,
    ),
    ("code", "%worker remove till.remind"),
    ("code", "%worker till"),
    (
        "markdown",
        """
        ## Export

        `dn.settle()` raises what handlers raised, so that an unattended run fails. These failures were on purpose.
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
    ("code", "%capability export out/till"),
    ("markdown", "Next: [a whole project](06-a-folder-watcher.ipynb)."),
    ("code", "await dn.settle()"),
]
