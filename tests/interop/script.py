"""One script of calls, run by either client against either runtime; prints what came back as JSON.

It is a program of its own: the reference's client lives in another environment. Only names that both packages
have are used.
"""

from __future__ import annotations

import asyncio
import dataclasses
import importlib
import json
import sys

PACKAGE, URL, TOKEN, PREFIX, DIRECTORY = sys.argv[1:]

module = importlib.import_module(
    {"dnworker": "dnworker", "dreadnode": "dreadnode.app.client.runtime_client"}[PACKAGE]
)
STEPS = {}


def step(function):
    """Register a step; its return value, or what it raises, is its answer."""
    STEPS[function.__name__] = function
    return function


def plain(value):
    """Return models of either package as plain data."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {k: plain(v) for k, v in dataclasses.asdict(value).items()}
    if hasattr(value, "__struct_fields__"):
        return {name: plain(getattr(value, name)) for name in value.__struct_fields__}
    if hasattr(value, "model_dump"):
        return value.model_dump(mode="json")
    if isinstance(value, dict):
        return {k: plain(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    return value if isinstance(value, str | int | float | bool | None) else str(value)


def raised(exc):
    """Return what is told of an exception: its type, its status, the fields of a turn's error."""
    told = {"raised": type(exc).__name__}
    response = getattr(exc, "response", None)
    if response is not None:
        told |= {"status": response.status_code, "detail_type": type(response.json().get("detail")).__name__}
    for name in ("error_type", "reason", "partial_response", "tool_calls_attempted"):
        if hasattr(exc, name):
            told[name] = plain(getattr(exc, name))
    return told


# -- events --------------------------------------------------------------------------------------------


@step
async def publish(client):
    return await client.publish("interop.a", {"n": 1})


@step
async def publish_to_an_unknown_session(client):
    return await client.publish("interop.a", {}, session_id=f"{PREFIX}-nobody")


async def next_event(client, kind, act):
    """Act until an event of the kind comes; return it."""
    events = client.subscribe(kind)
    waiting = asyncio.ensure_future(anext(events))
    while not waiting.done():
        await act()
        await asyncio.wait({waiting}, timeout=0.5)
    event = waiting.result()
    await events.aclose()
    return {name: plain(getattr(event, name)) for name in ENVELOPE}


ENVELOPE = "schema_version connection_id session_id turn_id event_id seq timestamp kind replay terminal payload".split()


@step
async def notify(client):
    return await next_event(client, "notify", lambda: client.notify("hello", body="b", severity="warning"))


@step
async def subscribe(client):
    return await next_event(
        client, "interop.b", lambda: client.publish("interop.b", {"deep": [1, {"x": None}]})
    )


@step
async def worker_in_the_runtime_answers(client):
    return await next_event(client, "interop.pong", lambda: client.publish("interop.ping", {"n": 1}))


# -- sessions ------------------------------------------------------------------------------------------


@step
async def create_session(client):
    return plain(await client.create_session(session_id=f"{PREFIX}-s", capability="interop", agent="echo"))


@step
async def create_session_again(client):
    return plain(await client.create_session(session_id=f"{PREFIX}-s", model="openai/x-2"))


@step
async def create_session_with_another_agent(client):
    return plain(await client.create_session(session_id=f"{PREFIX}-s", agent="second"))


@step
async def create_session_in_an_unknown_capability(client):
    return plain(await client.create_session(capability="nobody"))


@step
async def create_session_with_an_unknown_policy(client):
    return plain(await client.create_session(policy="nobody"))


@step
async def get_session(client):
    return plain(await client.get_session(f"{PREFIX}-s"))


@step
async def get_an_unknown_session(client):
    return plain(await client.get_session(f"{PREFIX}-nobody"))


@step
async def set_session_title(client):
    await client.set_session_title(f"{PREFIX}-s", "A title")
    return (await client.get_session(f"{PREFIX}-s")).title


@step
async def set_session_policy(client):
    return [
        await client.set_session_policy(f"{PREFIX}-s", p)
        for p in ("headless", {"name": "headless", "max_steps": 3}, None)
    ]


@step
async def set_an_unknown_policy(client):
    return await client.set_session_policy(f"{PREFIX}-s", "nobody")


@step
async def browse_sessions(client):
    return [plain(await client.browse_sessions(limit=5)), plain(await client.browse_session_facets())]


@step
async def archive_session(client):
    return await client.archive_session(f"{PREFIX}-s")


@step
async def session_group(client):
    async with client.session_group("t") as group:
        return group


# -- turns ---------------------------------------------------------------------------------------------


@step
async def run_turn(client):
    return await client.run_turn(
        session_id=f"{PREFIX}-turn", message="say hello", agent="echo", model="openai/x-1"
    )


@step
async def stream_chat(client):
    raw = [
        r
        async for r in client.stream_chat(session_id=f"{PREFIX}-turn", message="say more", model="openai/x-1")
    ]
    told = [{"type": r["type"], "keys": sorted(r), "data": sorted(r.get("data") or {})} for r in raw]
    # The reference tells an answer in one piece, ours as it streams: of pieces in a row one is compared.
    return [one for n, one in enumerate(told) if n == 0 or one["type"] != told[n - 1]["type"]]


@step
async def fetch_session_messages(client):
    return await client.fetch_session_messages(f"{PREFIX}-turn")


@step
async def session_after_turns(client):
    return plain(await client.get_session(f"{PREFIX}-turn"))


