"""The capability of added workers: it gets a head, another name, and is set aside for a loaded one."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from dnworker import ManifestError, Runtime, Worker, WorkerState
from dnworker.capability.manifest import CapabilityManifest, parse_manifest
from dnworker.core.errors import Conflict, NotFound

from ..capabilities import ECHO, make_capability, make_named

HEAD = "name: {name}\nversion: 0.1.0\ndescription: d\n"
FLAG = "flags:\n  relay: {{description: gate, default: {default}}}\n"
CHECKS = "checks:\n- {name: good, command: 'true'}\n- {name: bad, command: 'echo why >&2; false'}\n"


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    (tmp_path / "home").mkdir()
    return tmp_path / "home"


def head(root: Path, name: str = "bridge", more: str = "") -> CapabilityManifest:
    return parse_manifest(HEAD.format(name=name) + more, root, is_head=True)


def flag(default: bool = False) -> str:
    return FLAG.format(default=str(default).lower())


def adding(name: str = "bridge") -> Worker:
    worker = Worker(name)

    @worker.on_startup
    async def begin(client):
        worker.state["began"] = worker.state.get("began", 0) + 1

    @worker.on_event("demo.ping")
    async def ping(event, client):
        worker.state["count"] = worker.state.get("count", 0) + 1
        await client.notify(title="pinged")

    return worker


def states(runtime: Runtime) -> list[tuple[str, str]]:
    changes = [e.payload for e in runtime.history.events() if e.kind == "component.state_changed"]
    return [(one["capability"], one["status"]) for one in changes]


# -- a head --------------------------------------------------------------------------------------------


@pytest.mark.clause("4.8 reload")
async def test_a_head_renames_the_added_workers_which_start_again_with_empty_state(runtime, tmp_path):
    worker = adding()
    managed = await runtime.add(worker)
    await runtime.fire("demo.ping")
    declared = await runtime.declare(head(tmp_path))
    assert (declared.former, declared.restarted) == ("notebook", (managed,))
    assert runtime.worker("bridge:bridge") is managed
    assert managed.state is WorkerState.RUNNING
    assert worker.state == {"began": 1}
    assert states(runtime) == [("notebook", "ok"), ("notebook", "stopped"), ("bridge", "ok")]
    assert [e.payload for e in runtime.history.events() if e.kind == "capabilities.reloaded"] == [
        {"capability_count": 1, "capability": "bridge"}
    ]
    assert [c.name for c in runtime.info().capabilities] == ["bridge"]


async def test_under_its_name_workers_notify_log_and_are_traced(runtime, tmp_path):
    await runtime.add(adding())
    await runtime.declare(head(tmp_path, "relay"))
    trace = await runtime.fire("demo.ping")
    (notify,) = [e for e in trace.events() if e.kind == "notify"]
    assert notify.payload["source"] == "capability.relay"
    assert [i.worker for i in trace.invocations] == ["relay:bridge"]


async def test_workers_that_are_added_later_belong_to_it(runtime, tmp_path):
    await runtime.declare(head(tmp_path))
    managed = await runtime.add(Worker("late"))
    assert managed.qualified_name == "bridge:late"
    assert not [e for e in runtime.history.events() if e.kind == "capabilities.reloaded"]


async def test_the_same_head_again_changes_nothing(runtime, tmp_path):
    worker = adding()
    await runtime.add(worker)
    await runtime.declare(head(tmp_path, more=flag()))
    await runtime.fire("demo.ping")
    before = len(runtime.history.events())
    declared = await runtime.declare(head(tmp_path, more=flag()))
    assert (declared.is_news, declared.restarted) == (False, ())
    assert worker.state == {"began": 1, "count": 1}
    assert len(runtime.history.events()) == before


async def test_another_description_restarts_no_worker_and_is_announced(runtime, tmp_path):
    worker = adding()
    await runtime.add(worker)
    await runtime.declare(head(tmp_path))
    declared = await runtime.declare(head(tmp_path, more="license: MIT\n"))
    assert (declared.is_news, declared.restarted) == (True, ())
    assert worker.state == {"began": 1}
    assert runtime.info().capabilities[0].license == "MIT"


async def test_a_session_goes_on_under_the_new_name(runtime, tmp_path):
    runtime.agents.register("triage", lambda turn: "done")
    await runtime.declare(head(tmp_path))
    client = runtime.client()
    await client.create_session(capability="bridge", agent="triage", session_id="s1")
    await runtime.declare(head(tmp_path, "other"))
    assert runtime.sessions.get("s1").capability == "other"
    again = await client.create_session(capability="other", agent="triage", session_id="s1")
    assert again.session_id == "s1"


async def test_a_name_that_is_taken_is_refused_and_nothing_changes(runtime, tmp_path):
    worker = adding()
    await runtime.add(worker)
    await runtime.load(make_named(tmp_path / "loaded", "taken"))
    with pytest.raises(
        Conflict, match=r"there is a capability 'taken' already: it is loaded from .*loaded; unload"
    ):
        await runtime.declare(head(tmp_path, "taken"))
    assert runtime.worker("notebook:bridge").state is WorkerState.RUNNING
    assert worker.state == {"began": 1}


async def test_a_directory_that_cannot_be_read_changes_nothing(runtime, tmp_path, monkeypatch):
    await runtime.add(adding())

    def fails(manifest):
        raise PermissionError(13, "no")

    monkeypatch.setattr("dnworker.engine.own.read_components", fails)
    with pytest.raises(PermissionError):
        await runtime.declare(head(tmp_path))
    assert runtime.worker("notebook:bridge").state is WorkerState.RUNNING


@pytest.mark.clause("4.2 checks")
async def test_its_agents_skills_servers_and_checks_are_loaded(runtime, tmp_path):
    (tmp_path / "agents").mkdir()
    (tmp_path / "agents" / "triage.md").write_text("---\nname: triage\ndescription: t\n---\nSort it.")
    (tmp_path / "skills" / "sort").mkdir(parents=True)
    (tmp_path / "skills" / "sort" / "SKILL.md").write_text("---\nname: sort\ndescription: s\n---\nSort.")
    more = "mcp: {servers: {db: {command: sh}}}\n" + CHECKS
    await runtime.declare(head(tmp_path, more=more))
    (info,) = runtime.info().capabilities
    assert {(c.kind, c.name): c.status for c in info.components} == {
        ("agent", "triage"): "ok",
        ("skill", "sort"): "ok",
        ("mcp_server", "db"): "connecting",
        ("check", "good"): "ok",
        ("check", "bad"): "error",
    }
    assert (info.entry_agent, info.local_path) == ("triage", str(tmp_path))
    assert [s.qualified_id for s in runtime.catalog.skills()] == ["bridge:sort"]
    assert runtime.mcp.detail("bridge", "db")["qualified_name"] == "bridge:db"


async def test_a_check_whose_directory_is_gone_fails_alone(runtime, tmp_path):
    gone = tmp_path / "gone"
    await runtime.declare(head(gone, more=CHECKS))
    assert {c.status for c in runtime.capability().checks} == {"error"}


async def test_a_reload_reads_its_agents_again(runtime, tmp_path):
    await runtime.declare(head(tmp_path))
    (tmp_path / "agents").mkdir()
    (tmp_path / "agents" / "late.md").write_text("---\nname: late\n---\n")
    await runtime.reload("bridge")
    assert runtime.capability().info().entry_agent == "late"


async def test_a_head_that_is_taken_back_leaves_a_notebook_without_components(runtime, tmp_path):
    (tmp_path / "agents").mkdir()
    (tmp_path / "agents" / "a.md").write_text("---\nname: a\n---\n")
    await runtime.add(adding())
    await runtime.declare(head(tmp_path, more=CHECKS))
    declared = await runtime.declare(None)
    assert (declared.name, declared.former) == ("notebook", "bridge")
    assert runtime.worker("notebook:bridge").state is WorkerState.RUNNING
    assert runtime.capabilities.own.head is None
    assert [c.kind for c in runtime.capability().info().components] == ["worker"]


# -- flags ---------------------------------------------------------------------------------------------


async def test_a_gate_follows_the_head(runtime, tmp_path):
    await runtime.declare(head(tmp_path, more=flag()))
    managed = await runtime.add(Worker("w"), when=["relay"])
    assert managed.state is WorkerState.GATED_OFF
    await runtime.declare(head(tmp_path, more=flag(default=True)))
    assert managed.state is WorkerState.RUNNING
    await runtime.declare(head(tmp_path, more=flag()))
    assert managed.state is WorkerState.GATED_OFF


@pytest.mark.clause("4.3 gate")
async def test_a_worker_whose_flag_is_declared_no_more_is_in_error_until_it_is_again(runtime, tmp_path):
    await runtime.declare(head(tmp_path, more=flag(default=True)))
    managed, other = await runtime.add(Worker("w"), when=["relay"]), await runtime.add(adding("other"))
    await runtime.declare(head(tmp_path))
    assert managed.state is WorkerState.ERROR
    assert managed.error == "worker 'w': when names undeclared flag relay; declared: none [CAP-FLAG-012]"
    assert other.restarts == 0
    assert other.state is WorkerState.RUNNING
    await runtime.declare(head(tmp_path, more=flag(default=True)))
    assert managed.state is WorkerState.RUNNING


@pytest.mark.clause("4.3 gate")
async def test_a_worker_in_error_for_its_gate_stays_so_when_another_flag_is_set(runtime, tmp_path):
    gate = "flags:\n  relay: {description: gate}\n"
    await runtime.load(make_capability(tmp_path / "c", "w: {path: w.py, when: [gone]}", {"w.py": ECHO}, gate))
    await runtime.set_flag("demo", "relay", True)
    assert runtime.worker("w").state is WorkerState.ERROR


async def test_a_flag_that_was_set_here_holds_under_another_name_and_nowhere_else(runtime, tmp_path, home):
    await runtime.declare(head(tmp_path, more=flag()))
    managed = await runtime.add(Worker("w"), when=["relay"])
    await runtime.set_flag("bridge", "relay", True)
    await runtime.declare(head(tmp_path, "other", more=flag()))
    assert managed.state is WorkerState.RUNNING
    assert not (home / ".dreadnode").exists()


async def test_the_environment_names_a_flag_by_the_capabilitys_name(runtime, tmp_path, monkeypatch):
    monkeypatch.setenv("DREADNODE_CAPABILITY_FLAG__BRIDGE__RELAY", "on")
    await runtime.declare(head(tmp_path, more=flag()))
    (shown,) = runtime.info().capabilities[0].flags
    assert (shown["effective"], shown["source"]) == (True, "env")
    await runtime.declare(head(tmp_path, "other", more=flag()))
    assert runtime.info().capabilities[0].flags[0]["source"] == "default"


# -- set aside -----------------------------------------------------------------------------------------


async def heard(runtime: Runtime) -> list[str]:
    return sorted(i.worker for i in (await runtime.fire("demo.ping")).invocations)


async def test_a_loaded_capability_runs_in_place_of_the_own_of_its_name(runtime, tmp_path):
    await runtime.declare(head(tmp_path))
    echo, extra = await runtime.add(adding("echo")), await runtime.add(adding("extra"))
    root = make_named(tmp_path / "out", "bridge")
    with pytest.raises(ManifestError, match="'bridge' is loaded already, of added workers"):
        await runtime.load(root)
    await runtime.load(root, instead=True)
    assert await heard(runtime) == ["bridge:echo"]
    assert (echo.state, extra.state) == (WorkerState.STOPPED, WorkerState.STOPPED)
    assert runtime.worker("echo") is not echo
    assert runtime.capabilities.own.running_instead("extra").root == root
    assert await runtime.unload("bridge") == [echo, extra]
    assert await heard(runtime) == ["bridge:echo", "bridge:extra"]
    assert runtime.worker("echo") is echo


async def test_only_workers_of_its_names_are_set_aside_for_one_of_another_name(runtime, tmp_path):
    echo, extra = await runtime.add(adding("echo")), await runtime.add(adding("extra"))
    await runtime.load(make_named(tmp_path / "out", "demo"), instead=True)
    assert await heard(runtime) == ["demo:echo", "notebook:extra"]
    await runtime.reload()
    assert await heard(runtime) == ["demo:echo", "notebook:extra"]
    assert await runtime.unload("demo") == [echo]
    assert await heard(runtime) == ["notebook:echo", "notebook:extra"]
    assert extra.state is WorkerState.RUNNING


async def test_a_worker_that_was_stopped_stays_so_when_it_is_back(runtime, tmp_path):
    echo = await runtime.add(adding("echo"))
    await echo.stop()
    await runtime.load(make_named(tmp_path / "out", "demo"), instead=True)
    assert await runtime.unload("demo") == []
    assert runtime.worker("echo") is echo
    assert echo.state is WorkerState.STOPPED


async def test_while_it_is_set_aside_it_takes_no_worker_no_head_and_keeps_its_name(runtime, tmp_path):
    await runtime.declare(head(tmp_path))
    await runtime.add(adding("echo"))
    root = make_named(tmp_path / "out", "bridge")
    await runtime.load(root, instead=True)
    with pytest.raises(Conflict, match=r"'late' is set aside: 'bridge' of .*out runs in its place; unload"):
        await runtime.add(Worker("late"))
    with pytest.raises(Conflict, match="capability 'bridge' is set aside"):
        await runtime.declare(head(tmp_path, "other"))
    manifest = root / "capability.yaml"
    manifest.write_text(manifest.read_text().replace("name: bridge", "name: renamed"))
    await runtime.reload()
    assert await heard(runtime) == ["renamed:echo"]
    with pytest.raises(ManifestError, match="'bridge' is loaded already"):
        await runtime.load(make_named(tmp_path / "second", "bridge"))
    await runtime.unload("renamed")
    assert await heard(runtime) == ["bridge:echo"]


async def test_a_manifest_that_cannot_be_loaded_sets_nothing_aside(runtime, tmp_path):
    await runtime.add(adding("echo"))
    root = make_named(tmp_path / "out", "notebook")
    (root / "capability.yaml").write_text("name: notebook\n")
    with pytest.raises(ManifestError):
        await runtime.load(root, instead=True)
    assert await heard(runtime) == ["notebook:echo"]


async def test_a_capability_called_as_the_unnamed_own_is_loaded_in_its_place(runtime, tmp_path):
    await runtime.load(make_named(tmp_path / "out", "notebook"), instead=True)
    assert await heard(runtime) == ["notebook:echo"]
    await runtime.unload("notebook")
    assert (await runtime.add(adding("w"))).qualified_name == "notebook:w"


async def test_added_workers_need_another_name_beside_a_loaded_notebook(runtime, tmp_path):
    await runtime.load(make_named(tmp_path / "out", "notebook"))
    with pytest.raises(Conflict, match="added workers belong to 'notebook', which is loaded from"):
        await runtime.add(adding("w"))
    assert (await runtime.add(adding("w"), capability="mine")).qualified_name == "mine:w"


# -- unload --------------------------------------------------------------------------------------------


async def test_an_unloaded_capability_is_gone_and_can_be_loaded_again(runtime, tmp_path):
    root = make_capability(tmp_path / "out", "echo: {path: echo.py}", {"echo.py": ECHO})
    await runtime.load(root)
    await runtime.unload("demo")
    assert runtime.info().capabilities == []
    assert await heard(runtime) == []
    assert [e.payload for e in runtime.history.events() if e.kind == "capabilities.reloaded"] == [
        {"capability_count": 0, "capability": "demo"}
    ]
    await runtime.reload()
    assert await heard(runtime) == []
    (root / "echo.py").write_text(ECHO.replace("demo.pong", "demo.pang"))
    await runtime.load(root)
    trace = await runtime.fire("demo.ping")
    assert trace.events()[-1].kind == "demo.pang"


async def test_what_is_not_loaded_cannot_be_unloaded(runtime):
    await runtime.add(Worker("w"))
    with pytest.raises(Conflict, match="'notebook' holds added workers; remove those instead"):
        await runtime.unload("notebook")
    with pytest.raises(NotFound, match="no capability 'demo'; there are: notebook"):
        await runtime.unload("demo")


async def test_a_capability_that_failed_to_read_again_can_be_unloaded(runtime, tmp_path):
    root = make_named(tmp_path / "out", "demo")
    await runtime.load(root)
    (root / "capability.yaml").write_text("name: demo\n")
    await runtime.reload("demo")
    await runtime.unload("demo")
    assert runtime.info().capabilities == []


async def test_a_head_whose_caller_is_cancelled_ends_the_starts_that_hang_and_is_in_effect(runtime, tmp_path):
    worker, hangs = Worker("w"), asyncio.Event()

    @worker.on_startup
    async def begin(client):
        if hangs.is_set():
            await asyncio.Event().wait()

    managed = await runtime.add(worker)
    hangs.set()
    declaring = asyncio.create_task(runtime.declare(head(tmp_path)))
    while managed.state is not WorkerState.STARTING:
        await asyncio.sleep(0)
    declaring.cancel()
    async with asyncio.timeout(30):
        while managed.state is WorkerState.STARTING:
            await asyncio.sleep(0)
    assert (managed.qualified_name, managed.error) == ("bridge:w", "startup was interrupted")
    hangs.clear()
    await managed.restart(force=True)
    assert managed.state is WorkerState.RUNNING
