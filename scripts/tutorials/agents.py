"""Agents: script them first, then let a model answer."""

from __future__ import annotations

CELLS: list[tuple[str, str]] = [
    (
        "markdown",
        """
        # Agents

        A worker may open sessions and drive agents: a webhook arrives, a fresh session decides. To write such a worker you
        need no model. Script the agent, and see in one trace what the worker asked, what the agent answered, and what came
        of it.
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

        The function of an `%%agent` cell answers the turns of that agent. It returns text or yields it, may call tools,
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
        `create_session` is idempotent on its id: one session for each callback, however often it comes.
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

        Run the cell again with another script: the next turn is answered by it. A failed turn raises `TurnFailedError`
        in the handler, with what was said until then.
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

        `turn.ask` waits for a person. Whoever listens to `prompt.required` can answer: a front end, the panel, or here a
        worker in the person's place.
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
        key is read from the environment (`OPENAI_API_KEY`, or `--key-env NAME`) and shown nowhere. So that this notebook
        runs anywhere, the endpoint is one that says what it is told to.
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
