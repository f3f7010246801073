"""What is kept of a worker over restarts, reloads and new objects of its name, and why it was started."""

from __future__ import annotations

import pytest

from dnworker import RestartPolicy, Runtime, VirtualClock, Worker, WorkerState
from dnworker.core.causes import because
from dnworker.workers import lives
from dnworker.workers.lives import Lives

from ..capabilities import make_capability

ECHO = 'from dnworker import Worker\nworker = Worker(name="echo")\n@worker.on_event("demo.a")\nasync def a(e, c): pass\n'
HEAD = "flags:\n  relay: {description: d, default: true}\n"


@pytest.fixture
async def runtime():
    async with Runtime(port=None) as started:
        yield started


async def load(runtime, root, text=ECHO):
    await runtime.load(make_capability(root, "echo: {path: echo.py, when: [relay]}", {"echo.py": text}, HEAD))
    return runtime.worker("echo")


def steps(worker):
    return [(str(one.state), one.reason) for one in worker.life.transitions if one.state != "starting"]


def without_times(found):
    return [
        (state, "Started in" if (reason or "").startswith("Started in") else reason)
        for state, reason in found
    ]


async def test_a_reload_makes_a_new_worker_that_has_the_steps_of_the_one_before(runtime, tmp_path):
    before = await load(runtime, tmp_path)
    await runtime.reload()
    after = runtime.worker("echo")
    assert after is not before
    assert without_times(steps(after)) == [
        ("loading", "Loaded"),
        ("running", "Started in"),
        ("stopping", "Reloaded"),
        ("stopped", "Reloaded"),
        ("loading", "Reloaded"),
        ("running", "Started in"),
    ]


async def test_a_flag_says_that_it_stopped_a_worker_and_that_it_started_it(runtime, tmp_path):
    worker = await load(runtime, tmp_path)
    await runtime.set_flag("demo", "relay", False)
    await runtime.set_flag("demo", "relay", True)
    assert [reason for _, reason in steps(worker)][2:5] == ["Flag relay is off"] * 3
    assert steps(worker)[4][0] == "gated_off"
    assert steps(worker)[5] == ("loading", "Flag relay is on")


async def test_a_restart_says_who_asked_for_it(runtime, tmp_path):
    worker = await load(runtime, tmp_path)
    with because("Restart by hand"):
        await worker.restart(force=True)
    assert ("loading", "Restart by hand") in steps(worker)
    await runtime.client().restart_worker("demo", "echo", force=True)
    assert ("stopping", "Restart by the API") in steps(worker)


async def test_what_a_handler_asks_for_is_told_as_its(runtime, tmp_path):
    worker, asker = await load(runtime, tmp_path), Worker("asker")

    @asker.on_event("demo.restart")
    async def ask(event, client):
        await worker.restart(force=True)

    with because("Added by hand"):  # which must not pass to what its handlers do
        await runtime.add(asker)
    await runtime.fire("demo.restart")
    assert ("loading", "notebook:asker.ask asked for it") in steps(worker)


async def test_a_process_that_is_started_again_says_after_what(tmp_path):
    async with Runtime(
        port=0, clock=VirtualClock(), restart=RestartPolicy(max_restarts=2, window=60)
    ) as served:
        fails = {"job.py": "import sys; sys.exit(3)"}
        await served.load(make_capability(tmp_path, "job: {command: PYTHON, args: [job.py]}", fails, HEAD))
        worker, states = served.worker("job"), served.bus.subscribe({"component.state_changed"})
        while worker.state is not WorkerState.ERROR:
            await anext(states)
        assert steps(worker)[-1] == ("error", "Exited with code 3")
        await served.advance(1)
        while ("loading", "Restart 1 of 2, 1 s after it failed") not in steps(worker):
            await anext(states)


async def test_each_text_of_a_file_is_a_version_and_the_same_text_is_the_same(runtime, tmp_path):
    worker = await load(runtime, tmp_path)
    await worker.restart(force=True)
    assert [one.number for one in worker.life.versions] == [1]
    (tmp_path / "echo.py").write_text(ECHO + "x = 1\n")
    with because("Restart by hand"):
        await worker.restart(force=True)
    assert [(one.number, one.name, one.why) for one in worker.life.versions] == [
        (1, "echo.py", "Loaded"),
        (2, "echo.py", "Restart by hand"),
    ]
    assert worker.life.versions[-1].text == ECHO + "x = 1\n"


def test_the_texts_of_versions_are_bounded_and_the_newest_stays(monkeypatch, tmp_path):
    monkeypatch.setattr(lives, "CODE_KEPT", 1_000)
    kept, file = Lives(), tmp_path / "w.py"
    life = kept.of("a:w")
    for number in range(5):
        file.write_text(str(number) * 400)
        kept.note_code(life, file, None)
    assert [version.text is None for version in life.versions] == [True, True, True, False, False]
    assert kept._bytes == 800


def test_a_file_that_is_too_large_is_a_version_without_a_text(monkeypatch, tmp_path):
    monkeypatch.setattr(lives, "LONGEST_CODE", 10)
    kept, file = Lives(), tmp_path / "w.py"
    file.write_text("x" * 11)
    kept.note_code(kept.of("a:w"), file, None)
    assert [version.text for version in kept.of("a:w").versions] == [None]


