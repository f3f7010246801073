"""Finding capabilities, keeping flags, reloading one, watching the disk."""

from __future__ import annotations

import asyncio
import json
import shutil
from pathlib import Path

import pytest
from watchfiles import Change

from dnworker import Runtime, WorkerState
from dnworker.capability.components import read_components
from dnworker.capability.discovery import capability_roots, project_root, search_path
from dnworker.capability.flags import is_enabled, read_persisted, write_persisted
from dnworker.capability.manifest import parse_manifest
from dnworker.core.errors import NotFound
from dnworker.engine.watching import Wanted, affected, held_open, watch
from dnworker_jupyter.export.disk.atomic import put_in_place

from ..capabilities import ECHO, make_capability

FLAG = "flags:\n  relay: {description: gate}\n"


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    (tmp_path / "home").mkdir()
    return tmp_path / "home"


def make(directory, name, worker="echo", version="0.1.0"):
    """Write a capability of this name with one worker."""
    directory.parent.mkdir(parents=True, exist_ok=True)
    root = make_capability(
        directory, f"{worker}: {{path: {worker}.py}}", {f"{worker}.py": ECHO.replace("echo", worker, 1)}
    )
    text = (root / "capability.yaml").read_text()
    (root / "capability.yaml").write_text(
        text.replace("name: demo", f"name: {name}").replace("0.1.0", version)
    )
    return root


# -- the search path -----------------------------------------------------------------------------------


@pytest.mark.clause("4.6 order")
def test_directories_are_searched_in_the_contracts_order(tmp_path, home):
    project, given, named = tmp_path / "project", tmp_path / "given", tmp_path / "named"
    (project / ".git").mkdir(parents=True)
    (project / "deep" / "er").mkdir(parents=True)
    own = [project / ".dreadnode/capabilities", home / ".dreadnode/capabilities"]
    for directory in [*own, given, named]:
        directory.mkdir(parents=True)
    environ = {"HOME": str(home), "DREADNODE_CAPABILITY_DIRS": f"{named}:{tmp_path / 'missing'}:"}
    assert search_path([given], cwd=project / "deep" / "er", environ=environ) == [*own, given, named]


def test_the_project_is_named_or_has_git_or_is_here(tmp_path):
    (tmp_path / "a" / ".git").mkdir(parents=True)
    (tmp_path / "a" / "b").mkdir()
    assert project_root(tmp_path / "a" / "b", {}) == tmp_path / "a"
    assert project_root(tmp_path / "a", {"DREADNODE_PROJECT_ROOT": "b"}) == tmp_path / "a" / "b"
    assert project_root(tmp_path, {}) == tmp_path


@pytest.mark.clause("4.6 directory")
def test_a_directorys_capabilities_come_sorted_and_others_are_skipped(tmp_path):
    for name in ("b", "a"):
        make(tmp_path / "caps" / name, name)
    (tmp_path / "caps" / "notes").mkdir()
    (tmp_path / "linked").symlink_to(tmp_path / "caps")
    assert [root.name for root in capability_roots([tmp_path / "linked"])] == ["a", "b"]


@pytest.mark.clause("4.6 order")
async def test_the_first_capability_of_a_name_wins(tmp_path):
    make(tmp_path / "one" / "x", "same", version="0.1.0")
    make(tmp_path / "two" / "x", "same", version="0.2.0")
    make(tmp_path / "two" / "y", "other")
    async with Runtime(port=None, capability_dirs=[tmp_path / "one", tmp_path / "two"]) as runtime:
        await runtime.discover()
        found = {c.name: c.version for c in runtime.info().capabilities}
    assert found == {"same": "0.1.0", "other": "0.1.0"}


@pytest.mark.clause("4.3 failed")
async def test_a_capability_that_fails_is_listed_under_its_directory_and_fails_no_other(tmp_path):
    make(tmp_path / "good", "good")
    (tmp_path / "bad").mkdir()
    (tmp_path / "bad" / "capability.yaml").write_text("schema: 1\nname: BAD\n")
    async with Runtime(port=None, capability_dirs=[tmp_path]) as runtime:
        await runtime.discover()
        info = {c.name: c for c in runtime.info().capabilities}
        assert runtime.worker("echo").state is WorkerState.RUNNING
        with pytest.raises(NotFound):
            runtime.worker_detail("bad", "echo")
    (entry,) = info["bad"].components
    assert (entry.kind, entry.status) == ("capability", "error")
    assert "CAP-VALID-002" in entry.error
    assert (info["bad"].version, info["bad"].flags) == (None, [])


