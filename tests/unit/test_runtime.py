"""The runtime: workers added and loaded, fire, settle, traces, reload."""

from __future__ import annotations

import asyncio

import httpx
import pytest

from dnworker import HandlerFailed, ManifestError, Runtime, Worker, WorkerState
from dnworker.core.clock import turn_loop
from dnworker.core.errors import NotFound
from dnworker.core.samples import TEMPLATES

from .capabilities import ECHO, make_capability


@pytest.fixture
async def bridge(runtime):
    """A worker that answers turns, and fails on one kind."""
    worker = Worker("bridge")

    @worker.on_event("turn.completed")
    async def on_turn(event, client):
        await client.publish("demo.answer", {"turn": event.payload["turn_id"]})

    @worker.on_event("demo.answer")
    async def on_answer(event, client):
        await client.notify("answered")

    @worker.on_event("demo.broken")
    async def fails(event, client):
        raise KeyError("ws")

    await runtime.add(worker)
    return worker


async def test_a_trace_holds_everything_the_event_caused(runtime, bridge):
    trace = await runtime.fire("turn.completed", {"turn_id": "t1"}, session_id="s1")
    assert [e.kind for e in trace.events()] == ["turn.completed", "demo.answer", "notify"]
    (invocation,) = trace.invocations
    assert (invocation.worker, invocation.handler, invocation.outcome) == ("notebook:bridge", "on_turn", "ok")
    assert (trace.ok, trace.event.session_id, trace.event.terminal) == (True, "s1", True)


async def test_a_failure_is_in_the_trace_with_its_place_and_settle_raises_it(runtime, bridge):
    trace = await runtime.fire("demo.broken")
    (error,) = trace.errors
    assert (trace.ok, error.type, error.frames[-1].source) == (False, "KeyError", 'raise KeyError("ws")')
    with pytest.raises(
        HandlerFailed, match=r"notebook:bridge.fails \(event\): KeyError: 'ws' \(.*test_runtime.py, line"
    ):
        await runtime.settle()
    await runtime.settle()


async def test_a_trace_as_text_shows_the_tree(runtime, bridge):
    text = str(await runtime.fire("demo.broken"))
    assert "demo.broken  #" in text
    assert "x notebook:bridge.fails  error" in text
    assert "KeyError: 'ws'" in text


async def test_a_trace_that_takes_too_long_says_so(runtime):
    worker = Worker("slow")

    @worker.on_event("a")
    async def never(event, client):
        await asyncio.Event().wait()

    await runtime.add(worker)
    trace = await runtime.fire("a", timeout=0)
    assert (trace.timed_out, trace.ok) == (True, False)
    with pytest.raises(TimeoutError, match=r"notebook:slow\.never"):
        await runtime.settle(timeout=0.01)


@pytest.mark.parametrize("kind", sorted(TEMPLATES))
async def test_every_known_kind_has_a_payload_to_fire(runtime, kind):
    trace = await runtime.fire(kind)
    assert trace.event.payload == TEMPLATES[kind]


@pytest.mark.clause("11.2")
async def test_session_events_carry_their_session_in_envelope_and_payload(runtime):
    trace = await runtime.fire("session.created", {"session_id": "callback-7"})
    assert trace.event.session_id == "callback-7"
    session = runtime.sessions.create("s9")
    created = runtime.history.events()[-1]
    assert (created.session_id, created.payload) == (session.session_id, {"session_id": "s9"})


async def test_virtual_time_moves_schedules(runtime):
    worker, runs = Worker("w"), []

    @worker.every(minutes=5)
    async def tick(client):
        runs.append(runtime.clock.now().minute)

    await runtime.add(worker)
    await runtime.advance(3600)
    assert runs == [*range(5, 60, 5), 0]


@pytest.mark.clause("1.1 state")
async def test_state_is_seeded_once_and_empty_after_a_restart(runtime):
    worker = Worker("w")
    worker.state["seed"] = 1

    @worker.on_startup
    async def start(client):
        worker.state["started"] = worker.state.get("started", 0) + 1

    managed = await runtime.add(worker)
    worker.state["later"] = 2
    await managed.restart(force=True)
    assert worker.state == {"seed": 1, "started": 1}


async def test_a_second_worker_of_one_name_is_refused(runtime):
    await runtime.add(Worker("w"))
    with pytest.raises(ValueError, match="there is a worker 'w' in 'notebook' already"):
        await runtime.add(Worker("w"))


async def test_an_unknown_worker_is_told_with_those_there_are(runtime, bridge):
    with pytest.raises(NotFound, match="no worker 'brigde'; there are: bridge"):
        runtime.worker("brigde")


