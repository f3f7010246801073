"""Real servers: connected without waiting, called, cancelled, gated, reloaded, and ended with the runtime."""

from __future__ import annotations

import asyncio
import random
import sys

import pytest

from dnworker import Runtime
from dnworker.cli.announcing import announce
from dnworker.mcp_client.tools import MCPServerError, MCPToolError
from dnworker.testing import Calls, ModelServer, Says

from .servers import is_alive, stdio, write

FLAGS = "flags: {remote: {description: gate}}\n"


async def until(condition):
    async with asyncio.timeout(20):
        while not condition():
            await asyncio.sleep(0.01)


@pytest.mark.clause("4.2 mcp")
async def test_a_server_is_connected_and_its_tools_are_called(connected, tmp_path, monkeypatch):
    monkeypatch.setenv("TEST_NAME", "Ada")
    env = {"GREETED": "${TEST_NAME}", "OTHER": "${NOT_SET:-none}"}
    entry = stdio("good.py", env=env)
    async with connected(FLAGS, good=entry) as runtime:
        call = lambda tool, **given: runtime.tools.get(f"demo__good__{tool}").call(given)  # noqa: E731
        assert await call("add", a=2, b=3) == "5"
        assert await call("where") == str(tmp_path / "demo")
        assert await call("variable", name="GREETED") == "Ada"
        assert await call("variable", name="OTHER") == "none"
        assert await call("variable", name="TEST_NAME") == "(not set)"  # it gets what it was given
        assert await call("variable", name="CAPABILITY_FLAG__DEMO__REMOTE") == "0"
        with pytest.raises(MCPToolError):
            await call("fail", why="because")
        assert await call("repeat", text="ab", times=500_000) == "ab" * 500_000
        with pytest.raises(MCPToolError, match="the answer has 2,000,000 bytes; at most 1,048,576"):
            await call("repeat", text="ab", times=1_000_000)
        detail = runtime.mcp.detail("demo", "good")
        assert (detail["status"], detail["tool_count"], detail["transport"]) == ("connected", 7, "stdio")
        assert detail["tools"][0]["input_schema"]["required"] == ["a", "b"]
        (add, *_) = runtime.catalog.tools()
        assert (add.name, add.wire_name, add.source) == ("add", "demo__good__add", "mcp")
        assert (add.server, add.capability) == ("good", "demo")
        (shown,) = [c for c in runtime.info().capabilities[0].components if c.kind == "mcp_server"]
        assert (shown.status, shown.tool_count, shown.error) == ("ok", 7, None)


async def test_a_turn_calls_tools_by_their_wire_names_and_its_policy_asks_first(connected):
    async with connected(good=stdio("good.py")) as runtime:

        async def reply(turn):
            return await turn.call_tool("demo__good__add", {"a": 2, "b": 3})

        runtime.agents.register("adder", reply)
        client = runtime.client()
        assert (await client.run_turn(session_id="s", agent="adder", message="?"))["response_text"] == "5"
        await client.create_session(session_id="asked", agent="adder", policy="guard")
        allowed = []
        async for raw in client.stream_chat(session_id="asked", agent="adder", message="?"):
            if raw["type"] == "permissionrequired":
                allowed.append(raw["data"]["tool_approval"]["tool_name"])
                await client.send_permission_response("asked", raw["data"]["request_id"], "allow")
        assert allowed == ["demo__good__add"]