@pytest.mark.clause("4.5 kept")
async def test_a_disabled_capability_is_kept_out(tmp_path, home):
    make(tmp_path / "caps" / "demo", "demo")
    state = home / ".dreadnode" / "local-capability-state.json"
    state.parent.mkdir()
    state.write_text(json.dumps({"demo": {"enabled": False}}))
    async with Runtime(port=None, capability_dirs=[tmp_path / "caps"]) as runtime:
        assert await runtime.discover() == []
        state.write_text(json.dumps({"demo": True}))
        await runtime.reload()
        assert [c.name for c in runtime.info().capabilities] == ["demo"]


# -- flags that are kept -------------------------------------------------------------------------------


def test_writing_a_flag_leaves_everything_else_in_the_file(tmp_path):
    file = tmp_path / "deep" / "state.json"
    file.parent.mkdir()
    kept = {"other": {"enabled": False, "extra": 1}, "demo": {"enabled": True, "flags": {"a": True}, "x": 2}}
    file.write_text(json.dumps(kept))
    write_persisted(file, "demo", "b", False, version="0.1.0")
    state = json.loads(file.read_text())
    assert state == kept | {"demo": kept["demo"] | {"flags": {"a": True, "b": False}}}
    assert read_persisted(file, "demo") == {"a": True, "b": False}
    assert list(file.parent.iterdir()) == [file]


@pytest.mark.clause("4.5 kept")
def test_the_first_flag_of_a_capability_makes_the_record_of_the_contract(tmp_path):
    file = tmp_path / "new" / "state.json"
    write_persisted(file, "demo", "relay", True, version="0.1.0")
    assert json.loads(file.read_text()) == {
        "demo": {
            "enabled": True,
            "source": "local",
            "version": "0.1.0",
            "artifact_identity": "demo",
            "flags": {"relay": True},
        }
    }


@pytest.mark.parametrize("text", ["{", "[]", ""])
def test_a_damaged_state_file_is_not_written_over(tmp_path, text):
    file = tmp_path / "state.json"
    file.write_text(text)
    with pytest.raises(OSError, match="mend it or move it away"):
        write_persisted(file, "demo", "relay", True, version="0.1.0")
    assert file.read_text() == text
    assert is_enabled(file, "demo")


async def test_setting_a_flag_starts_and_stops_what_it_gates_and_is_kept(tmp_path, home):
    root = make_capability(tmp_path / "demo", "echo: {path: echo.py, when: [relay]}", {"echo.py": ECHO}, FLAG)
    async with Runtime(port=None) as runtime:
        await runtime.load(root)
        assert runtime.worker("echo").state is WorkerState.GATED_OFF
        await runtime.set_flag("demo", "relay", True)
        assert runtime.worker("echo").state is WorkerState.RUNNING
        await runtime.set_flag("demo", "relay", False)
        assert runtime.worker("echo").state is WorkerState.GATED_OFF
        await runtime.set_flag("demo", "relay", True)
        with pytest.raises(NotFound, match="no flag 'rely'; it has: relay"):
            await runtime.set_flag("demo", "rely", True)
    async with Runtime(port=None) as again:
        await again.load(root)
        assert again.worker("echo").state is WorkerState.RUNNING
        (flag,) = again.info().capabilities[0].flags
        assert (flag["effective"], flag["source"]) == (True, "binding")


# -- reloading -----------------------------------------------------------------------------------------


@pytest.mark.clause("11.12")
async def test_reloading_one_capability_leaves_the_others_alone(tmp_path):
    one, two = make(tmp_path / "one", "one"), make(tmp_path / "two", "two", "other")
    async with Runtime(port=None) as runtime:
        await runtime.load(one)
        await runtime.load(two)
        untouched = runtime.worker("other")
        events = runtime.bus.subscribe(["capabilities.reloaded"])
        (one / "echo.py").write_text(ECHO.replace("demo.ping", "demo.changed"))
        await runtime.reload("one")
        assert runtime.worker("echo").detail()["handlers"]["event_kinds"] == ["demo.changed"]
        assert runtime.worker("other") is untouched
        assert (await anext(events)).payload == {"capability_count": 2, "capability": "one"}
        with pytest.raises(NotFound, match="no capability 'three'; there are: one, two"):
            await runtime.reload("three")


async def test_a_full_reload_finds_what_is_new_and_forgets_what_is_gone(tmp_path):
    first = make(tmp_path / "first", "first")
    async with Runtime(port=None, capability_dirs=[tmp_path]) as runtime:
        await runtime.discover()
        make(tmp_path / "second", "second")
        (first / "capability.yaml").unlink()
        await runtime.reload()
        assert [c.name for c in runtime.info().capabilities] == ["second"]


