"""The capabilities of a runtime: which are found, flags that are kept, one that is read again."""

from __future__ import annotations

import json

import pytest

from dnworker import Runtime, WorkerState
from dnworker.capability.components import read_components
from dnworker.capability.flags import is_enabled, read_persisted, write_persisted
from dnworker.core.errors import NotFound

from ..capabilities import ECHO, make_capability, make_named

FLAG = "flags:\n  relay: {description: gate}\n"


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    (tmp_path / "home").mkdir()
    return tmp_path / "home"


@pytest.mark.clause("4.6 order")
async def test_the_first_capability_of_a_name_wins(tmp_path):
    make_named(tmp_path / "one" / "x", "same", version="0.1.0")
    make_named(tmp_path / "two" / "x", "same", version="0.2.0")
    make_named(tmp_path / "two" / "y", "other")
    async with Runtime(port=None, capability_dirs=[tmp_path / "one", tmp_path / "two"]) as runtime:
        await runtime.discover()
        found = {c.name: c.version for c in runtime.info().capabilities}
    assert found == {"same": "0.1.0", "other": "0.1.0"}


@pytest.mark.clause("4.3 failed")
async def test_a_capability_that_fails_is_listed_under_its_directory_and_fails_no_other(tmp_path):
    make_named(tmp_path / "good", "good")
    (tmp_path / "bad").mkdir()
    (tmp_path / "bad" / "capability.yaml").write_text("schema: 1\nname: BAD\n")
    async with Runtime(port=None, capability_dirs=[tmp_path]) as runtime:
        await runtime.discover()
        info = {c.name: c for c in runtime.info().capabilities}
        assert runtime.worker("echo").state is WorkerState.RUNNING
        with pytest.raises(NotFound):
            runtime.capabilities.find("bad", "echo")
    (entry,) = info["bad"].components
    assert (entry.kind, entry.status) == ("capability", "error")
    assert "CAP-VALID-002" in entry.error
    assert (info["bad"].version, info["bad"].flags) == (None, [])


@pytest.mark.clause("4.5 kept")
async def test_a_disabled_capability_is_kept_out(tmp_path, home):
    make_named(tmp_path / "caps" / "demo", "demo")
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
    one, two = make_named(tmp_path / "one", "one"), make_named(tmp_path / "two", "two", "other")
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
    first = make_named(tmp_path / "first", "first")
    async with Runtime(port=None, capability_dirs=[tmp_path]) as runtime:
        await runtime.discover()
        make_named(tmp_path / "second", "second")
        (first / "capability.yaml").unlink()
        await runtime.reload()
        assert [c.name for c in runtime.info().capabilities] == ["second"]


async def test_a_manifest_broken_since_is_told_and_mended_by_the_next_reload(tmp_path):
    root = make_named(tmp_path / "one", "one")
    good = (root / "capability.yaml").read_text()
    async with Runtime(port=None) as runtime:
        await runtime.load(root)
        (root / "capability.yaml").write_text("schema: 1\n")
        info = await runtime.reload("one")
        assert runtime.capabilities.reload_error == "reload_failed"
        assert info.capabilities[0].components[0].kind == "capability"
        (root / "capability.yaml").write_text(good)
        await runtime.reload("one")
        assert runtime.capabilities.reload_error is None
        assert runtime.worker("echo").state is WorkerState.RUNNING


async def test_one_odd_component_fails_its_capability_alone_and_the_others_start_again(tmp_path):
    make_named(tmp_path / "good", "good")
    bad = make_named(tmp_path / "bad", "bad", "other")
    async with Runtime(port=None, capability_dirs=[tmp_path]) as runtime:
        await runtime.discover()
        (bad / "skills" / "x").mkdir(parents=True)
        (bad / "skills" / "x" / "SKILL.md").write_text(
            "---\nname: x\ndescription: d\nallowed-tools: true\n---\nText\n"
        )
        text = (bad / "capability.yaml").read_text()
        (bad / "capability.yaml").write_text(text + "mcp: {servers: {a: {command: x, when: [[b]]}}}\n")
        info = {c.name: c for c in (await runtime.reload()).capabilities}
        assert runtime.worker("echo").state is WorkerState.RUNNING
        assert runtime.worker("other").state is WorkerState.RUNNING
    problems = {c.name: c.error for c in info["bad"].components if c.error}
    assert "allowed-tools is a list of names" in problems["x"]
    assert "when must list declared flags" in problems["a"]


async def test_whatever_is_wrong_with_one_capability_the_others_start_again(tmp_path, monkeypatch):
    make_named(tmp_path / "good", "good")
    make_named(tmp_path / "bad", "bad", "other")
    async with Runtime(port=None, capability_dirs=[tmp_path]) as runtime:
        await runtime.discover()

        def broken(manifest):
            if manifest.name == "bad":
                raise RuntimeError("never thought of")
            return read_components(manifest)

        monkeypatch.setattr("dnworker.capability.components.read_components", broken)
        info = {c.name: c for c in (await runtime.reload()).capabilities}
        assert runtime.worker("echo").state is WorkerState.RUNNING
        assert "never thought of" in info["bad"].components[0].error
        assert runtime.reloads.is_running is False


async def test_a_runtime_reads_the_helpers_of_its_own_directory_whatever_another_has_loaded_before(tmp_path):
    source = (
        "import helper\nfrom dnworker import Worker\nworker = Worker()\nworker.state['v'] = helper.VALUE\n"
    )
    for place, value in (("one", 1), ("two", 2), ("two", 3)):
        files = {"w.py": source, "helper.py": f"VALUE = {value}\n"}
        root = make_capability(tmp_path / place, "w: {path: w.py}", files)
        async with Runtime(port=None) as runtime:
            await runtime.load(root)
            (worker,) = runtime.workers()
            assert worker.error is None
            assert worker.worker.state["v"] == value


@pytest.mark.parametrize("only", ["demo", None])
async def test_a_link_in_a_searched_directory_is_followed_by_each_reload(tmp_path, only):
    for version in ("0.1.0", "0.2.0", "0.3.0"):
        make_named(tmp_path / "releases" / version, "demo", version=version)
    link = tmp_path / "caps" / "demo"
    link.parent.mkdir()
    link.symlink_to(tmp_path / "releases" / "0.1.0")
    async with Runtime(port=None, capability_dirs=[link.parent]) as runtime:
        await runtime.discover()
        for version in ("0.2.0", "0.3.0", "0.1.0"):
            link.unlink()
            link.symlink_to(tmp_path / "releases" / version)
            await runtime.reload(only)
            (found,) = (one for one in runtime.capabilities.all() if not one.live)
            assert (found.manifest.version, found.failure) == (version, None)
        link.unlink()
        await runtime.reload()
        assert not [one for one in runtime.capabilities.all() if not one.live]
