"""One client, two transports: the same calls give the same answers over HTTP and in-process."""

from __future__ import annotations

import asyncio

import httpx
import pytest

from dnworker import Runtime, RuntimeClient, Worker
from dnworker.core.errors import CODE_HEADER, Invalid, ReservedKind


@pytest.fixture(params=["http", "direct"])
async def client(request):
    """A client of a runtime with one worker; `client.runtime` is the runtime."""
    async with Runtime(port=0) as runtime:
        await runtime.add(Worker("w"))
        if request.param == "http":
            made = RuntimeClient(runtime.url, auth_token=runtime.tokens.main)
        else:
            made = runtime.client()
        made.runtime = runtime
        async with made:
            yield made


async def test_publish_answers_event_id_and_seq(client):
    answer = await client.publish("demo.a", {"x": [1, None]})
    newest = client.runtime.history.events()[-1]
    assert answer == {"event_id": newest.event_id, "seq": newest.seq}
    assert newest.payload == {"x": [1, None]}


async def test_reserved_kinds_and_bad_payloads_are_refused_before_anything_is_sent(client):
    with pytest.raises(ReservedKind, match="'turn.completed' is reserved"):
        await client.publish("turn.completed")
    with pytest.raises(Invalid, match=r"payload\.x is a set"):
        await client.publish("demo.a", {"x": {1}})


async def test_a_text_that_is_none_is_refused_and_the_field_named(client):
    bad = "caf\udce9"
    for name, call in {
        "title": lambda: client.set_session_title("s", bad),
        "policy": lambda: client.set_session_policy("s", bad),
        "search": lambda: client.browse_sessions(search=bad),
        "the name": lambda: client.set_session_title(bad, "title"),
        "message": lambda: client.run_turn(session_id="s", message=bad),
    }.items():
        with pytest.raises(Invalid, match=rf"{name}\b.* has a lone surrogate, which is not text$"):
            await call()


@pytest.mark.clause("5.2 notify")
async def test_notify_is_an_event_with_the_contracts_payload(client):
    await client.notify("Title", body="Body", severity="warning", source="me")
    newest = client.runtime.history.events()[-1]
    assert newest.kind == "notify"
    assert newest.payload == {"source": "me", "title": "Title", "body": "Body", "severity": "warning"}


async def test_a_session_that_is_not_live_is_an_http_error_on_both(client):
    with pytest.raises(httpx.HTTPStatusError, match="no live session 's1'") as refused:
        await client.publish("demo.a", session_id="s1")
    assert refused.value.response.status_code == 404
    assert refused.value.response.headers[CODE_HEADER] == "DN601"
    assert str(refused.value).endswith(" (DN601)")


async def test_subscribe_yields_live_events_of_its_kinds(client):
    events = client.subscribe("demo.a")
    waiting = asyncio.ensure_future(anext(events))
    while not client.runtime.bus._subscribers.of_kind("demo.a"):
        await asyncio.sleep(0)
    client.runtime.publish("demo.b")
    client.runtime.publish("demo.a", {"n": 1})
    assert (await waiting).payload == {"n": 1}
    await events.aclose()


@pytest.mark.clause("11.11")
async def test_runtime_info_and_worker_detail(client):
    info = await client.fetch_runtime_info()
    assert info.capabilities[0].components[0].name == "w"
    detail = await client.fetch_worker_detail("notebook", "w")
    assert (detail["state"], detail["qualified_name"]) == ("running", "notebook:w")


@pytest.mark.clause("13.8")
async def test_restart_and_reload(client):
    assert (await client.restart_worker("notebook", "w"))["restarted"] is False
    with pytest.raises(httpx.HTTPStatusError) as refused:
        await client.restart_worker("notebook", "none")
    assert refused.value.response.status_code == 404
    info = await client.reload_capabilities()
    assert info.capabilities[0].components[0].status == "ok"


async def test_sessions_are_one_per_id(client):
    first = await client.create_session(session_id="callback-7", labels={"a": ["b"]})
    assert await client.create_session(session_id="callback-7") == first
    assert (await client.get_session("callback-7")).labels == {"a": ["b"]}
    assert [s.session_id for s in await client.list_sessions()] == ["callback-7"]
    await client.delete_session("callback-7")
    assert await client.get_session("callback-7") is None
    created = [e for e in client.runtime.history.events() if e.kind == "session.created"]
    assert len(created) == 1


@pytest.mark.clause("13.16")
async def test_a_session_group_without_a_platform_is_no_group(client):
    async with client.session_group("title", kind="worker_run") as group:
        assert group is None


@pytest.mark.clause("8.5 group")
async def test_a_runtime_that_has_no_groups_is_asked_once():
    asked = []

    def answer(request):
        if request.url.path == "/api/ready":
            return httpx.Response(200, json={})
        asked.append(request.url.path)
        return httpx.Response(404)

    client = RuntimeClient("http://127.0.0.1:1", transport=httpx.MockTransport(answer))
    for _ in range(3):
        async with client.session_group("t"):
            pass
    assert asked == ["/api/session-groups"]