@step
async def run_turn_that_fails(client):
    return await client.run_turn(session_id=f"{PREFIX}-fails", message="fail please", model="openai/x-1")


@step
async def messages_after_a_failed_turn(client):
    return await client.fetch_session_messages(f"{PREFIX}-fails")


@step
async def stream_chat_of_a_turn_that_fails(client):
    session = f"{PREFIX}-fails"
    raw = [r async for r in client.stream_chat(session_id=session, message="fail please", model="openai/x-1")]
    return raw[-1]["type"] if raw else None


@step
async def run_turn_that_is_cancelled(client):
    session = f"{PREFIX}-slow"
    turn = asyncio.ensure_future(client.run_turn(session_id=session, message="be slow", model="openai/x-1"))
    await begun(client, session)
    await client.cancel_session(session)
    return await turn


async def begun(client, session):
    """Return when a turn of the session is under way."""
    while not (await statuses(client)).get(session, {}).get("is_busy"):
        await asyncio.sleep(0.1)


async def statuses(client):
    """Ask for what every session is doing; no method of the client does."""
    import httpx

    async with httpx.AsyncClient(trust_env=False) as http:
        answer = await http.get(f"{URL}/api/sessions/status", headers={"Authorization": f"Bearer {TOKEN}"})
    return answer.json()["sessions"]


@step
async def status_of_an_idle_session(client):
    return (await statuses(client))[f"{PREFIX}-slow"]


@step
async def cancel_an_idle_session(client):
    return await client.cancel_session(f"{PREFIX}-slow")


@step
async def cancel_an_unknown_session(client):
    return await client.cancel_session(f"{PREFIX}-nobody")


@step
async def two_turns_at_once(client):
    session = f"{PREFIX}-two"
    if PACKAGE == "dnworker":
        turns = [client.run_turn(session_id=session, message=f"say {n}", model="openai/x-1") for n in "ab"]
        return [done["response_text"] for done in await asyncio.gather(*turns)]
    # Its client lets two turns on one session steal each other's events: one client for each.
    clients = [module.RuntimeClient(URL, auth_token=TOKEN) for _ in range(2)]
    turns = [
        c.run_turn(session_id=session, message=f"say {n}", model="openai/x-1")
        for c, n in zip(clients, "ab", strict=True)
    ]
    try:
        return [done["response_text"] for done in await asyncio.gather(*turns)]
    finally:
        for one in clients:
            await one.close()


@step
async def answer_a_prompt_that_is_not_open(client):
    await client.send_permission_response(f"{PREFIX}-turn", "req-1", "allow")
    return "acknowledged"


@step
async def delete_session(client):
    session = f"{PREFIX}-s"
    await client.delete_session(session)
    return await client.get_session(session)


@step
async def delete_an_unknown_session(client):
    return await client.delete_session(f"{PREFIX}-s")


@step
async def list_sessions(client):
    return sorted(s.session_id for s in await client.list_sessions() if s.session_id.startswith(f"{PREFIX}-"))


# -- the runtime ---------------------------------------------------------------------------------------


@step
async def fetch_worker_detail(client):
    return await client.fetch_worker_detail("interop", "echo")


@step
async def fetch_gated_worker_detail(client):
    return await client.fetch_worker_detail("interop", "gated")


@step
async def fetch_an_unknown_workers_detail(client):
    return await client.fetch_worker_detail("interop", "nobody")


@step
async def restart_a_running_worker(client):
    return await client.restart_worker("interop", "echo")


@step
async def restart_a_gated_worker(client):
    return await client.restart_worker("interop", "gated")


@step
async def fetch_runtime_info(client):
    info = plain(await client.fetch_runtime_info())
    (own,) = (c for c in info["capabilities"] if c["name"] == "interop")
    return own


@step
async def reload_capabilities(client):
    info = plain(await client.reload_capabilities())
    return [c["name"] for c in info["capabilities"] if c["name"] == "interop"]


@step
async def fetch_skills(client):
    return [plain(s) for s in await client.fetch_skills() if s.capability == "interop"]


@step
async def fetch_an_unknown_skill(client):
    return await client.fetch_skill_content("nobody")


@step
async def fetch_mcp_detail(client):
    return await client.fetch_mcp_detail("interop", "nobody")


@step
async def list_files(client):
    return sorted((plain(f) for f in await client.list_files(DIRECTORY)), key=lambda f: f["path"])


@step
async def read_file(client):
    return await client.read_file(f"{DIRECTORY}/a.txt")


@step
async def read_a_missing_file(client):
    return await client.read_file(f"{DIRECTORY}/missing.txt")


@step
async def execute_shell(client):
    return await client.execute_shell("echo out; echo err >&2; exit 3", cwd=DIRECTORY)


@step
async def execute_nothing(client):
    return await client.execute_shell(" ")


@step
async def query_logs(client):
    page = plain(await client.query_logs(limit=1, level="trace"))
    return {
        "keys": sorted(page),
        "entry": sorted(page["entries"][0]),
        "cursor": type(page["next_cursor"]).__name__,
    }


async def main():
    answers = {}
    for name, function in STEPS.items():
        client = module.RuntimeClient(URL, auth_token=TOKEN)
        try:
            async with asyncio.timeout(60):
                answers[name] = await function(client)
        except Exception as exc:  # every refusal is an answer
            answers[name] = raised(exc)
        finally:
            await client.close()
    print("ANSWERS " + json.dumps(answers))


asyncio.run(main())