async def test_a_model_is_offered_the_tools_that_its_agent_may_call_and_gets_their_answers(
    connected, tmp_path
):
    agent = tmp_path / "demo" / "agents" / "sums.md"
    agent.parent.mkdir(parents=True)
    agent.write_text(
        "---\nname: sums\ndescription: d\ntools: {'*': false, add: true, demo__good__fail: true}\n---\nAdd.\n"
    )
    plan = [
        Calls("demo__good__add", {"a": 2, "b": 3}),
        Calls("demo__good__fail", {"why": "no"}),
        Says("it is 5"),
    ]
    async with ModelServer(plan) as model, connected(good=stdio("good.py")) as runtime:
        runtime.agents.use_model("x-1", base_url=model.base_url, api_key="sk-very-secret")
        client = runtime.client()
        await client.create_session(session_id="s", capability="demo", agent="sums")
        end = await client.run_turn(session_id="s", message="2 + 3?")
    assert end["response_text"] == "it is 5"
    offered = {tool["function"]["name"] for tool in model.requests[0]["tools"]}
    assert offered == {"demo__good__add", "demo__good__fail"}
    answers = [m["content"] for m in model.requests[-1]["messages"] if m["role"] == "tool"]
    assert answers == ["5", "MCPToolError: Error executing tool fail"]


async def test_an_image_of_a_tool_reaches_the_model_and_events_and_scripts_have_a_line(connected):
    plan = [Calls("demo__eyes__look", {}), Says("I see a pixel")]
    async with ModelServer(plan) as model, connected(eyes=stdio("pictures.py")) as runtime:
        runtime.agents.register_model("eye", "x-1", base_url=model.base_url, api_key="sk-very-secret")
        runtime.agents.register("hand", lambda turn: turn.call_tool("demo__eyes__look", {}))
        client = runtime.client()
        end = await client.run_turn(session_id="s", agent="eye", message="what is there?")
        by_script = await client.run_turn(session_id="t", agent="hand", message="what is there?")
        kinds = str([event.payload for event in runtime.history.events()])
    text = "one pixel\n[image image/png: 70 bytes]"
    assert [call["result"] for call in (*end["tool_calls"], *by_script["tool_calls"])] == [text, text]
    assert by_script["response_text"] == text
    assert "iVBORw0KGgo" not in kinds
    assert "data:image/png;base64,iVBORw0KGgo" in str(model.requests[1]["messages"])


async def test_whatever_comes_there_is_one_process_for_each_open_gate(connected):
    entry = stdio("hostile.py", "good", when=["remote"])
    async with connected(FLAGS, one=entry) as runtime:
        (managed,) = runtime.mcp.all()
        seed = random.randrange(2**32)
        numbers = random.Random(seed)
        pids = set()
        asked = []
        for _ in range(12):
            match numbers.randrange(4):
                case 0 | 1:
                    await runtime.set_flag("demo", "remote", bool(numbers.randrange(2)))
                case 2:
                    asked.append(asyncio.ensure_future(runtime.mcp.reconnect("demo", "one")))
                case 3:
                    asked.append(asyncio.ensure_future(runtime.reload("demo")))
            await asyncio.sleep(numbers.choice([0, 0, 0.01, 0.3]))
            pids |= {one.pid for one in runtime.mcp.all() if one.pid is not None}
            assert len([pid for pid in pids if is_alive(pid)]) <= 1, f"seed {seed}"
        await asyncio.gather(*asked, return_exceptions=True)
        await runtime.set_flag("demo", "remote", True)
        (managed,) = runtime.mcp.all()
        await managed.wait()
        assert await runtime.tools.get("demo__one__do").call({}) == "done", f"seed {seed}"
    assert not any(map(is_alive, {*pids, managed.pid} - {None}))


@pytest.mark.parametrize("callers", [1, 2])
@pytest.mark.parametrize("end", ["flag", "reload", "stop"])
async def test_a_server_that_is_stopped_while_somebody_reconnects_it_stays_stopped(connected, end, callers):
    async with connected(FLAGS, one=stdio("hostile.py", "good", when=["remote"])) as runtime:
        await runtime.set_flag("demo", "remote", True)
        (managed,) = runtime.mcp.all()
        await managed.wait()
        reconnecting = {asyncio.ensure_future(runtime.mcp.reconnect("demo", "one")) for _ in range(callers)}
        await asyncio.sleep(0)
        await asyncio.sleep(
            0
        )  # the first waits for the end of the process now, and another one for the first
        match end:
            case "flag":
                await runtime.set_flag("demo", "remote", False)
            case "reload":
                await runtime.reload("demo")
            case "stop":
                await runtime.mcp.close()
        await asyncio.wait(reconnecting)
        assert managed.pid is None
        assert managed.state.status in ("gated_off", "stopped")