def test_a_file_that_is_no_text_is_a_version_without_one(tmp_path):
    kept, file = Lives(), tmp_path / "program"
    file.write_bytes(b"\x7fELF\0\0")
    kept.note_code(kept.of("a:w"), file, None)
    assert [version.text for version in kept.of("a:w").versions] == [None]


def test_a_worker_that_has_another_name_keeps_its_life_and_no_bytes_are_counted_twice(tmp_path):
    kept, file = Lives(), tmp_path / "w.py"
    file.write_text("x = 1")
    life, other = kept.of("a:w"), kept.of("b:w")
    kept.note_code(other, file, None)
    kept.note_code(life, file, None)
    kept.keep("b:w", life)
    assert kept.of("b:w") is life
    assert kept._bytes == 5


def test_the_life_of_a_worker_whose_capability_is_renamed_is_found_under_its_new_name():
    kept = Lives()
    life, other = kept.of("a:w"), kept.of("ab:w")
    kept.rename("a", "b")
    assert kept.of("b:w") is life
    assert kept.of("ab:w") is other
    assert len(kept._lives) == 2


def test_the_lives_of_many_names_are_bounded_and_who_started_last_is_kept(monkeypatch):
    monkeypatch.setattr(lives, "WORKERS_KEPT", 2)
    kept = Lives()
    first = kept.of("a")
    kept.of("b")
    kept.keep("a", first)
    kept.of("c")
    assert kept.of("a") is first
    assert len(kept._lives) == 2


async def test_failed_calls_are_counted_by_time(runtime):
    worker = Worker("w")

    @worker.on_event("demo.bad")
    async def bad(event, client):
        raise ValueError("no")

    managed = await runtime.add(worker)
    await runtime.fire("demo.bad")
    await runtime.fire("demo.bad")
    assert sum(count for _, count in managed.life.failures) == 2


async def test_how_many_events_wait_for_a_worker_is_known(runtime):
    worker = Worker("w")

    @worker.on_event("demo.a")
    async def handle(event, client): ...

    managed = await runtime.add(worker)
    for _ in range(3):
        runtime.publish("demo.a")
    assert managed.waiting == 3
    await runtime.settle()
    assert managed.waiting == 0


def test_texts_that_are_all_the_newest_of_their_workers_are_bounded_too(monkeypatch, tmp_path):
    monkeypatch.setattr(lives, "CODE_KEPT", 1_000)
    kept, file = Lives(), tmp_path / "w.py"
    for number in range(5):
        file.write_text(str(number) * 400)
        kept.note_code(kept.of(f"a:w{number}"), file, None)
    file.write_text("3" * 400)
    kept.note_code(kept.of("a:w3"), file, None)  # it starts again: it goes after the other
    file.write_text("5" * 400)
    kept.note_code(kept.of("a:w5"), file, None)
    texts = {name: kept.of(name).versions[-1].text is not None for name in map("a:w{}".format, range(6))}
    assert [name for name, has_text in texts.items() if has_text] == ["a:w3", "a:w5"]
    assert kept._bytes == 800


def test_the_replaced_text_goes_before_the_newest_of_others(monkeypatch, tmp_path):
    monkeypatch.setattr(lives, "CODE_KEPT", 1_000)
    kept, file = Lives(), tmp_path / "w.py"
    for worker, text in (("a:old", "0"), ("a:new", "1"), ("a:new", "2")):
        file.write_text(text * 400)
        kept.note_code(kept.of(worker), file, None)
    assert [one.text is None for one in kept.of("a:old").versions] == [False]
    assert [one.text is None for one in kept.of("a:new").versions] == [True, False]


def test_no_life_is_walked_through_when_there_are_many(monkeypatch, tmp_path):
    monkeypatch.setattr(lives, "CODE_KEPT", 1_000)
    kept, file = Lives(), tmp_path / "w.py"
    life = kept.of("a:w")
    monkeypatch.setattr(kept, "_lives", None)
    for number in range(5):
        file.write_text(str(number) * 400)
        kept.note_code(life, file, None)
    assert kept._bytes == 800


@pytest.mark.parametrize(
    "argument", ["secrets.env", "key.pem", "data.json", "link.py", "{outside}/out.py", "../out.py"]
)
async def test_a_file_that_is_no_source_of_the_capability_is_never_kept_as_code(tmp_path, argument):
    root, outside = tmp_path / "cap", tmp_path / "elsewhere"
    outside.mkdir()
    for file in (outside / "out.py", tmp_path / "out.py"):
        file.write_text("token = 'hunter2'")
    argument = argument.format(outside=outside)
    files = {"secrets.env": "A=hunter2", "key.pem": "hunter2", "data.json": "{}"}
    root = make_capability(root, f"job: {{command: PYTHON, args: ['-c', 'pass', '{argument}']}}", files)
    (root / "link.py").symlink_to("secrets.env")
    async with Runtime(port=0) as served:
        await served.load(root)
        assert [*served.worker("job").life.versions] == []


async def test_the_source_among_the_arguments_is_kept_as_code_beside_a_file_of_settings(tmp_path):
    files = {"config.json": "{}", "job.py": "pass"}
    root = make_capability(tmp_path, "job: {command: PYTHON, args: ['job.py', 'config.json']}", files)
    async with Runtime(port=0) as served:
        await served.load(root)
        assert [one.name for one in served.worker("job").life.versions] == ["job.py"]
