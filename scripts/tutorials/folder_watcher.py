"""A folder watcher: one project, from an empty notebook to a service that runs."""

from __future__ import annotations

CELLS: list[tuple[str, str]] = [
    (
        "markdown",
        """
        # A folder watcher

        One project, from an empty notebook to a service that runs. People drop notes into a folder. Every ten minutes a
        worker looks for new ones, an agent says how urgent each is, and once an hour a digest goes out.

        You need no key: a script answers for the agent while you write, and a prepared model at the end.
        """,
    ),
    ("code", "%load_ext dnworker"),
    (
        "markdown",
        """
        ## The agent

        An agent is a text file: a name, and the prompt for a model. It lies in a directory that goes into the export.
        The notes come into a folder beside it.
        """,
    ),
    (
        "code",
        """
        from pathlib import Path

        incoming = Path("incoming")
        incoming.mkdir(exist_ok=True)
        agents = Path("folder-watcher/agents")
        agents.mkdir(parents=True, exist_ok=True)
        (agents / "triage.md").write_text(
            \"\"\"---
        name: triage
        description: Says how urgent a note is
        ---
        You sort notes. Answer with one word: urgent, soon or later.
        \"\"\"
        );
        """,
    ),
    (
        "code",
        """
        %%capability --dir folder-watcher
        name: inbox
        version: 0.1.0
        description: Sorts the notes of a folder, and sends a digest
        """,
    ),
    (
        "markdown",
        "A model would be slow here, and answer something else each time. So a script answers in its place.",
    ),
    (
        "code",
        """
        %%agent triage

        async def reply(turn):
            return "urgent" if "today" in turn.message else "later"
        """,
    ),
    (
        "markdown",
        """
        ## The worker

        `look` publishes an event for each new file, when the worker starts and every ten minutes. `triage` handles it. So a file that fails holds up no other, and
        every step is in the trace. What has been seen is in `worker.state`.

        `--env` hands the variable with the folder on to the deployed worker. `--keep-state` keeps the state
        over restarts. `--topology python` lets the deployed worker run as a process with the Python of dnworker.
        """,
    ),
    (
        "code",
        """
        %%worker watcher --env INCOMING=${INCOMING:-incoming} --keep-state --topology python

        import os
        from pathlib import Path


        @worker.on_startup
        async def start(client: RuntimeClient) -> None:
            worker.state.setdefault("notes", {})
            await look(client)


        @worker.every(minutes=10)
        async def look(client: RuntimeClient) -> None:
            for path in sorted(Path(os.environ.get("INCOMING", "incoming")).glob("*.txt")):
                if path.name not in worker.state["notes"]:
                    await client.publish("capability.inbox.arrived", {"note": path.name, "text": path.read_text()})
                    worker.state["notes"][path.name] = "waits"


        @worker.on_event("capability.inbox.arrived")
        async def triage(event: EventEnvelope, client: RuntimeClient) -> None:
            note = event.payload["note"]
            session = await client.create_session(agent="triage", session_id=f"note-{note}")
            done = await client.run_turn(session_id=session.session_id, message=event.payload["text"])
            verdict = done["response_text"]
            worker.state["notes"][note] = verdict
            print(f"{note}: {verdict}")
            await client.publish("capability.inbox.sorted", {"note": note, "verdict": verdict})
        """,
    ),
    (
        "markdown",
        """
        ## Ten minutes, now

        A virtual clock lets ten minutes pass at once. Three notes lie in the folder; one was saved by an old program.
        """,
    ),
    ("code", "%clock virtual"),
    (
        "code",
        """
        (incoming / "boiler.txt").write_text("The boiler leaks. Somebody must come today.")
        (incoming / "café.txt").write_bytes("The café opens in May.".encode("latin-1"))
        (incoming / "keys.txt").write_text("I found a bunch of keys.");
        """,
    ),
    ("code", "%clock advance 10m"),
    (
        "markdown",
        """
        The boiler is sorted. The second note is not UTF-8, so `look` failed, and the keys behind it were never read.
        In ten minutes it would fail again.

        Mend `look`: a character that cannot be read is no reason to stop.
        """,
    ),
    (
        "code",
        """
        %%worker watcher

        @worker.every(minutes=10)
        async def look(client: RuntimeClient) -> None:
            for path in sorted(Path(os.environ.get("INCOMING", "incoming")).glob("*.txt")):
                if path.name not in worker.state["notes"]:
                    text = path.read_text(encoding="utf-8", errors="replace")[:5000]
                    await client.publish("capability.inbox.arrived", {"note": path.name, "text": text})
                    worker.state["notes"][path.name] = "waits"
        """,
    ),
    ("code", "%clock advance 10m"),
    (
        "markdown",
        "Both are sorted now. The boiler was not sorted twice: the state stayed when the code changed.",
    ),
    ("code", "%worker state watcher"),
    (
        "markdown",
        """
        ## When the agent is down

        Models fail, too. Let this one fail, and send a note past the folder:
        """,
    ),
    (
        "code",
        """
        %%agent triage

        async def reply(turn):
            turn.fail("the model is overloaded")
        """,
    ),
    ("code", '%fire capability.inbox.arrived note=roof.txt text="A tile is loose."'),
    (
        "markdown",
        """
        The note would wait for ever. Let the worker call it unsorted, so that a person reads it. A model may also answer
        anything: take only the words that you asked for. And an empty note needs no model at all.
        """,
    ),
    (
        "code",
        """
        %%worker watcher

        from dnworker import TurnFailedError

        WORDS = ("urgent", "soon", "later")


        async def verdict_of(note: str, text: str, client: RuntimeClient) -> str:
            if not text.strip():
                return "empty"
            session = await client.create_session(agent="triage", session_id=f"note-{note}")
            try:
                done = await client.run_turn(session_id=session.session_id, message=text)
            except TurnFailedError as failed:
                print(f"nobody answers: {failed}")
                return "unsorted"
            answer = done["response_text"].strip().lower()
            return answer if answer in WORDS else "unsorted"


        @worker.on_event("capability.inbox.arrived")
        async def triage(event: EventEnvelope, client: RuntimeClient) -> None:
            note = event.payload["note"]
            verdict = await verdict_of(note, event.payload["text"], client)
            worker.state["notes"][note] = verdict
            print(f"{note}: {verdict}")
            await client.publish("capability.inbox.sorted", {"note": note, "verdict": verdict})
        """,
    ),
    ("code", "%replay last"),
    (
        "markdown",
        """
        ## The digest

        A cron line says when: here at each full hour. `0 8 * * 1-5` is at eight on working days.
        """,
    ),
    (
        "code",
        """
        %%worker watcher

        @worker.every(cron="0 * * * *")
        async def digest(client: RuntimeClient) -> None:
            notes = worker.state["notes"]
            lines = [f"{verdict}: {note}" for note, verdict in sorted(notes.items(), key=lambda item: item[1])]
            await client.notify(title=f"{len(notes)} notes", body="\\n".join(lines))
            print("\\n".join(lines))
        """,
    ),
    ("code", "%clock advance 1h"),
    (
        "markdown",
        """
        The hour is over in a moment: six looks that found nothing new, and one digest. Here is the message that it sent:
        """,
    ),
    (
        "code",
        """
        (message,) = await dn.events(1, kind="notify")
        print(message.payload["title"], message.payload["body"], sep="\\n")
        """,
    ),
    ("code", "%clock real"),
    (
        "markdown",
        """
        ## A test

        A test is an event, and what the worker should publish for it. It runs now, with a fresh state and without agents,
        and the export has it as a test for pytest. Its startup looks into the folder, so empty that first.
        """,
    ),
    (
        "code",
        """
        for note in incoming.iterdir():
            note.unlink()
        """,
    ),
    (
        "code",
        """
        %%worker watcher --test
        event: capability.inbox.arrived
        payload: {note: blank.txt, text: ""}
        publishes: [capability.inbox.sorted]
        """,
    ),
    (
        "markdown",
        """
        `dn.settle()` raises what handlers raised until now, so that an unattended run fails. Both are mended above.
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
        ## Export and check

        `--target dnworker` says that it runs on dnworker, and packs what it needs.
        """,
    ),
    ("code", "%capability export out/inbox --target dnworker"),
    (
        "markdown",
        """
        The export tells you the command that keeps the state. Now check it: the worker starts in a clean environment, the
        events of above are fired at it and at the notebook, and what both do is compared. Its schedules run for real, in
        a directory of their own.
        """,
    ),
    (
        "code",
        """
        %%agent triage

        async def reply(turn):
            return "later"
        """,
    ),
    ("code", "%capability check out/inbox --target dnworker"),
    (
        "markdown",
        """
        ## Run it

        In a terminal, this is the service. It needs no Jupyter, and its model comes from the environment:

        ```sh
        export OPENAI_API_KEY=... DNWORKER_MODEL=... INCOMING="$PWD/incoming"
        dnworker serve out/inbox --durable --keep-state inbox:watcher
        ```

        A worker process starts in its capability's directory, so `INCOMING` is an absolute path.

        The next cell does the same for at most a minute, with a prepared model. It ends the service once a note is sorted.
        """,
    ),
    (
        "code",
        """
        import asyncio
        import json
        import os
        import sys

        from dnworker import RuntimeClient
        from dnworker.testing import ModelServer, Says

        COMMAND = "serve out/inbox --port 0 --json --token-file service.token --durable --keep-state inbox:watcher"


        async def run_service(**environment: str) -> None:
            service = await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", "dnworker", *COMMAND.split()),
                env={**os.environ, **environment},
                stdout=asyncio.subprocess.PIPE,
            )
            try:
                async with asyncio.timeout(60):
                    url = json.loads(await service.stdout.readline())["url"]
                    print(await first_line_of_the_worker(url))
            finally:
                service.terminate()
                await service.wait()


        async def first_line_of_the_worker(url: str) -> str:
            client = RuntimeClient(url, auth_token=Path("service.token").read_text().strip())
            while True:
                detail = await client.fetch_worker_detail("inbox", "watcher")
                if lines := [line for line in detail["process"]["recent_output"] if "boiler" in line]:
                    return lines[0]
                await asyncio.sleep(0.2)


        (incoming / "boiler.txt").write_text("The boiler leaks. Somebody must come today.")
        async with ModelServer([Says("Urgent")]) as model:
            await run_service(
                PATH=f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
                INCOMING=str(incoming.resolve()),
                OPENAI_BASE_URL=model.base_url,
                OPENAI_API_KEY="none",
                DNWORKER_MODEL="small-1",
            )
        """,
    ),
    (
        "markdown",
        """
        The worker runs as a process, the agent's prompt came from the file, and a model answered.

        Next: [deploy it](../docs/how-to/deploy.md), or let it run on [several machines](../docs/how-to/several-machines.md).
        """,
    ),
    ("code", "await dn.settle()"),
]