@pytest.mark.clause("8.5 group")
async def test_groups_are_closed_as_completed_or_failed():
    said = []

    def answer(request):
        said.append((request.method, request.url.path, request.content))
        return httpx.Response(200, json={"id": "g1"})

    client = RuntimeClient("http://127.0.0.1:1", transport=httpx.MockTransport(answer))
    async with client.session_group("t") as group:
        assert group == "g1"
    with pytest.raises(KeyError):
        async with client.session_group("t"):
            raise KeyError
    patches = [content for method, _, content in said if method == "PATCH"]
    assert patches == [b'{"status":"completed"}', b'{"status":"failed"}']


@pytest.mark.clause("9 models")
async def test_nulls_of_the_reference_count_as_missing():
    capability = {"name": "demo", "display_name": "demo", "checks": None, "flags": None, "components": None}
    answer = {"status": "ok", "version": "2.0.52", "working_dir": None, "capabilities": [capability]}
    client = RuntimeClient(
        "http://127.0.0.1:1", transport=httpx.MockTransport(lambda _: httpx.Response(200, json=answer))
    )
    info = await client.fetch_runtime_info()
    assert (info.working_dir, info.capabilities[0].checks) == ("", [])


METHODS = """
fetch_runtime_info()
fetch_tools()
fetch_skills()
fetch_skill_content(name)
fetch_mcp_detail(capability, server_name)
reconnect_mcp_server(capability, server_name)
reauthenticate_mcp_server(capability, server_name)
fetch_worker_detail(capability, worker_name)
restart_worker(capability, worker_name, *, force)
reload_capabilities(capability)
list_sessions(*, include_platform)
browse_sessions(*, page, limit, sort_by, sort_dir, archived, label, user_id, project_id, origin, search, include_workload_sessions)
browse_session_facets(*, archived, label, user_id, project_id, origin, search, include_workload_sessions)
create_session(*, capability, agent, model, session_id, group_id, project, generate_params_extra, policy, labels, origin, project_memory_scope_kind, enable_project_memory_preload, project_memory_preload_limit)
session_group(title, *, kind, project, capability, capability_version, worker, metadata)
workflow(title, **fields)
get_session(session_id)
set_session_title(session_id, title)
set_session_policy(session_id, policy)
compact_session(session_id, *, guidance)
fetch_rewind_candidates(session_id)
rewind_session(session_id, *, from_seq)
fetch_session_messages(session_id)
delete_session(session_id)
archive_session(session_id, *, archived)
freeze_session(session_id)
cancel_session(session_id)
stream_chat(*, session_id, message, model, agent, reset, generate_params_extra)
run_turn(*, session_id, message, model, agent, reset, generate_params_extra)
subscribe_session(session_id)
unsubscribe_session(session_id)
subscribe(*kinds)
publish(kind, payload, *, session_id)
notify(title, *, body, severity, source, session_id)
send_permission_response(session_id, request_id, decision)
send_human_input_response(session_id, response)
list_files(path, depth)
read_file(path)
execute_shell(command, *, cwd, timeout)
query_logs(*, after, instance_id, limit, level, text)
start()
close()
"""

OURS = {"dedupe", "retry"}
"""Keywords that the reference does not have."""


@pytest.mark.clause("8.3 methods")
@pytest.mark.parametrize("signature", METHODS.strip().splitlines(), ids=lambda s: s.partition("(")[0])
def test_every_method_of_the_contract_is_there(signature):
    import inspect

    method = getattr(RuntimeClient, signature.partition("(")[0])
    parameters = [
        p.replace(default=p.empty, annotation=p.empty)
        for p in inspect.signature(method).parameters.values()
        if p.name not in OURS
    ]
    assert f"{method.__name__}{inspect.Signature(parameters[1:])}" == signature


async def test_every_method_can_be_called(client):
    """What has no test of its own: that the way is there, on both transports."""
    await client.create_session(session_id="s", policy="headless")
    await client.set_session_title("s", "T")
    assert (await client.set_session_policy("s", None))["policy_name"] == "interactive"
    assert await client.fetch_rewind_candidates("s") == []
    assert (await client.rewind_session("s", from_seq=0))["status"] == "failed"
    assert (await client.compact_session("s"))["status"] == "skipped"
    assert (await client.browse_sessions(label=["a"], search="x")).total == 0
    assert (await client.browse_session_facets()).labels == {}
    assert await client.list_sessions(include_platform=True) == []
    await client.subscribe_session("s")
    await client.unsubscribe_session("s")
    await client.cancel_session("s")
    assert await client.fetch_skills() == []
    assert (await client.execute_shell("echo hi"))["stdout"] == "hi\n"
    assert (await client.query_logs(limit=1)).instance_id == client.runtime.log.instance_id
    for refused in (
        client.archive_session("s"),
        client.archive_session("s", archived=False),
        client.freeze_session("s"),
        client.fetch_mcp_detail("a", "b"),
        client.reconnect_mcp_server("a", "b"),
        client.reauthenticate_mcp_server("a", "b"),
        client.read_file("/no/such/file"),
    ):
        with pytest.raises(httpx.HTTPStatusError, match="404"):
            await refused
    with pytest.warns(DeprecationWarning, match="session_group"):
        client.workflow("t")
