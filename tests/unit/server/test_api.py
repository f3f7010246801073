"""Every endpoint of the API, over a real socket: statuses, shapes, refusals."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import socket
from urllib.parse import urlsplit

import httpx
import psutil
import pytest

from dnworker import Runtime
from dnworker.engine.runtime_log import RuntimeLog
from dnworker.engine.tokens import Tokens
from dnworker.server.routes import ENDPOINTS

from ..capabilities import ECHO, make_capability

SESSION_KEYS = [
    "session_id",
    "group_id",
    "project",
    "created_at",
    "updated_at",
    "message_count",
    "session_dir",
    "capability",
    "agent",
    "model",
    "title",
    "preview",
    "policy_name",
    "policy_is_autonomous",
    "policy_display_label",
    "origin",
    "labels",
    "total_tokens",
    "total_tool_call_count",
    "total_cost_usd",
    "last_generation_input_tokens",
]


@pytest.fixture
async def runtime(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("DREADNODE_PROJECT_ROOT", raising=False)
    async with Runtime(port=0, token="s3cret") as runtime:
        runtime.agents.default(lambda turn: f"you said {turn.message}")
        yield runtime


@pytest.fixture
async def http(runtime):
    headers = {"Authorization": "Bearer s3cret"}
    async with httpx.AsyncClient(base_url=runtime.url, headers=headers, trust_env=False) as client:
        yield client


async def refusal(answer, status):
    assert answer.status_code == status, answer.text
    return answer.json()["detail"]


# -- the document --------------------------------------------------------------------------------------


async def test_the_openapi_document_has_every_endpoint_and_is_open(runtime):
    async with httpx.AsyncClient(base_url=runtime.url, trust_env=False) as client:
        document = (await client.get("/openapi.json")).json()
    declared = {(one.path, one.method.lower()) for one in ENDPOINTS}
    told = {(path, verb) for path, verbs in document["paths"].items() for verb in verbs}
    assert told == declared
    assert document["openapi"] == "3.1.0"
    names = [operation["operationId"] for verbs in document["paths"].values() for operation in verbs.values()]
    assert len(names) == len(set(names))
    upload = document["paths"]["/api/files/upload"]["put"]
    assert list(upload["requestBody"]["content"]) == ["application/octet-stream"]


# -- sessions ------------------------------------------------------------------------------------------


@pytest.mark.clause("6.6 keys")
async def test_a_session_has_the_contracts_keys_and_shows_labels_and_origin(http):
    body = {"session_id": "s", "labels": {"worker": ["bridge"]}, "origin": "worker", "project": "p"}
    session = (await http.post("/api/sessions", json=body)).json()
    assert list(session) == SESSION_KEYS
    assert (session["labels"], session["origin"], session["project"]) == (
        {"worker": ["bridge"]},
        "worker",
        "p",
    )
    assert (await http.get("/api/sessions/s")).json() == session


@pytest.mark.clause("6.6 create")
@pytest.mark.clause("11.2")
async def test_creating_again_returns_the_same_session_and_announces_it_once(runtime, http):
    first = (await http.post("/api/sessions", json={"session_id": "s", "model": "a"})).json()
    again = (await http.post("/api/sessions", json={"sessionId": "s", "model": "b"})).json()
    assert (again["created_at"], again["model"]) == (first["created_at"], "b")
    created = [e for e in runtime.history.events() if e.kind == "session.created"]
    assert [(e.session_id, e.payload) for e in created] == [("s", {"session_id": "s"})]


async def test_a_fresh_id_is_a_uuid(http):
    session = (await http.post("/api/sessions", json={})).json()
    assert len(session["session_id"]) == 36
    assert session["session_id"].count("-") == 4


@pytest.mark.parametrize(
    ("body", "says"),
    [
        ({"session_id": ""}, "session_id is empty"),
        ({"capability": "nobody"}, "no capability 'nobody'"),
        ({"policy": "nobody"}, "no policy 'nobody'; there are: interactive, headless, guard"),
        ({"policy": {"name": "headless", "max_steps": 0}}, "max_steps.*over 0"),
        ({"policy": {"name": "interactive", "x": 1}}, "no parameter 'x'"),
    ],
)
@pytest.mark.clause("6.6 create")
async def test_a_session_that_cannot_be_is_a_409(http, body, says):
    assert re_search(says, await refusal(await http.post("/api/sessions", json=body), 409))


def re_search(pattern, text):
    import re

    return re.search(pattern, text)


@pytest.mark.parametrize(
    ("body", "where", "kind"),
    [
        ({"session_id": 5}, ["session_id"], "string_type"),
        ({"sessionId": 5}, ["session_id"], "string_type"),
        ({"labels": {"a": "b"}}, ["labels"], "list_type"),
        ({"labels": []}, ["labels"], "dict_type"),
        ({"messages": [{"role": "user"}]}, ["messages", 0, "content"], "missing"),
        ({"messages": [{"role": "bot", "content": "x"}]}, ["messages", 0, "role"], "literal_error"),
        ({"project_memory_preload_limit": 0}, ["project_memory_preload_limit"], "greater_than_equal"),
        ({"project_memory_preload_limit": 201}, ["project_memory_preload_limit"], "less_than_equal"),
        ({"enable_project_memory_preload": 1}, ["enable_project_memory_preload"], "bool_type"),
    ],
)
@pytest.mark.clause("6.1 errors")
async def test_a_wrong_field_is_a_422_that_names_it(http, body, where, kind):
    (problem,) = await refusal(await http.post("/api/sessions", json=body), 422)
    assert problem["loc"][: len(where) + 1] == ["body", *where]
    assert problem["type"] == kind


@pytest.mark.clause("6.6 create")
async def test_agents_bind_sessions_by_the_contracts_rules(runtime, http, tmp_path):
    for name in ("one", "two"):
        head = f"name: {name}\n"
        root = make_capability(
            tmp_path / name,
            "w: {path: w.py}",
            {"w.py": ECHO.replace("echo", "w", 1), "agents/shared.md": "S", f"agents/only-{name}.md": "O"},
        )
        text = (root / "capability.yaml").read_text().replace("name: demo\n", head)
        (root / "capability.yaml").write_text(text)
        await runtime.load(root)

    async def bound(**body):
        answer = await http.post("/api/sessions", json=body)
        return (
            answer.json()
            if answer.status_code != 200
            else tuple(answer.json()[k] for k in ("capability", "agent"))
        )

    assert await bound() == ("one", "only-one")
    assert await bound(agent="Default", capability="DEFAULT") == ("one", "only-one")
    assert await bound(capability="two") == ("two", "only-two")
    assert await bound(agent="only-two") == ("two", "only-two")
    assert await bound(agent="unknown") == ("one", "unknown")
    assert "several capabilities" in (await bound(agent="shared"))["detail"]
    assert "has no agent" in (await bound(capability="one", agent="only-two"))["detail"]
    assert await bound(session_id="s", agent="only-two") == ("two", "only-two")
    assert "bound to agent 'only-two'" in (await bound(session_id="s", agent="only-one"))["detail"]


async def test_a_session_that_came_with_an_event_is_bound_like_any_other(runtime, tmp_path):
    files = {"w.py": ECHO.replace("echo", "w", 1), "agents/triage.md": "You sort."}
    await runtime.load(make_capability(tmp_path / "demo", "w: {path: w.py}", files))
    await runtime.fire("turn.completed", {"turn_id": "t"}, session_id="fired")
    info = await runtime.client().get_session("fired")
    assert (info.capability, info.agent) == ("demo", "triage")


async def test_the_newest_change_comes_first_in_the_list(runtime, http):
    for name in "ab":
        await http.post("/api/sessions", json={"session_id": name})
    await http.post("/api/sessions/a/title", json={"title": "T"})
    assert [s["session_id"] for s in (await http.get("/api/sessions")).json()] == ["a", "b"]


@pytest.mark.parametrize("session_id", ["acme/repo#12", "a b", "ü", "..", "%2F", "a?b=c"])
async def test_any_text_is_a_session_id_also_one_with_a_slash(http, session_id):
    from urllib.parse import quote

    await http.post("/api/sessions", json={"session_id": session_id})
    path = "/api/sessions/" + quote(session_id, safe="").replace(".", "%2E")
    assert (await http.get(path)).json()["session_id"] == session_id
    assert (await http.post(f"{path}/events", json={"kind": "demo.a"})).status_code == 200
    assert (await http.delete(path)).json() == {"status": "deleted", "session_id": session_id}


@pytest.mark.clause("6.6 unknown")
async def test_an_unknown_session_is_a_404_everywhere(http):
    for verb, path, body in [
        ("GET", "", None),
        ("DELETE", "", None),
        ("GET", "/messages", None),
        ("POST", "/title", {"title": "x"}),
        ("POST", "/policy", {"policy": None}),
        ("POST", "/cancel", None),
        ("POST", "/compact", None),
        ("GET", "/rewind/candidates", None),
        ("POST", "/rewind", {"from_seq": 0}),
        ("POST", "/archive", None),
        ("POST", "/unarchive", None),
        ("POST", "/freeze", None),
    ]:
        answer = await http.request(verb, f"/api/sessions/nobody{path}", json=body)
        assert answer.status_code == 404, path


@pytest.mark.clause("6.6 status")
async def test_title_policy_status_and_cancel_answer_in_the_contracts_shapes(runtime, http):
    await http.post("/api/sessions", json={"session_id": "s"})
    titled = (await http.post("/api/sessions/s/title", json={"title": "T"})).json()
    assert titled == {"status": "ok", "session_id": "s", "title": "T"}
    policy = (await http.post("/api/sessions/s/policy", json={"policy": "headless"})).json()
    assert policy == {
        "status": "ok",
        "session_id": "s",
        "policy_name": "headless",
        "policy_is_autonomous": True,
        "policy_display_label": "auto",
    }
    assert "no policy" in await refusal(await http.post("/api/sessions/s/policy", json={"policy": "x"}), 400)
    statuses = (await http.get("/api/sessions/status")).json()["sessions"]
    assert statuses["s"] == {
        "session_id": "s",
        "active_turn_id": None,
        "is_busy": False,
        "queue_depth": 0,
        "turn_phase": "idle",
        "pending_prompt": False,
    }
    assert (await http.post("/api/sessions/s/cancel")).json() == {"status": "idle", "session_id": "s"}


@pytest.mark.clause("6.6 messages")
async def test_messages_given_at_creation_are_kept_and_can_be_rewound(http):
    messages = [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]
    await http.post("/api/sessions", json={"session_id": "s", "messages": messages})
    kept = (await http.get("/api/sessions/s/messages")).json()
    assert kept[0] == {
        "role": "user",
        "content": "a",
        "metadata": None,
        "tool_call_id": None,
        "tool_name": None,
        "tool_args": None,
    }
    found = (await http.get("/api/sessions/s/rewind/candidates")).json()
    assert (found["status"], [(c["seq"], c["content"]) for c in found["candidates"]]) == ("ok", [(0, "a")])
    assert (await http.post("/api/sessions/s/rewind", json={"from_seq": 9})).json()["status"] == "failed"
    assert (await http.post("/api/sessions/s/rewind", json={"from_seq": 0})).json() == {"status": "ok"}
    assert (await http.get("/api/sessions/s/messages")).json() == []
    assert (await http.post("/api/sessions/s/rewind", json={"from_seq": -1})).status_code == 422


@pytest.mark.clause("6.6 restore")
async def test_restoring_makes_the_session_and_answers_in_camel_case(http):
    body = {"messages": [{"role": "user", "content": "a"}], "agent": "x", "trajectory": {"steps": [1, 2]}}
    restored = (await http.post("/api/sessions/s/restore", json=body)).json()
    assert restored == {
        "status": "restored",
        "sessionId": "s",
        "messageCount": 1,
        "stepCount": 2,
        "capability": None,
        "agent": "x",
        "project": None,
    }
    other = await http.post("/api/sessions/s/restore", json={"messages": [], "agent": "y"})
    assert other.status_code == 409


@pytest.mark.clause("6.6 platform")
async def test_what_needs_a_platform_answers_as_a_runtime_without_one(http):
    await http.post("/api/sessions", json={"session_id": "s"})
    browsed = (await http.get("/api/sessions/browse", params={"page": 2, "label": ["a", "b"]})).json()
    assert browsed == {
        "sessions": [],
        "page": 2,
        "limit": 20,
        "total": 0,
        "total_pages": 0,
        "has_next": False,
        "has_previous": False,
    }
    assert (await http.get("/api/sessions/facets")).json() == {"labels": {}}
    assert "platform" in await refusal(await http.post("/api/sessions/s/archive"), 404)
    assert "platform" in await refusal(await http.post("/api/session-groups", json={"title": "t"}), 404)
    assert (await http.post("/api/session-groups", json={"kind": "workflow_run"})).status_code == 422
    assert (await http.patch("/api/session-groups/g", json={"status": "completed"})).status_code == 404
    assert (await http.patch("/api/session-groups/g", json={"status": "x"})).status_code == 422


# -- workers, tools, skills, mcp -----------------------------------------------------------------------


@pytest.mark.clause("6.3 skills")
async def test_skills_are_listed_and_found_by_either_name(runtime, http, tmp_path):
    skill = "---\nname: greet\ndescription: How to greet\n---\n# Hi\n"
    files = {"w.py": ECHO.replace("echo", "w", 1), "skills/greet/SKILL.md": skill, "skills/greet/x.txt": "x"}
    await runtime.load(make_capability(tmp_path / "demo", "w: {path: w.py}", files))
    listed = (await http.get("/api/skills")).json()["skills"]
    assert listed == [
        {
            "name": "greet",
            "description": "How to greet",
            "qualified_id": "demo:greet",
            "source": "python",
            "capability": "demo",
        }
    ]
    for name in ("greet", "demo:greet", "demo%3Agreet"):
        detail = (await http.get(f"/api/skills/{name}")).json()
        assert list(detail) == [
            "name",
            "description",
            "instructions",
            "allowed_tools",
            "rendered",
            "qualified_id",
            "source",
            "capability",
        ]
        assert "# Hi" in detail["rendered"]
        assert "x.txt" in detail["rendered"]
    assert "there are: demo:greet" in await refusal(await http.get("/api/skills/nope"), 404)


@pytest.mark.clause("6.3 mcp")
async def test_mcp_servers_are_shown_and_a_gated_one_is_refused(runtime, http, tmp_path):
    head = (
        "flags:\n  opened: {description: d}\nmcp:\n  servers:\n    plain: {command: x, args: ['${CAPABILITY_ROOT}/y']}\n"
        "    gated: {url: 'http://h', when: [opened]}\n"
    )
    files = {"w.py": ECHO.replace("echo", "w", 1)}
    root = make_capability(tmp_path / "demo", "w: {path: w.py}", files, head)
    await runtime.load(root)
    detail = (await http.get("/api/mcp/demo/plain")).json()
    assert (detail["transport"], detail["args"]) == ("stdio", [f"{root}/y"])
    again = (await http.post("/api/mcp/demo/plain/reconnect")).json()
    assert (again["status"], again["error"]) == (
        "error",
        "mcp server 'plain': the command 'x' is not there; install it, or mend `command` (DN970)",
    )
    gated = await refusal(await http.post("/api/mcp/demo/gated/reconnect"), 409)
    assert (gated["reason"], gated["when"]) == ("gated_off", ["opened"])
    assert (await http.get("/api/mcp/demo/none")).status_code == 404
    assert (await http.post("/api/mcp/demo/none/reauthenticate")).status_code == 404


@pytest.mark.clause("6.2 health")
async def test_one_capability_is_reloaded_by_its_name(runtime, http, tmp_path):
    await runtime.load(make_capability(tmp_path / "demo", "echo: {path: echo.py}", {"echo.py": ECHO}))
    answer = await http.post("/api/reload", params={"capability": "demo"})
    assert answer.json()["capabilities"][0]["name"] == "demo"
    assert (await http.post("/api/reload", params={"capability": "none"})).status_code == 404
    report = (await http.get("/api/health")).json()["reload"]
    assert report["active"] is False
    assert report["finished_sec"] >= report["started_sec"]


@pytest.mark.clause("4.8 ready")
async def test_ready_is_503_until_what_is_loading_has_started(runtime, http):
    with runtime.progress.loading():
        ready, health = await http.get("/api/ready"), await http.get("/api/health")
        assert (ready.status_code, ready.json()["status"], ready.json()["stage"]) == (
            503,
            "starting",
            "connecting",
        )
        assert (health.status_code, health.json()["status"]) == (200, "ok")
    assert (await http.get("/api/ready")).status_code == 200


@pytest.mark.clause("6.2 health")
async def test_a_runtime_whose_broker_has_failed_is_degraded_ready_and_does_not_say_why_to_anybody(
    runtime, http, monkeypatch
):
    for path in ("/api/health", "/api/ready"):
        fine = (await http.get(path)).json()
        assert (fine["status"], fine["detail"]) == ("ok", None)
    monkeypatch.setattr(runtime.bus.broker, "failure", "/home/me/events.db: no space left")
    for path in ("/api/health", "/api/ready"):
        answer = await http.get(path)
        report = answer.json()
        assert (answer.status_code, report["status"], report["detail"]) == (200, "degraded", "broker_failed")
        assert "/home/me" not in answer.text


# -- files, shell, logs --------------------------------------------------------------------------------


@pytest.mark.clause("6.7 files")
async def test_files_are_listed_depth_first_without_hidden_ones(http, tmp_path):
    for name in ("b/c/d.txt", "a.txt", ".hidden", "node_modules/x.js"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("12345")
    listed = (await http.get("/api/files")).json()
    assert listed["path"] == str(tmp_path)
    assert listed["entries"] == [
        {"name": "a.txt", "path": "a.txt", "isDir": False, "size": 5},
        {"name": "b", "path": "b", "isDir": True, "size": None},
        {"name": "c", "path": "b/c", "isDir": True, "size": None},
        {"name": "d.txt", "path": "b/c/d.txt", "isDir": False, "size": 5},
    ]
    top = (await http.get("/api/files", params={"depth": 0})).json()["entries"]
    assert [e["path"] for e in top] == ["a.txt", "b"]
    none = (await http.get("/api/files", params={"path": "nowhere"})).json()
    assert (none["entries"], "nowhere" in none["error"]) == ([], True)


@pytest.mark.clause("6.7 files")
async def test_files_are_read(http, tmp_path):
    (tmp_path / "a.txt").write_bytes(b"caf\xc3\xa9 \xff")
    read = (await http.get("/api/files/read", params={"path": "a.txt"})).json()
    assert read == {"path": "a.txt", "content": "café \ufffd"}
    missing = await http.get("/api/files/read", params={"path": "b.txt"})
    assert (missing.status_code, missing.json()["content"]) == (404, "")
    assert (await http.get("/api/files/read")).status_code == 422
    for path in ("a\0b", "x" * 5000, "/proc/self/mem"):
        assert (await http.get("/api/files/read", params={"path": path})).status_code in (400, 404)


@pytest.mark.parametrize(
    "path",
    ["/dev/zero", "/dev/null", "/dev/tty", "/dev/stdin", "pipe", "socket", "directory", "link", "/proc/self/pagemap",
     "/proc/kmsg", "/proc/self/mem", "loop", "big", "claims"],
)  # fmt: skip
async def test_what_is_no_regular_file_or_too_large_is_refused_and_never_waited_for(http, tmp_path, path):
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "directory").mkdir()
    (tmp_path / "link").symlink_to("/dev/zero")
    (tmp_path / "loop").symlink_to("loop")
    with (tmp_path / "big").open("wb") as stream:
        stream.truncate(1 << 40)
    (tmp_path / "claims").symlink_to("/proc/self/pagemap")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind("socket")  # its whole path may be too long
        async with asyncio.timeout(60):
            answer = await http.get("/api/files/read", params={"path": path})
    assert answer.status_code in (400, 404, 413)
    assert answer.json()["content"] == ""
    assert answer.json()["error"]


async def test_a_file_of_proc_is_read_whatever_size_it_claims(http):
    answer = await http.get("/api/files/read", params={"path": "/proc/self/status"})
    assert "VmRSS" in answer.json()["content"]


async def test_of_uploads_of_one_name_at_a_time_one_is_kept(http, tmp_path):
    async def put(content):
        where = {"batch": "b", "path": "same"}
        return (await http.put("/api/files/upload", params=where, content=content)).status_code

    contents = [bytes([65 + n]) * 300_000 for n in range(8)]
    answers = await asyncio.gather(*map(put, contents))
    assert sorted(answers) == [200, *[409] * 7]
    assert (tmp_path / "uploads/b/same").read_bytes() in contents
    assert [p.name for p in (tmp_path / "uploads/b").iterdir()] == ["same"]


async def test_an_upload_that_breaks_off_leaves_nothing_and_its_name_is_free(runtime, http, tmp_path):
    where = urlsplit(runtime.url)
    reader, writer = await asyncio.open_connection(where.hostname, where.port)
    writer.write(
        b"PUT /api/files/upload?batch=b&path=a HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer s3cret\r\n"
        b"Content-Length: 100\r\n\r\nabc"
    )
    batch = tmp_path / "uploads/b"
    async with asyncio.timeout(60):
        while not (batch.exists() and [*batch.iterdir()]):
            await asyncio.sleep(0.01)
        where = {"batch": "b", "path": "a"}
        assert (await http.put("/api/files/upload", params=where, content=b"x")).status_code == 409
        writer.close()
        while [*batch.iterdir()]:
            await asyncio.sleep(0.01)
    assert (await http.put("/api/files/upload", params=where, content=b"x")).status_code == 200


@pytest.mark.clause("6.7 files")
async def test_uploads_land_below_the_working_directory_and_nowhere_else(http, tmp_path):
    async def put(path, content=b"x", batch="b1"):
        return await http.put("/api/files/upload", params={"batch": batch, "path": path}, content=content)

    assert (await put("dir/x.bin", b"123")).json() == {"path": "uploads/b1/dir/x.bin", "size": 3}
    assert (tmp_path / "uploads/b1/dir/x.bin").read_bytes() == b"123"
    assert (await put("dir/x.bin")).status_code == 409
    for path in ("../x", "/abs", "a/../b", "a//b", "./a", "a\\b", "/".join("a" * 40)):
        assert (await put(path)).status_code == 400, path
    assert (await put("ok", batch="no/slash")).status_code == 400
    assert (await put("dir/x.bin/below")).status_code == 400
    assert (await put("big", b"x" * (25 * 1024 * 1024 + 1))).status_code == 413
    assert not (tmp_path / "uploads/b1/big").exists()


@pytest.mark.clause("6.7 shell")
async def test_the_shell_answers_output_and_exit_code(http, tmp_path):
    async def run(**query):
        return await http.post("/api/shell", params=query)

    done = (await run(command="echo out; echo err >&2; exit 3")).json()
    assert done == {
        "stdout": "out\n",
        "stderr": "err\n",
        "exitCode": 3,
        "command": "echo out; echo err >&2; exit 3",
    }
    assert (await run(command="pwd", cwd="/")).json()["stdout"] == "/\n"
    empty, late, nowhere = (
        await run(command=" "),
        await run(command="sleep 9", timeout=0.2),
        await run(command="pwd", cwd="/nowhere"),
    )
    assert [a.status_code for a in (empty, late, nowhere)] == [400, 408, 400]
    assert all("error" in a.json() and "detail" not in a.json() for a in (empty, late, nowhere))
    much = (await run(command="head -c 3000000 /dev/zero | tr '\\0' x")).json()["stdout"]
    assert much.endswith("[cut: 2,000,000 more bytes]")


async def test_a_shell_command_that_took_too_long_leaves_nothing_behind(http, tmp_path):
    left = f"sh -c 'sleep 600; : {tmp_path}'"
    answer = await http.post("/api/shell", params={"command": f"{left} & wait", "timeout": 0.2})
    assert answer.status_code == 408
    async with asyncio.timeout(60):
        while any(left[7:-1] in (one.info["cmdline"] or ()) for one in psutil.process_iter(["cmdline"])):
            await asyncio.sleep(0.01)


async def test_a_command_whose_grandchild_holds_its_pipes_ends_in_time(http, tmp_path):
    os.mkfifo(tmp_path / "pipe")
    command = f"setsid cat {tmp_path / 'pipe'} & sleep 600"
    with (tmp_path / "pipe").open("r+b", buffering=0):  # the grandchild ends when this does
        answer = await http.post("/api/shell", params={"command": command, "timeout": 0.2})
    assert answer.status_code == 408


async def test_a_path_of_nobodys_home_is_a_path_like_any_other(http):
    assert (await http.get("/api/files", params={"path": "~nosuchuser/x"})).status_code == 200
    assert (await http.get("/api/files/read", params={"path": "~nosuchuser/x"})).status_code == 404


@pytest.mark.clause("6.7 logs")
async def test_the_log_comes_page_by_page(runtime, http):
    for number in range(5):
        runtime.log.add("demo", f"line {number}", "warning" if number == 3 else "info")
    newest = (await http.get("/api/logs", params={"limit": 2})).json()
    assert [e["message"] for e in newest["entries"]] == ["line 3", "line 4"]
    assert list(newest) == ["instance_id", "next_cursor", "reset", "gap", "entries"]
    start = newest["entries"][0]["sequence"] - 4
    page = (await http.get("/api/logs", params={"after": start, "limit": 2})).json()
    assert [e["message"] for e in page["entries"]] == ["line 0", "line 1"]
    rest = (await http.get("/api/logs", params={"after": page["next_cursor"]})).json()
    assert [e["message"] for e in rest["entries"]] == ["line 2", "line 3", "line 4"]
    warned = (await http.get("/api/logs", params={"level": "warning", "text": "LINE"})).json()
    assert [(e["message"], e["level"], e["level_no"]) for e in warned["entries"]] == [
        ("line 3", "WARNING", 30)
    ]
    assert (await http.get("/api/logs", params={"after": 10**9})).json()["reset"] is True
    for query in ({"limit": 0}, {"limit": 201}, {"level": "loud"}, {"text": "x" * 257}, {"after": -1}):
        assert (await http.get("/api/logs", params=query)).status_code == 422, query


@pytest.mark.clause("6.7 logs")
def test_the_ring_of_the_log_is_bounded_and_tells_of_gaps():
    log = RuntimeLog()
    for number in range(2500):
        log.add("demo", str(number))
    page = log.page(after=10, limit=200)
    assert (page.gap, page.entries[0].message) == (True, "500")
    log.add("demo", "x" * 9000)
    assert (log.page(limit=1).entries[0].truncated, len(log.page(limit=1).entries[0].message)) == (True, 8192)


async def test_what_the_framework_logs_is_in_the_log(runtime, http):
    logging.getLogger("dnworker.demo").warning("from %s", "logging")
    (entry,) = (await http.get("/api/logs", params={"text": "from logging"})).json()["entries"]
    assert (entry["source"], entry["level"]) == ("dnworker.demo", "WARNING")


# -- tickets and tokens --------------------------------------------------------------------------------


@pytest.mark.clause("6.7 ticket")
async def test_a_ticket_says_until_when_it_is_good(http):
    told = (await http.post("/api/ws/ticket")).json()
    assert list(told) == ["ticket", "expires_at"]
    assert told["expires_at"].endswith("Z")
    assert "." not in told["expires_at"]


@pytest.mark.clause("6.7 ticket")
def test_a_ticket_is_good_once_and_for_thirty_seconds():
    now = [0.0]
    tokens = Tokens("main", now=lambda: now[0])
    ticket, late = tokens.issue_ticket("main"), tokens.issue_ticket("main")
    assert [tokens.redeem(ticket), tokens.redeem(ticket)] == ["main", None]
    now[0] = 30.1
    assert tokens.redeem(late) is None


def test_tickets_are_bounded_in_number():
    tokens = Tokens("main")
    first = tokens.issue_ticket("main")
    for _ in range(1000):
        tokens.issue_ticket("main")
    assert tokens.redeem(first) is None


@pytest.mark.clause("6.1 file")
def test_a_token_file_wins_and_is_written_for_its_owner_only(tmp_path):
    file = tmp_path / "deep" / "token"
    tokens = Tokens("given", file=file)
    tokens.write()
    assert file.read_text() == "given\n"
    assert file.stat().st_mode & 0o777 == 0o600
    assert Tokens("other", file=file).main == "given"


@pytest.mark.clause("6.1 file")
async def test_the_gate_takes_a_rotated_token_at_once(tmp_path):
    file = tmp_path / "token"
    file.write_text("old\n")
    async with Runtime(port=0, token_file=file) as runtime:

        async def status(token):
            headers = {"Authorization": f"Bearer {token}"}
            async with httpx.AsyncClient(base_url=runtime.url, headers=headers, trust_env=False) as client:
                return (await client.get("/api/tools")).status_code

        assert [await status("old"), await status("new")] == [200, 401]
        file.write_text("new\n")
        assert [await status("old"), await status("new")] == [401, 200]


async def test_a_client_in_the_same_process_gets_the_same_answers(runtime, http):
    client = runtime.client()
    await client.create_session(session_id="s", labels={"a": ["b"]})
    direct = await client.get_session("s")
    remote = (await http.get("/api/sessions/s")).json()
    assert json.loads(json.dumps(remote))["labels"] == direct.labels
    with pytest.raises(httpx.HTTPStatusError, match="404 from GET /api/skills/none"):
        await client.fetch_skill_content("none")