async def test_a_turn_that_is_cancelled_tells_the_server(connected):
    async with connected(good=stdio("good.py")) as runtime:

        async def reply(turn):
            return await turn.call_tool("demo__good__wait", {"seconds": 60})

        runtime.agents.register("waiter", reply)
        turn = asyncio.create_task(runtime.client().run_turn(session_id="s", agent="waiter", message="?"))
        (managed,) = runtime.mcp.all()
        await until(lambda: managed._connection._calls)
        await runtime.client().cancel_session("s")
        with pytest.raises(Exception, match="cancel|interrupt"):
            await turn
        await until(lambda: "the wait was cancelled" in managed.shown().recent_stderr)
        assert await runtime.tools.get("demo__good__add").call({"a": 1, "b": 1}) == "2"


async def test_flags_open_and_close_the_gate_of_a_server(connected):
    async with connected(FLAGS, good=stdio("good.py", when=["remote"])) as runtime:
        (managed,) = runtime.mcp.all()
        assert runtime.mcp.detail("demo", "good")["status"] == "gated_off"
        await runtime.set_flag("demo", "remote", True)
        await managed.wait()
        assert runtime.mcp.detail("demo", "good")["status"] == "connected"
        pid = managed.pid
        await runtime.set_flag("demo", "remote", False)
        assert runtime.catalog.tools() == []
        assert runtime.mcp.detail("demo", "good")["detail"] == "Requires flag: remote"
        await until(lambda: not is_alive(pid))
        await runtime.set_flag("demo", "remote", True)
        await managed.wait()
        assert len(runtime.catalog.tools()) == 7


@pytest.mark.clause("4.8 reload")
async def test_a_reload_disconnects_and_connects_to_what_is_declared_then(connected, tmp_path):
    async with connected(one=stdio("good.py"), two=stdio("hostile.py", "good")) as runtime:
        first = {managed.server.name: managed.pid for managed in runtime.mcp.all()}
        write(tmp_path / "demo", {"two": stdio("hostile.py", "good"), "three": stdio("nosuch.py")})
        await runtime.reload("demo")
        assert not any(map(is_alive, first.values()))  # they are gone before what is new is started
        for managed in runtime.mcp.all():
            await managed.wait()
        components = {c.name: c.status for c in runtime.info().capabilities[0].components}
        assert components == {"two": "ok", "three": "error"}
        await runtime.unload("demo")
        assert runtime.catalog.tools() == []


@pytest.mark.clause("2.7 events")
async def test_changes_of_a_server_are_published(connected):
    async with connected(
        FLAGS, good=stdio("good.py"), bad={"command": "nosuch"}, gated={"url": "x", "when": ["remote"]}
    ) as runtime:
        changes = [e.payload for e in runtime.history.events() if e.kind == "component.state_changed"]
    found = {}
    for change in changes:
        assert change["kind"] == "mcp_server"
        found.setdefault(change["name"], []).append((change["status"], change["tool_count"]))
    assert found == {
        "good": [("connecting", 0), ("ok", 7)],
        "bad": [("connecting", 0), ("error", 0)],
        "gated": [("gated_off", 0)],
    }


async def test_a_server_that_waits_for_its_flag_fails_by_the_words_of_the_reference(connected, monkeypatch):
    monkeypatch.setenv("DREADNODE_CAPABILITY_FLAG__DEMO__REMOTE", "1")
    async with connected(FLAGS, bad={"command": "nosuch", "when": ["remote"]}) as runtime:
        detail = runtime.mcp.detail("demo", "bad")
    assert detail["status"] == "enabled_failed"
    assert detail["detail"] == "Check server command/URL and authentication credentials"


