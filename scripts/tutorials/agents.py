"""Agents: script them first, then let a model answer."""

from __future__ import annotations

CELLS: list[tuple[str, str]] = [
    (
        "markdown",
        """
        # Agents

        A worker may open sessions and use agents: for example, a webhook arrives, and an agent decides in a new session.
        You need no model to write such a worker. Script the agent, and see in one trace what the worker asked, what the agent
        answered, and what followed.
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

        The function of an `%%agent` cell answers the turns of that agent. It returns or yields text, and may call tools,
        ask a person, or fail.
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
        `create_session` is idempotent on its id: there is one session for each callback, however often it arrives.
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

        Run the cell again with another script, and it answers the next turn. A failed turn raises `TurnFailedError`
        in the handler, with the text that came before the failure.
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
    ("code", "%replay last --kind capability.frontdesk.callback"),
    (
        "markdown",
        """
        ## An agent that asks

        `turn.ask` waits for a person. A front end, the panel, or a worker can answer: each of them listens to
        `prompt.required`. Here a worker answers for the person.
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
    (
        "markdown",
        """
        ## A model

        `%%agent NAME --model M --base-url URL` lets any OpenAI-compatible endpoint answer; the body is the system prompt. The
        key is read from the environment (`OPENAI_API_KEY`, or `--key-env NAME`) and never shown. This notebook uses an
        endpoint with prepared answers, so it runs anywhere.
        """,
    ),
    (
        "code",
        """
        from dnworker.testing import ModelServer, Says

        server = await ModelServer([Says("I would ESCALATE")]).__aenter__()
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
    ("code", "await server.__aexit__(None, None, None)"),
    ("code", "%worker remove person"),
    ("code", "%capability export out/frontdesk"),
    ("code", "await dn.settle()"),
]