@pytest.mark.clause("2.7 events")
async def test_component_changes_are_published_as_the_contract_lists_them(runtime):
    states = runtime.bus.subscribe(["component.state_changed"])
    worker = Worker("w")

    @worker.on_shutdown
    async def fails(client):
        raise ValueError("X")

    managed = await runtime.add(worker)
    await managed.stop()
    running, stopped = [(await anext(states)).payload for _ in range(2)]
    assert (running["status"], stopped["status"]) == ("ok", "stopped")
    assert stopped["error"].endswith("fails: X")


@pytest.mark.clause("14.3")
async def test_an_event_that_waits_for_a_startup_that_fails_is_settled(runtime):
    worker = Worker("w")

    @worker.on_startup
    async def start(client):
        await client.publish("a")
        await asyncio.sleep(0)
        raise ValueError("x")

    @worker.on_event("a")
    async def on_a(event, client): ...

    await runtime.add(worker)
    with pytest.raises(HandlerFailed):
        await runtime.settle()
    await runtime.settle()


async def test_what_history_keeps_is_bounded_after_a_burst(runtime):
    worker = Worker("w")

    @worker.on_event("a")
    async def on_a(event, client): ...

    await runtime.add(worker)
    for _ in range(25_000):
        runtime.publish("a")
    await runtime.settle(timeout=None)
    assert len(runtime.history._by_event) <= len(runtime.history._events) == 10_000


# -- capabilities from disk ----------------------------------------------------------------------------


async def test_an_in_process_capability_answers(runtime, tmp_path):
    await runtime.load(make_capability(tmp_path, "echo: {path: echo.py}", {"echo.py": ECHO}))
    trace = await runtime.fire("demo.ping", {"n": 1})
    assert [e.payload for e in trace.events()] == [{"n": 1}, {"echo": {"n": 1}}]


@pytest.mark.clause("4.5 gate")
async def test_a_gated_worker_is_never_imported_and_its_restart_is_refused(runtime, tmp_path):
    head = "flags:\n  relay-on: {description: the relay}\n"
    files = {"echo.py": "raise SystemExit('imported')"}
    await runtime.load(make_capability(tmp_path, "echo: {path: echo.py, when: [relay-on]}", files, head))
    worker = runtime.worker("echo")
    assert worker.state is WorkerState.GATED_OFF
    assert worker.component().detail == "Requires flag: relay-on"
    with pytest.raises(httpx.HTTPStatusError) as refused:
        await runtime.client().restart_worker("demo", "echo")
    assert refused.value.response.status_code == 409
    assert refused.value.response.json()["detail"]["reason"] == "gated_off"


async def test_a_flag_in_the_environment_opens_a_gate(runtime, tmp_path, monkeypatch):
    monkeypatch.setenv("DREADNODE_CAPABILITY_FLAG__DEMO__RELAY_ON", "on")
    head = "flags:\n  relay-on: {description: the relay}\n"
    await runtime.load(
        make_capability(tmp_path, "echo: {path: echo.py, when: [relay-on]}", {"echo.py": ECHO}, head)
    )
    assert runtime.worker("echo").state is WorkerState.RUNNING


@pytest.mark.parametrize(
    ("source", "error"),
    [
        (
            "import sys; sys.exit(3)",
            r"ended itself on import with SystemExit\(3\) \(.*echo.py, line 1\).*__main__",
        ),
        ("1 / 0", r"ZeroDivisionError: division by zero \(.*echo.py, line 1\)"),
        ("x = (", r"SyntaxError"),
        ("x = 1", r"no Worker at module level.*WRK-002"),
        (None, r"No such file"),
    ],
)
@pytest.mark.clause("13.2")
async def test_a_worker_file_that_fails_is_in_error_and_its_siblings_run(runtime, tmp_path, source, error):
    import re

    files = {"good.py": ECHO.replace('"echo"', '"good"')} | ({} if source is None else {"echo.py": source})
    await runtime.load(make_capability(tmp_path, "echo: {path: echo.py}\ngood: {path: good.py}", files))
    failed = runtime.worker("echo")
    assert failed.state is WorkerState.ERROR
    assert re.search(error, failed.error)
    assert runtime.worker("good").state is WorkerState.RUNNING


async def test_a_bad_gate_is_an_error_of_its_worker_alone(runtime, tmp_path):
    await runtime.load(make_capability(tmp_path, "echo: {path: echo.py, when: [nope]}", {"echo.py": ECHO}))
    assert "FLAG-012" in runtime.worker("echo").error