@pytest.mark.parametrize(
    ("entry", "error"),
    [
        ({"command": "nosuch"}, "mcp server 'one': the command 'nosuch' is not there; install it, or mend `command` (DN970)"),
        ({"command": "sh", "env": {"A": "${NOT_SET}"}}, "mcp server 'one', env A: ${NOT_SET} is not set; set NOT_SET in the runtime's environment, or give a default: ${NOT_SET:-value}"),
        ({"command": "sh", "cwd": "nowhere"}, "mcp server 'one': its directory .../demo/nowhere is not there; make it, or mend `cwd`"),
        ({"url": "http://127.0.0.1:9/", "headers": {"X": "${NOT_SET}"}}, "mcp server 'one', header X: ${NOT_SET} is not set; set NOT_SET in the runtime's environment, or give a default: ${NOT_SET:-value}"),
    ],
)  # fmt: skip
async def test_what_a_user_may_get_wrong_is_one_line_with_the_way_out(connected, tmp_path, entry, error):
    async with connected(one=entry) as runtime:
        found = runtime.mcp.detail("demo", "one")["error"]
    assert found.replace(str(tmp_path), "...") == error


async def test_serve_names_the_servers_beside_the_workers(connected, capsys):
    async with connected(FLAGS, bad={"command": "nosuch"}, gated={"url": "x", "when": ["remote"]}) as runtime:
        announce(runtime, None, as_json=False)
    said = capsys.readouterr().out.splitlines()
    assert said[-2:] == ["  MCP server demo:bad is error", "  MCP server demo:gated is gated_off"]


async def test_without_the_extra_the_status_says_which(connected, monkeypatch):
    monkeypatch.setattr("dnworker.mcp_client.process.find_spec", lambda name: None)
    async with connected(good=stdio("good.py")) as runtime:
        assert runtime.mcp.detail("demo", "good")["error"] == (
            "MCP servers need the extra: pip install 'dnworker[mcp]' (DN971)"
        )


async def test_a_capability_that_has_a_module_named_mcp_is_in_nobodys_way(connected, tmp_path):
    (tmp_path / "demo").mkdir()
    for name in ("mcp.py", "json.py"):
        (tmp_path / "demo" / name).write_text("raise SystemExit('not this one')")
    async with connected(one=stdio("hostile.py", "good")) as runtime:
        assert runtime.mcp.detail("demo", "one")["status"] == "connected"


async def test_the_runtime_never_imports_the_library(connected):
    async with connected(one=stdio("hostile.py", "good")) as runtime:
        assert await runtime.tools.get("demo__one__do").call({}) == "done"
    code = "import sys, dnworker.runtime, dnworker.server.app; print([m for m in sys.modules if m.split('.')[0] in ('mcp', 'mcp_types')])"
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", code, stdout=asyncio.subprocess.PIPE)
    assert (await process.communicate())[0].strip() == b"[]"


async def test_a_runtime_that_stops_while_it_connects_leaves_nothing(tmp_path):
    root = write(
        tmp_path / "demo", {"slow": stdio("hostile.py", "hang-in-initialize"), "good": stdio("good.py")}
    )
    for wait in (0.0, 0.3, 1.2):
        async with Runtime(port=None) as runtime:
            await runtime.load(root)
            await asyncio.sleep(wait)
            pids = [managed.pid for managed in runtime.mcp.all()]
        assert not any(pid is not None and is_alive(pid) for pid in pids)


@pytest.mark.timeout(120)
async def test_many_servers_start_a_few_at_a_time_and_all_are_connected(connected):
    servers = {f"s{number}": stdio("hostile.py", "good") for number in range(10)}
    async with connected(**servers) as runtime:
        assert len(runtime.catalog.tools()) == 10
        answers = await asyncio.gather(*(tool.call({}) for tool in runtime.mcp.tools()))
    assert answers == ["done"] * 10


async def test_a_server_that_is_gone_is_not_called(connected):
    async with connected(good=stdio("good.py")) as runtime:
        tool = runtime.tools.get("demo__good__add")
        await runtime.unload("demo")
        with pytest.raises(MCPServerError, match="MCP server demo:good: it is not connected"):
            await tool.call({"a": 1, "b": 2})