async def test_a_manifest_broken_since_is_told_and_mended_by_the_next_reload(tmp_path):
    root = make(tmp_path / "one", "one")
    good = (root / "capability.yaml").read_text()
    async with Runtime(port=None) as runtime:
        await runtime.load(root)
        (root / "capability.yaml").write_text("schema: 1\n")
        info = await runtime.reload("one")
        assert runtime.reload_error == "reload_failed"
        assert info.capabilities[0].components[0].kind == "capability"
        (root / "capability.yaml").write_text(good)
        await runtime.reload("one")
        assert runtime.reload_error is None
        assert runtime.worker("echo").state is WorkerState.RUNNING


async def test_a_changed_file_reloads_its_capability(tmp_path):
    one, two = make(tmp_path / "one", "one"), make(tmp_path / "two", "two", "other")
    async with Runtime(port=None) as runtime:
        for root in (one, two):
            await runtime.load(root)
        reloaded = runtime.bus.subscribe(["capabilities.reloaded"])
        stop = asyncio.Event()
        watching = asyncio.create_task(watch(runtime, stop))
        writing = asyncio.create_task(keep_touching(one / "echo.py"))
        async with asyncio.timeout(20):
            event = await anext(reloaded)
        writing.cancel()
        stop.set()
        await watching
    assert event.payload["capability"] == "one"


async def keep_touching(file):
    """Change a file until somebody notices: when a watcher is ready, nobody tells."""
    for number in range(1000):
        file.write_text(ECHO + f"# {number}\n")
        await asyncio.sleep(0.5)


async def test_what_a_worker_writes_beside_itself_is_no_change(tmp_path):
    files = {"echo.py": ECHO, "relay.mjs": "", "agents/a.md": ""}
    root = make_capability(
        tmp_path / "one", "echo: {path: echo.py}\nr: {command: no-such, args: [relay.mjs]}", files
    )
    async with Runtime(port=0) as runtime:
        await runtime.load(root)
        wanted = Wanted(runtime)
        seen = [
            n
            for n in ("echo.py", "relay.mjs", "agents/a.md", "capability.yaml", "state.json", "x.log")
            if wanted(Change.modified, str(root / n))
        ]
    assert seen == ["echo.py", "relay.mjs", "agents/a.md", "capability.yaml"]


async def test_one_odd_component_fails_its_capability_alone_and_the_others_start_again(tmp_path):
    make(tmp_path / "good", "good")
    bad = make(tmp_path / "bad", "bad", "other")
    async with Runtime(port=None, capability_dirs=[tmp_path]) as runtime:
        await runtime.discover()
        write(bad, skills__x__SKILL_md="---\nallowed-tools: true\n---\n")
        text = (bad / "capability.yaml").read_text()
        (bad / "capability.yaml").write_text(text + "mcp: {servers: {a: {command: x, when: [[b]]}}}\n")
        info = {c.name: c for c in (await runtime.reload()).capabilities}
        assert runtime.worker("echo").state is WorkerState.RUNNING
        assert runtime.worker("other").state is WorkerState.RUNNING
    problems = {c.name: c.error for c in info["bad"].components if c.error}
    assert "allowed-tools is a list of names" in problems["x"]
    assert "when must list declared flags" in problems["a"]


async def test_whatever_is_wrong_with_one_capability_the_others_start_again(tmp_path, monkeypatch):
    make(tmp_path / "good", "good")
    make(tmp_path / "bad", "bad", "other")
    async with Runtime(port=None, capability_dirs=[tmp_path]) as runtime:
        await runtime.discover()

        def broken(manifest):
            if manifest.name == "bad":
                raise RuntimeError("never thought of")
            return read_components(manifest)

        monkeypatch.setattr("dnworker.engine.capability.read_components", broken)
        info = {c.name: c for c in (await runtime.reload()).capabilities}
        assert runtime.worker("echo").state is WorkerState.RUNNING
        assert "never thought of" in info["bad"].components[0].error
        assert runtime.is_reloading is False


async def test_a_change_outside_every_capability_affects_the_set(tmp_path):
    async with Runtime(port=None, capability_dirs=[tmp_path]) as runtime:
        await runtime.load(make(tmp_path / "one", "one"))
        paths = [tmp_path / "one" / "deep" / "x.py", tmp_path / "new" / "capability.yaml"]
        assert affected(runtime, paths) == {"one", None}


# -- what is not a worker ------------------------------------------------------------------------------


