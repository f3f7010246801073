"""Agents: script them first, then let a model answer."""

from __future__ import annotations

CELLS: list[tuple[str, str]] = [
    (
        "markdown",
        """
        # Agents that decide

        A worker can ask an agent: a callback arrives, and an agent decides what to do with it. You need no model to
        write such a worker. You script the agent, and see in one trace what was asked, answered and done.
        """,
    ),
    ("code", "%load_ext dnworker"),
    (
        "code",
        """
        %%capability
        name: frontdesk
        version: 0.1.0
        description: Lets an agent decide about callbacks
        """,
    ),
    (
        "markdown",
        """
        ## A scripted agent

        The function of an `%%agent` cell answers for the agent. It returns text, or yields it piece by piece.
        """,
    ),
    (
        "code",
        """
        %%agent triage

        async def reply(turn):
            yield "Looking into it. "
            if "urgent" in turn.message:
                yield "ESCALATE"
            else:
                yield "CLOSE"
        """,
    ),
    (
        "markdown",
        """
        The worker opens a session with the agent and runs one *turn* in it: a question, and all that the agent does to
        answer.
        """,
    ),
    (
        "code",
        """
        %%worker frontdesk

        @worker.on_event("capability.frontdesk.callback")
        async def triage(event: EventEnvelope, client: RuntimeClient) -> None:
            session = await client.create_session(
                agent="triage", session_id=f"callback-{event.payload['callback_id']}"
            )
            done = await client.run_turn(
                session_id=session.session_id, message=f"Decide: {event.payload['text']}"
            )
            verdict = done["response_text"].split()[-1]
            print(f"{event.payload['callback_id']}: {verdict}")
            await client.publish("capability.frontdesk.decided", {"verdict": verdict})
        """,
    ),
    ("code", "%fire capability.frontdesk.callback callback_id=7 text='urgent: the door is open'"),
    ("code", "%fire capability.frontdesk.callback callback_id=8 text='hello'"),
    (
        "markdown",
        """
        A session with an id is created once. The same callback that arrives twice goes on in the same session.
        """,
    ),
    (
        "code",
        """
        client = dn.runtime().client()
        [(session.session_id, session.message_count) for session in await client.list_sessions()]
        """,
    ),
    (
        "markdown",
        """
        ## An agent that fails

        Agents fail: a model is down, or refuses. Give the agent another script, and fire the last callback again.
        """,
    ),
    (
        "code",
        """
        %%agent triage

        async def reply(turn):
            yield "Well, "
            turn.fail("the knowledge base is down")
        """,
    ),
    ("code", "%replay last"),
    (
        "markdown",
        """
        The failed turn raises `TurnFailedError` in the handler. Nobody would hear of this callback again. Catch it, and
        tell a person.
        """,
    ),
    (
        "code",
        """
        %%worker frontdesk

        from dnworker import TurnFailedError


        @worker.on_event("capability.frontdesk.callback")
        async def triage(event: EventEnvelope, client: RuntimeClient) -> None:
            session = await client.create_session(
                agent="triage", session_id=f"callback-{event.payload['callback_id']}"
            )
            try:
                done = await client.run_turn(session_id=session.session_id, message=event.payload["text"])
            except TurnFailedError as failed:
                await client.notify(title="nobody could decide", body=str(failed), severity="error")
                return
            await client.publish("capability.frontdesk.decided", {"verdict": done["response_text"].split()[-1]})
        """,
    ),
    ("code", "%replay last"),
    ("markdown", "The turn still fails, and the handler does not. The first failure was on purpose:"),
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
        ## An agent that asks

        `turn.ask` waits for a person. The panel shows the question, and so does any front end. A worker can answer as
        well: it listens to `prompt.required`.
        """,
    ),
    (
        "code",
        """
        %%agent triage

        async def reply(turn):
            answer = await turn.ask("Close it?", ["yes", "no"])
            yield "CLOSE" if answer == "yes" else "ESCALATE"
        """,
    ),
    (
        "code",
        """
        %%worker person

        @worker.on_event("prompt.required")
        async def answer(event: EventEnvelope, client: RuntimeClient) -> None:
            request = event.payload["raw_event"]["data"]
            await client.send_human_input_response(
                event.session_id,
                {
                    "request_id": request["request_id"],
                    "action": "submit",
                    "answers": [{"selected_labels": ["yes"]}],
                },
            )
        """,
    ),
    ("code", "%fire capability.frontdesk.callback callback_id=9 text='close me?'"),
    ("markdown", "The stand-in for a person has done its work:"),
    ("code", "%worker remove person"),
    (
        "markdown",
        """
        ## A model

        With `--model`, an endpoint that speaks the API of OpenAI answers, and the body of the cell is the system prompt.
        The key comes from `OPENAI_API_KEY` and is never shown.

        This notebook starts an endpoint with a prepared answer, so it needs no key.
        """,
    ),
    (
        "code",
        """
        from contextlib import AsyncExitStack

        from dnworker.testing import ModelServer, Says

        open_servers = AsyncExitStack()
        server = await open_servers.enter_async_context(ModelServer([Says("I would ESCALATE")]))
        address = server.base_url
        """,
    ),
    (
        "code",
        """
        %%agent triage --model small-1 --base-url {address}
        You decide about callbacks. Answer CLOSE or ESCALATE.
        """,
    ),
    ("code", "%fire capability.frontdesk.callback callback_id=10 text='what now?'"),
    ("code", "await open_servers.aclose()"),
    (
        "markdown",
        """
        ## Export

        The export has the worker. An agent of a cell stays in the notebook; a file `agents/triage.md` goes into a
        capability, as in [a folder watcher](06-a-folder-watcher.ipynb).
        """,
    ),
    ("code", "%capability export out/frontdesk"),
    ("markdown", "Next: [debugging](05-debugging.ipynb)."),
    ("code", "await dn.settle()"),
]
