"""What `%capability load`, `reload`, `unload` and `flag` do in a runtime, and what they say."""

from __future__ import annotations

from pathlib import Path

import pytest

from dnworker import Runtime, Worker
from dnworker.capability.manifest import parse_manifest
from dnworker.core.errors import UsageError, WorkerFailed
from dnworker_jupyter.live.workers import LiveWorkers
from dnworker_jupyter.magics.loaded import (
    Load,
    Reload,
    SetFlag,
    Unload,
    run_flag,
    run_load,
    run_reload,
    run_unload,
)

from ..capabilities import ECHO, make_capability, make_named

FLAG = "flags:\n  relay: {description: gate}\n"


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    (tmp_path / "home").mkdir()
    return tmp_path / "home"


async def declare(runtime: Runtime, root: Path, name: str = "mine", more: str = "") -> None:
    text = f"name: {name}\nversion: 0.1.0\ndescription: d\n{more}"
    await runtime.declare(parse_manifest(text, root, is_head=True))


def failing() -> Worker:
    worker = Worker("echo")

    @worker.on_startup
    async def begin(client):
        if worker.state.get("fails"):
            raise RuntimeError("no more")

    return worker


async def test_a_capability_without_workers_is_loaded(runtime, tmp_path):
    (tmp_path / "c" / "agents").mkdir(parents=True)
    (tmp_path / "c" / "agents" / "a.md").write_text("---\nname: a\n---\n")
    (tmp_path / "c" / "capability.yaml").write_text(
        "schema: 1\nname: quiet\nversion: 0.1.0\ndescription: d\n"
    )
    shown = str(await run_load(runtime, Load(tmp_path / "c")))
    assert shown == f"capability quiet 0.1.0 is loaded from {tmp_path / 'c'}\nit has no workers"


async def test_the_file_of_a_manifest_is_refused_with_the_directory_to_name(runtime, tmp_path):
    root = make_named(tmp_path / "c", "demo")
    with pytest.raises(UsageError, match=f"is a file; name the directory .*: %capability load {root}$"):
        await run_load(runtime, Load(root / "capability.yaml"))


async def test_a_directory_whose_name_changed_since_it_was_loaded_is_not_loaded_twice(runtime, tmp_path):
    root = make_named(tmp_path / "c", "demo")
    await run_load(runtime, Load(root))
    manifest = root / "capability.yaml"
    manifest.write_text(manifest.read_text().replace("name: demo", "name: renamed"))
    with pytest.raises(UsageError, match="'demo' is loaded already, .*: %capability reload demo; or"):
        await run_load(runtime, Load(root))
    assert "capability renamed 0.1.0, which was demo, is read again" in str(
        await run_reload(runtime, LiveWorkers(), Reload("demo"))
    )


async def test_another_directory_of_its_name_waits_for_the_end_of_the_first(runtime, tmp_path):
    await run_load(runtime, Load(make_named(tmp_path / "one", "demo")))
    with pytest.raises(UsageError, match=r"from .*one; end that one first: %capability unload demo"):
        await run_load(runtime, Load(make_named(tmp_path / "two", "demo")))


async def test_a_reload_never_takes_the_name_of_another(runtime, tmp_path):
    await declare(runtime, tmp_path)
    own = await runtime.add(Worker("w"))
    root = make_named(tmp_path / "c", "demo")
    await run_load(runtime, Load(root))
    manifest = root / "capability.yaml"
    manifest.write_text(manifest.read_text().replace("name: demo", "name: mine"))
    with pytest.raises(UsageError, match="there is another capability 'mine' already"):
        await run_reload(runtime, LiveWorkers(), Reload("demo"))
    assert runtime.worker("mine:w") is own


async def test_an_unloaded_capability_leaves_its_sessions_and_says_so(runtime, tmp_path):
    await run_load(runtime, Load(make_named(tmp_path / "c", "demo")))
    await runtime.client().create_session(capability="demo", session_id="s1")
    shown = str(await run_unload(runtime, LiveWorkers(), Unload("demo")))
    assert shown.splitlines() == [
        "capability demo is unloaded; ended: echo",
        "its sessions stay, without its agents: s1",
    ]


async def test_a_worker_that_does_not_come_back_is_an_error(runtime, tmp_path):
    own = await runtime.add(failing())
    await run_load(runtime, Load(make_named(tmp_path / "c", "demo"), replace=True))
    own.definition = own.definition.__class__("echo", problem="it broke meanwhile", when=("gone",))
    with pytest.raises(WorkerFailed, match="worker 'echo' is in state error"):
        await run_unload(runtime, LiveWorkers(), Unload("demo"))