@pytest.mark.clause("13.1")
async def test_an_unset_variable_is_an_error_that_names_it(runtime, tmp_path):
    await runtime.load(make_capability(tmp_path, "echo: {command: PYTHON, args: ['${NO_SUCH_VAR}']}"))
    worker = runtime.worker("echo")
    assert worker.state is WorkerState.ERROR
    assert "worker 'demo:echo', args[0]: ${NO_SUCH_VAR} is not set" in worker.error


async def test_a_process_without_a_server_to_talk_to_says_what_to_do(runtime, tmp_path):
    await runtime.load(make_capability(tmp_path, "echo: {command: PYTHON}"))
    assert "Runtime(port=0)" in runtime.worker("echo").error


@pytest.mark.clause("4.8 reload")
async def test_a_reload_reads_everything_again_and_announces_it(runtime, tmp_path):
    make_capability(tmp_path, "echo: {path: echo.py}", {"echo.py": ECHO})
    await runtime.load(tmp_path)
    (tmp_path / "echo.py").write_text(ECHO.replace("demo.pong", "demo.pang"))
    await runtime.reload()
    trace = await runtime.fire("demo.ping")
    assert trace.events()[-1].kind == "demo.pang"
    assert any(e.kind == "capabilities.reloaded" for e in runtime.history.events())


async def test_a_manifest_that_broke_is_a_failed_capability_after_a_reload(runtime, tmp_path):
    make_capability(tmp_path, "echo: {path: echo.py}", {"echo.py": ECHO})
    await runtime.load(tmp_path)
    (tmp_path / "capability.yaml").write_text("name: demo\n")
    info = await runtime.reload()
    (component,) = info.capabilities[-1].components
    assert (component.kind, component.status) == ("capability", "error")
    assert "capability.yaml:1:1: field 'schema' is missing" in component.error


@pytest.mark.clause("11.9")
async def test_a_handler_may_reload_the_runtime_that_stops_it(runtime, tmp_path):
    source = ECHO.replace(
        'await client.publish("demo.pong", {"echo": event.payload})', "await client.reload_capabilities()"
    )
    await runtime.load(make_capability(tmp_path, "echo: {path: echo.py}", {"echo.py": source}))
    reloaded = runtime.bus.subscribe(["capabilities.reloaded"])
    await runtime.fire("demo.ping", wait=False)
    assert (await anext(reloaded)).payload == {"capability_count": 1}
    await turn_loop()
    assert runtime.worker("echo").state is WorkerState.RUNNING


async def test_one_capability_is_loaded_once(runtime, tmp_path):
    make_capability(tmp_path, "echo: {path: echo.py}", {"echo.py": ECHO})
    await runtime.load(tmp_path)
    with pytest.raises(ManifestError, match="'demo' is loaded already"):
        await runtime.load(tmp_path)


@pytest.mark.clause("4.2 checks")
async def test_checks_are_run_and_never_block_loading(runtime, tmp_path):
    head = "checks:\n- {name: good, command: 'true'}\n- {name: bad, command: 'echo why >&2; false'}\n"
    capability = await runtime.load(
        make_capability(tmp_path, "echo: {path: echo.py}", {"echo.py": ECHO}, head)
    )
    assert [(c.name, c.status, c.error) for c in capability.checks] == [
        ("good", "ok", None),
        ("bad", "error", "why"),
    ]


async def test_the_reference_import_path_finds_dnworker(runtime, tmp_path):
    source = ECHO.replace("from dnworker import", "from dreadnode.capabilities.worker import")
    await runtime.load(make_capability(tmp_path, "echo: {path: echo.py}", {"echo.py": source}))
    assert runtime.worker("echo").state is WorkerState.RUNNING


async def test_a_capability_that_was_renamed_is_found_by_its_new_name(runtime, tmp_path):
    make_capability(tmp_path, "echo: {path: echo.py}", {"echo.py": ECHO})
    await runtime.load(tmp_path)
    manifest = tmp_path / "capability.yaml"
    manifest.write_text(manifest.read_text().replace("name: demo", "name: renamed"))
    await runtime.reload()
    assert runtime.capabilities.find("renamed", "echo").detail()["state"] == "running"


# -- worker processes ----------------------------------------------------------------------------------


@pytest.fixture
async def served():
    async with Runtime(port=0) as started:
        yield started


@pytest.mark.clause("13.14")
async def test_a_worker_process_misses_nothing_published_since_its_spawn(served, tmp_path):
    root = make_capability(
        tmp_path, "echo: {command: PYTHON, args: ['${CAPABILITY_ROOT}/echo.py']}", {"echo.py": ECHO}
    )
    answers = served.bus.subscribe(["demo.pong"])
    await served.load(root)
    for n in range(50):
        served.publish("demo.ping", {"n": n})
    got = [(await anext(answers)).payload["echo"]["n"] for _ in range(50)]
    assert sorted(got) == list(range(50))