def components_of(root, head=""):
    text = f"schema: 1\nname: demo\nversion: 0.1.0\ndescription: d\nworkers: {{w: {{path: w.py}}}}\n{head}"
    return read_components(parse_manifest(text, root))


def write(root: Path, **files):
    for name, text in files.items():
        path = root / name.replace("__", "/").replace("_md", ".md").replace("_py", ".py")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


@pytest.mark.clause("4.1 discovery")
def test_agents_and_skills_are_found_in_their_directories(tmp_path):
    write(
        tmp_path,
        agents__triage_md="---\ndescription: Sorts\nmodel: m-1\n---\nYou sort.\n",
        skills__greet__SKILL_md="---\nname: greet\ndescription: How\nallowed-tools: a, b\n---\n# Hi\n",
    )
    found = components_of(tmp_path)
    (agent,), (skill,) = found.agents, found.skills
    assert (agent.name, agent.model, agent.prompt) == ("triage", "m-1", "You sort.")
    assert (skill.qualified_id, skill.instructions, skill.allowed_tools) == ("demo:greet", "# Hi", ("a", "b"))


@pytest.mark.clause("4.1 discovery")
def test_an_empty_list_turns_a_sort_off_and_a_list_adds_to_its_directory(tmp_path):
    write(tmp_path, agents__a_md="A", more__b_md="B")
    assert components_of(tmp_path, "agents: []\n").agents == []
    assert [a.name for a in components_of(tmp_path, "agents: [more/b.md]\n").agents] == ["a", "b"]


@pytest.mark.clause("4.1 missing")
def test_a_broken_agent_is_an_error_entry_with_its_place_and_a_missing_one_degraded(tmp_path):
    write(tmp_path, agents__a_md="---\nname: [\n---\n")
    found = components_of(tmp_path, "agents: [agents/gone.md]\n")
    entries = {e.name: e for e in found.others}
    assert entries["a"].status == "error"
    assert "a.md:3:" in entries["a"].error or "a.md:2:" in entries["a"].error
    assert entries["gone"].status == "degraded"


def test_what_only_the_reference_runs_is_listed_and_says_so(tmp_path):
    write(tmp_path, tools__calc_py="", hooks__h_py="", tools____init___py="")
    found = {(e.kind, e.name): e for e in components_of(tmp_path).others}
    assert found["tool", "calc"].status == "degraded"
    assert "reference runtime" in found["hook", "h"].detail


@pytest.mark.clause("4.2 mcp")
def test_mcp_servers_come_from_the_file_and_inline_ones_win(tmp_path):
    (tmp_path / ".mcp.json").write_text(
        json.dumps({"mcpServers": {"a": {"command": "x"}, "b": {"url": "u", "when": ["f"]}}})
    )
    head = "mcp:\n  servers:\n    a: {url: 'http://h'}\n    c: {}\n    d: {command: c, auth: {type: oauth}}\n"
    found = components_of(tmp_path, head).mcp
    assert found["a"].transport == "streamable-http"
    problems = {name: server.problem for name, server in found.items()}
    assert problems["a"] is None
    assert "when has no effect in a file" in problems["b"]
    assert "needs a command or a url" in problems["c"]
    assert "auth is for those with a url" in problems["d"]


async def test_a_directory_that_is_put_in_the_place_of_another_is_watched_on(tmp_path):
    root = make(tmp_path / "one", "one")
    async with Runtime(port=None) as runtime:
        await runtime.load(root)
        reloaded = runtime.bus.subscribe(["capabilities.reloaded"])
        stop = asyncio.Event()
        watching = asyncio.create_task(watch(runtime, stop))
        for number in range(2):  # as an export does; the second is seen only if the first was followed
            exchanging = asyncio.create_task(keep_exchanging(tmp_path, root, number))
            async with asyncio.timeout(200):
                await anext(reloaded)
            exchanging.cancel()
        stop.set()
        await watching


def test_no_new_directory_is_taken_for_one_that_is_watched(tmp_path):
    watched = tmp_path / "watched"
    watched.mkdir()
    number = watched.stat().st_ino
    with held_open([watched]):
        watched.rmdir()
        for again in range(20):
            new = tmp_path / f"new-{again}"
            new.mkdir()
            assert new.stat().st_ino != number


async def keep_exchanging(place, root, number):
    """Put a changed copy in the place of a directory until somebody notices."""
    for again in range(1000):
        fresh = place / f"fresh-{number}-{again}"
        shutil.copytree(root, fresh)
        (fresh / "echo.py").write_text(ECHO + f"# {number} {again}\n")
        old = put_in_place(fresh, root)
        assert old is not None
        shutil.rmtree(old)
        await asyncio.sleep(1)