async def test_workers_that_were_added_elsewhere_are_removed_one_by_one(runtime):
    await runtime.add(Worker("w"), capability="other")
    with pytest.raises(
        UsageError, match="'other' holds workers that were added to the runtime; remove those"
    ):
        await run_unload(runtime, LiveWorkers(), Unload("other"))


# -- flags ---------------------------------------------------------------------------------------------


async def test_a_flag_of_a_loaded_capability_is_named_with_it_and_kept(runtime, tmp_path):
    root = make_capability(tmp_path / "c", "echo: {path: echo.py, when: [relay]}", {"echo.py": ECHO}, FLAG)
    await runtime.load(root)
    await declare(runtime, tmp_path, more=FLAG)
    shown = str(await run_flag(runtime, SetFlag(None, None)))
    assert [line.split()[0] for line in shown.splitlines()] == ["flag", "demo.relay", "relay"]
    assert str(await run_flag(runtime, SetFlag("demo.relay", "on"))).splitlines() == [
        "demo.relay is on (kept for this user)",
        "echo is running",
    ]
    assert "mine" not in str(await run_flag(runtime, SetFlag("relay", None)))
    assert str(await run_flag(runtime, SetFlag("mine.relay", "on"))) == "mine.relay is on (set here)"


async def test_a_flag_that_cannot_be_kept_is_an_error_that_says_why(runtime, tmp_path, home):
    await runtime.load(make_capability(tmp_path / "c", "echo: {path: echo.py}", {"echo.py": ECHO}, FLAG))
    (home / ".dreadnode").mkdir()
    (home / ".dreadnode" / "local-capability-state.json").write_text("{")
    with pytest.raises(UsageError, match=r"flag 'demo.relay' could not be kept: .*mend it or move it away"):
        await run_flag(runtime, SetFlag("demo.relay", "on"))


async def test_a_worker_that_a_flag_lets_fail_is_an_error(runtime, tmp_path):
    await declare(runtime, tmp_path, more=FLAG)
    worker = failing()
    worker.state["fails"] = True
    await runtime.add(worker, when=["relay"])
    with pytest.raises(WorkerFailed, match=r"relay is on \(set here\)\necho is error\nworker 'echo' is in"):
        await run_flag(runtime, SetFlag("relay", "on"))


async def test_without_flags_it_says_where_to_declare_them(runtime):
    assert "declare them under flags: in a %%capability cell" in str(
        await run_flag(runtime, SetFlag(None, None))
    )
    with pytest.raises(UsageError, match="no flag 'x' is declared; there are: none; declare it under flags:"):
        await run_flag(runtime, SetFlag("x", "on"))


# -- what the notebook runs too ------------------------------------------------------------------------


async def test_what_runs_no_more_is_set_aside_without_a_question(runtime, tmp_path):
    await declare(runtime, tmp_path, "demo")
    shown = str(await run_load(runtime, Load(make_named(tmp_path / "one", "demo"))))
    assert "set aside: capability demo of this notebook; %capability unload demo brings it back" in shown
    await run_unload(runtime, LiveWorkers(), Unload("demo"))
    await (await runtime.add(Worker("echo"))).stop()
    shown = str(await run_load(runtime, Load(make_named(tmp_path / "two", "other"))))
    assert "set aside: worker echo of this notebook; %capability unload other brings it back" in shown


async def test_what_waits_for_its_gate_counts_as_running(runtime, tmp_path):
    await declare(runtime, tmp_path, more=FLAG)
    await runtime.add(Worker("echo"), when=["relay"])
    with pytest.raises(UsageError, match="every event would be handled twice"):
        await run_load(runtime, Load(make_named(tmp_path / "c", "demo")))


async def test_one_of_the_own_name_never_runs_beside(runtime, tmp_path):
    await declare(runtime, tmp_path, "demo")
    await runtime.add(Worker("echo"))
    with pytest.raises(UsageError, match="Run the loaded one in its place: %capability load .* --replace"):
        await run_load(runtime, Load(make_named(tmp_path / "c", "demo"), beside=True))


async def test_what_the_notebook_does_not_run_is_just_loaded(runtime, tmp_path):
    await declare(runtime, tmp_path)
    own = await runtime.add(Worker("mine"))
    shown = str(await run_load(runtime, Load(make_named(tmp_path / "c", "demo"))))
    assert "aside" not in shown
    assert own.restarts == 0