async def test_a_worker_process_that_raises_on_startup_is_in_error_with_its_output(served, tmp_path):
    source = ECHO.replace(
        "@worker.on_event",
        "@worker.on_startup\nasync def start(client):\n    raise KeyError('ws')\n\n@worker.on_event",
    )
    root = make_capability(tmp_path, "echo: {command: PYTHON, args: [echo.py]}", {"echo.py": source})
    states = served.bus.subscribe(["component.state_changed"])
    await served.load(root)
    while (change := await anext(states)).payload["status"] != "error":
        pass
    assert "exited with code 1\n\nWorker output:\n" in change.payload["error"]
    assert "raise KeyError('ws')" in change.payload["error"]


@pytest.mark.clause("3.2 layers")
@pytest.mark.clause("11.6")
async def test_the_environment_of_a_worker_process_is_the_contracts(served, tmp_path):
    source = """
    import json, os
    names = ("CAPABILITY_ROOT", "DREADNODE_RUNTIME_URL", "DREADNODE_RUNTIME_ID", "CAPABILITY_FLAG__DEMO__LIVE", "LEVEL")
    print(json.dumps([os.environ[n] for n in names] + [os.getcwd()]))
    """
    head = "flags:\n  live: {description: d, default: true}\n"
    entry = "echo: {command: PYTHON, args: [env.py], env: {LEVEL: '${CAPABILITY_ROOT}/x'}}"
    states = served.bus.subscribe(["component.state_changed"])
    await served.load(make_capability(tmp_path, entry, {"env.py": source}, head))
    while (await anext(states)).payload["status"] != "stopped":
        pass
    import json

    (line,) = served.worker("echo").detail()["process"]["recent_output"]
    root = str(tmp_path)
    assert json.loads(line) == [root, served.url, served.runtime_id, "1", f"{root}/x", root]


async def test_a_restarted_process_has_a_token_of_its_own_and_the_old_one_is_dead(served, tmp_path):
    source = "import os, signal; print(os.environ['DREADNODE_RUNTIME_TOKEN'], flush=True); signal.pause()"
    await served.load(make_capability(tmp_path, "echo: {command: PYTHON, args: [t.py]}", {"t.py": source}))
    worker = served.worker("echo")
    tokens = []
    for _ in range(2):
        while not (output := worker.detail()["process"]["recent_output"]):
            await asyncio.sleep(0)
        tokens.append(output[0])
        await worker.restart(force=True)
    assert tokens[0] != tokens[1]
    assert not served.tokens.accepts(tokens[0])


@pytest.mark.clause("11.5")
async def test_a_shutdown_error_of_a_worker_process_is_in_its_health(served, tmp_path):
    source = ECHO.replace(
        "@worker.on_event",
        "@worker.on_shutdown\nasync def end(client):\n    raise ValueError('X')\n\n@worker.on_event",
    )
    await served.load(
        make_capability(tmp_path, "echo: {command: PYTHON, args: [echo.py]}", {"echo.py": source})
    )
    answers = served.bus.subscribe(["demo.pong"])
    served.publish("demo.ping")
    await anext(answers)
    worker = served.worker("echo")
    await worker.stop()
    assert (worker.state, worker.error) == (WorkerState.STOPPED, "shutdown errors: end: X")


async def test_the_output_of_a_process_is_not_that_of_the_handler_that_restarted_it(served, tmp_path):
    source = "import signal; print('mine', flush=True); signal.pause()"
    await served.load(make_capability(tmp_path, "relay: {command: PYTHON, args: [r.py]}", {"r.py": source}))
    await served.worker("relay").stop()
    worker = Worker("w")

    @worker.on_event("restart")
    async def restart(event, client):
        await client.restart_worker("demo", "relay")

    await served.add(worker)
    trace = await served.fire("restart")
    while not served.worker("relay").detail()["process"]["recent_output"]:
        await asyncio.sleep(0)
    assert [line.text for line in trace.invocations[0].logs] == []


async def test_a_worker_tells_the_way_it_took_and_when(runtime):
    worker = Worker("walker")
    managed = await runtime.add(worker)
    await managed.stop()
    assert [str(move.state) for move in managed.transitions] == [
        "loading",
        "starting",
        "running",
        "stopping",
        "stopped",
    ]
    times = [move.at for move in managed.transitions]
    assert times == sorted(times)
