"""The capability of a notebook is one: its name, agents, flags and checks count live, and it is loaded once."""

from __future__ import annotations

import shutil
import time
from pathlib import Path

import pytest

from .session import KernelSession

HEAD = "%%capability\nname: bridge\nversion: 0.1.0\ndescription: d\n"
GATED = HEAD + "flags: {relay-enabled: {description: whether it relays}}\n"
TRIAGE = "---\nname: triage\ndescription: looks first\n---\nSort it."
REPLY = "%%agent triage\nasync def reply(turn):\n    return f'looked at {turn.message}'"
HEARD = "%%worker w\n@worker.on_event('a')\nasync def h(event, client):\n    print('heard')"

SEED = """%%worker bridge
@worker.on_event("capability.bridge.callback_received")
async def triage(event: EventEnvelope, client: RuntimeClient) -> None:
    session = await client.create_session(
        capability="bridge",
        agent="triage",
        session_id=f"callback-{event.payload['callback_id']}",  # idempotent
    )
    async for _ in client.stream_chat(
        session_id=session.session_id,
        message=f"Investigate callback: {event.payload}",
    ):
        pass  # discard stream — the turn runs to completion regardless
"""

HTTP = """
from dnworker import RuntimeClient
async with RuntimeClient(server_url=dn.runtime().url, auth_token=dn.runtime().tokens.main) as client:
    session = await client.create_session(capability="bridge", agent="triage", session_id="over-http")
    done = await client.run_turn(session_id=session.session_id, message="it")
    detail = await client.fetch_worker_detail("bridge", "w")
print(session.capability, done["response_text"], detail["qualified_name"], detail["state"])
"""


def write_agent(text: str = TRIAGE) -> None:
    Path("agents").mkdir(exist_ok=True)
    Path("agents/triage.md").write_text(text)


def count(kernel: KernelSession) -> str:
    """Return the workers that one event reaches, of which none may be reached twice."""
    kernel.run("trace = await dn.fire('a')")
    return kernel.run("print(sorted(i.worker for i in trace.invocations))").text.strip()


# -- its name ------------------------------------------------------------------------------------------


def test_the_example_of_the_specification_works_as_written(kernel):
    assert kernel.run(HEAD).status == "ok"
    assert kernel.run(SEED).status == "ok"
    assert kernel.run(REPLY).status == "ok"
    answer = kernel.run("%fire capability.bridge.callback_received callback_id=c1")
    assert "+ bridge:bridge.triage  ok" in answer.text
    done = kernel.run(
        "session = dn.runtime().sessions.get('callback-c1')\n"
        "print(session.capability, session.agent, session.messages[-1].content)"
    )
    assert done.text.strip() == "bridge triage looked at Investigate callback: {'callback_id': 'c1'}"


def test_a_client_over_http_finds_its_agent_and_its_worker(kernel):
    write_agent()
    kernel.run(HEAD)
    kernel.run(HEARD)
    kernel.run("%%agent default\nasync def reply(turn):\n    return f'{turn.agent} looked at {turn.message}'")
    assert kernel.run(HTTP).text.strip() == "bridge triage looked at it bridge:w running"


def test_a_head_below_its_workers_renames_them_and_says_so(kernel):
    kernel.run("%%worker w\nworker.state['n'] = 0\n@worker.on_event('a')\nasync def h(event, client):\n"
               "    worker.state['n'] += 1\n    print('n is', worker.state['n'])")  # fmt: skip
    kernel.run("%fire a")
    answer = kernel.run(HEAD, "head")
    assert answer.text.splitlines()[:2] == [
        "capability bridge 0.1.0",
        "  it was notebook: restarted under the new name, with empty state: w",
    ]
    fired = kernel.run("%fire a").text
    assert "bridge:w.h" in fired
    assert "n is 1" in fired
    assert "bridge:w  running" in kernel.run("%worker").text
    assert "n is 1" in kernel.run("%worker logs w").text
    (bundle,) = kernel.run("%panel w").displays
    assert "bridge:w  running" in bundle["text/plain"]
    assert kernel.run(HEAD, "head").text.strip() == "capability bridge 0.1.0"
    assert "n is 2" in kernel.run("%fire a").text
    renamed = kernel.run(HEAD.replace("bridge", "other"), "head").text
    assert "it was bridge: restarted under the new name, with empty state: w" in renamed
    assert count(kernel) == "['other:w']"


@pytest.mark.parametrize(
    ("head", "problem"),
    [
        ("%%capability\nname: Bridge\nversion: 0.1.0\ndescription: d", "name 'Bridge' is not allowed"),
        (
            HEAD + "workers: {x: {command: sh}}",
            "workers come from %%worker cells; take the workers: block out",
        ),
        (
            HEAD.replace("%%capability", "%%capability --dir nowhere"),
            "--dir nowhere: there is no such directory",
        ),
        (HEAD.replace("%%capability", "%%capability --dri x"), "did you mean --dir?"),
    ],
)
def test_a_wrong_head_changes_nothing(kernel, head, problem):
    kernel.run(HEARD)
    assert problem in kernel.run(head).error
    assert count(kernel) == "['notebook:w']"


def until_said(kernel: KernelSession, code: str, cell: str, text: str) -> None:
    """Run a cell, and return when what it leaves to do has printed `text`."""
    if text not in kernel.run(code, cell).text:
        kernel.until_stream(text)


def test_without_its_cell_the_notebook_has_no_name_any_more(kernel):
    kernel.run(HEAD, "head")
    kernel.run(HEARD, "w")
    kernel.run("1 / 0", "head")  # that it failed says nothing of the head
    assert count(kernel) == "['bridge:w']"
    told = (
        "no cell declares capability bridge any more: this is notebook again; restarted under the old name, with "
        "empty state: w"
    )
    until_said(kernel, "x = 1", "head", told)
    assert count(kernel) == "['notebook:w']"
    kernel.run("%capability export out/other --target dnworker")
    assert "name: other" in Path("out/other/capability.yaml").read_text()


def test_without_its_cell_an_earlier_one_counts_as_in_the_export(kernel):
    Path("other").mkdir()
    kernel.run(HEAD.replace("%%capability", "%%capability --dir other"), "first")
    kernel.run(HEAD.replace("bridge", "second"), "second")
    kernel.run(HEARD, "w")
    until_said(kernel, "x = 1", "second", "counts again: capability bridge 0.1.0")
    assert count(kernel) == "['bridge:w']"
    assert kernel.run("print(dn.runtime().capability().root.name)").text.strip() == "other"
    kernel.run("%capability export out/other --target dnworker")
    assert "name: bridge" in Path("out/other/capability.yaml").read_text()


def test_a_panel_of_one_worker_follows_its_new_name(kernel):
    kernel.run(HEARD)
    kernel.run("panel = dn.panel.__globals__['_active']().panels.show('notebook:w')")
    kernel.run(HEAD)
    assert kernel.run("panel.only").result["text/plain"] == "'bridge:w'"


def test_a_process_is_told_the_name(kernel):
    kernel.run(HEAD)
    kernel.run('%%worker prog --command sh\necho "I am of $DREADNODE_CAPABILITY_NAME"\nsleep 60')
    kernel.run(
        "import asyncio\nwhile not dn.runtime().logs.tail(1, 'bridge:prog'): await asyncio.sleep(0.02)"
    )
    assert "I am of bridge" in kernel.run("%worker logs prog").text


# -- what is beside it ---------------------------------------------------------------------------------


def test_agents_skills_and_checks_of_a_directory_are_loaded_with_it(kernel):
    write_agent()
    Path("other/skills/sort").mkdir(parents=True)
    Path("other/skills/sort/SKILL.md").write_text("---\nname: sort\ndescription: s\n---\nSort.")
    checked = HEAD + "checks: [{name: good, command: 'true'}, {name: bad, command: 'echo why >&2; false'}]"
    shown = kernel.run(checked).text.splitlines()
    assert shown[1:] == ["  agents of ./: triage", "  check good: ok", "  ! check bad: why"]
    elsewhere = kernel.run(HEAD.replace("%%capability", "%%capability --dir other")).text
    assert elsewhere.splitlines()[1:] == ["  skills of other: sort"]
    assert "bridge:sort" in kernel.run("print([s.qualified_id for s in dn.runtime().catalog.skills()])").text
    assert (
        "has no agent 'triage'"
        in kernel.run("await dn.runtime().client().create_session(capability='bridge', agent='triage')").error
    )


def test_a_cell_answers_for_an_agent_in_place_of_its_file_and_both_say_so(kernel):
    write_agent()
    kernel.run(HEAD)
    answer = kernel.run(REPLY)
    assert (
        answer.text.strip()
        == "agent triage answers by reply, in place of agents/ of bridge, which answers in a deploy"
    )
    assert "  ! agent triage: its %%agent cell answers here, its file in a deploy" in kernel.run(HEAD).text
    kernel.run(HEARD)
    assert kernel.run(HTTP).text.strip() == "bridge looked at it bridge:w running"


def test_an_export_and_its_check_call_it_the_same(kernel):
    kernel.run("%%capability\nname: bridge\nversion: 0.1.0\ndescription: d\n")
    kernel.run("%%worker w\n@worker.on_event('a')\nasync def h(event, client):\n"
               "    await client.notify(title='heard')\n"
               "    await client.create_session(capability='bridge', session_id='s')")  # fmt: skip
    kernel.run("%fire a")
    answer = kernel.run("%capability check --topology in-process --target dnworker")
    assert answer.status == "ok", answer.text
    assert "notebook and export do the same" in answer.text


def test_an_agent_of_the_notebooks_directory_answers_in_the_check_as_in_the_export(kernel):
    write_agent()
    kernel.run(HEAD)
    kernel.run("%%agent default\nasync def reply(turn):\n    return 'looked'")
    kernel.run(SEED)
    kernel.run("%fire capability.bridge.callback_received callback_id=c1")
    options = "--topology in-process --target dnworker"
    green = kernel.run(f"%capability check out/bridge {options}")
    assert green.status == "ok", green.text
    assert "notebook and export do the same" in green.text
    assert kernel.run(f"%capability export out/bridge {options}").status == "ok"
    assert Path("out/bridge/agents/triage.md").read_bytes() == Path("agents/triage.md").read_bytes()


# -- flags ---------------------------------------------------------------------------------------------


def test_a_flag_is_shown_set_and_gates_workers(kernel):
    kernel.run(GATED)
    kernel.run(HEARD.replace("%%worker w", "%%worker w --when relay-enabled"))
    assert "relay-enabled  off    default  w      whether it relays" in kernel.run("%capability flag").text
    assert count(kernel) == "[]"
    assert kernel.run("%capability flag relay-enabled on").text.splitlines() == [
        "relay-enabled is on (set here)",
        "w is running",
    ]
    assert count(kernel) == "['bridge:w']"
    assert "w is gated_off" in kernel.run("%capability flag relay-enabled off").text
    assert kernel.complete("%capability flag r") == ["relay-enabled"]
    assert kernel.complete("%capability flag relay-enabled o") == ["off", "on"]
    assert "no flag 'relay' is declared; there are: relay-enabled; did you mean relay-enabled?" in (
        kernel.run("%capability flag relay on").error
    )
    assert "takes on or off, not 'maybe'" in kernel.run("%capability flag relay-enabled maybe").error


def test_the_environment_counts_more_than_what_is_set_here_and_is_named(bare_kernel):
    bare_kernel.run("import os; os.environ['DREADNODE_CAPABILITY_FLAG__BRIDGE__RELAY_ENABLED'] = 'on'")
    bare_kernel.run("%load_ext dnworker")
    bare_kernel.run(GATED)
    told = bare_kernel.run("%capability flag relay-enabled off").text
    assert told.strip() == (
        "relay-enabled is on (environment variable DREADNODE_CAPABILITY_FLAG__BRIDGE__RELAY_ENABLED); "
        "to turn it off, change that: it counts more than what is set here"
    )


def test_a_head_that_takes_a_flag_away_says_who_waited_for_it(kernel):
    kernel.run(GATED)
    kernel.run(HEARD.replace("%%worker w", "%%worker w --when relay-enabled"))
    assert "worker 'w' is in state error: worker 'w': when names undeclared flag relay-enabled" in (
        kernel.run(HEAD).error
    )
    assert "  w is gated_off; it needs one of these flags on: relay-enabled" in kernel.run(GATED).text


# -- load and unload -----------------------------------------------------------------------------------


@pytest.fixture
def exported(kernel):
    """A notebook whose export, in out/bridge, has the one worker that it runs."""
    kernel.run(HEAD, "head")
    kernel.run(HEARD, "w")
    answer = kernel.run("%capability export out/bridge --target dnworker --topology in-process")
    assert answer.status == "ok", answer.text
    return kernel


def test_its_own_export_is_not_run_twice(exported):
    assert exported.run("%capability load out/bridge").error == (
        "UsageError: out/bridge is capability 'bridge', and so is this notebook; cells run worker w of it. Run "
        "the loaded one in its place: %capability load out/bridge --replace; or write another name into the "
        "%%capability cell"
    )
    assert count(exported) == "['bridge:w']"


def test_its_export_runs_in_its_place_until_it_is_unloaded(exported):
    loaded = exported.run("%capability load out/bridge --replace").text
    assert "capability bridge 0.1.0 is loaded from out/bridge" in loaded
    assert "set aside: worker w of this notebook; %capability unload bridge brings it back" in loaded
    assert count(exported) == "['bridge:w']"
    assert "no generations" in exported.run("%worker rollback w").error
    for cell in (HEARD, "%%worker new\n", "w = dn.worker('w')\n@w.on_event('b')\nasync def b(e, c): pass"):
        assert "is set aside: capability 'bridge', loaded from" in exported.run(cell, "w").error
    assert "%capability unload bridge, then run this cell again" in exported.run(HEAD, "head").error
    assert count(exported) == "['bridge:w']"
    assert exported.complete("%capability unload ") == ["bridge"]
    unloaded = exported.run("%capability unload bridge").text
    assert unloaded.splitlines() == [
        "capability bridge is unloaded; ended: w",
        "of this notebook again: w is running",
    ]
    assert count(exported) == "['bridge:w']"
    assert "~ on_event a: h" in exported.run(HEARD.replace("heard", "anew"), "w").text
    assert "| anew" in exported.run("%fire a").text


def test_a_capability_with_a_worker_of_its_name_is_run_in_its_place_or_beside(exported):
    shutil.copytree("out/bridge", "out/twin")
    manifest = Path("out/twin/capability.yaml")
    manifest.write_text(manifest.read_text().replace("name: bridge", "name: twin"))
    told = exported.run("%capability load out/twin").error
    assert "out/twin has worker w, as cells of this notebook do: every event would be handled twice" in told
    assert "%capability load out/twin --replace; or both: %capability load out/twin --beside" in told
    assert count(exported) == "['bridge:w']"
    beside = exported.run("%capability load out/twin --beside").text
    assert "beside worker w of this notebook: every event is handled by both" in beside
    assert count(exported) == "['bridge:w', 'twin:w']"
    again = exported.run(HEARD.replace("heard", "anew"), "w").text
    assert "! twin:w, loaded from" in again
    assert "handles every event too; %capability unload twin ends it" in again
    exported.run("%capability unload twin")
    exported.run("%capability load out/twin --replace")
    assert count(exported) == "['twin:w']"
    assert "is set aside" in exported.run(HEARD, "w").error
    exported.run("%capability unload twin")
    assert count(exported) == "['bridge:w']"


def test_what_is_loaded_is_loaded_once_and_can_be_read_again(exported):
    exported.run("%worker remove w")
    exported.run(HEAD.replace("bridge", "mine"))
    assert exported.run("%capability load out/bridge").status == "ok"
    told = exported.run("%capability load out/bridge").error
    assert "capability 'bridge' is loaded already, from" in told
    assert "%capability reload bridge; or end it: %capability unload bridge" in told
    script = Path("out/bridge/workers/w.py")
    script.write_text(script.read_text().replace("heard", "anew"))
    assert exported.complete("%capability reload ") == ["bridge", "mine"]
    assert "capability bridge 0.1.0 is read again" in exported.run("%capability reload bridge").text
    assert "| anew" in exported.run("%fire a").text
    Path("out/bridge/capability.yaml").write_text("name: bridge")
    broken = exported.run("%capability reload bridge").error
    assert "field 'schema' is missing" in broken
    assert "mend it, then: %capability reload bridge" in broken
    assert exported.run("%capability unload bridge").status == "ok"
    assert count(exported) == "[]"


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ("unload", "%capability unload needs the capability's name; there are: none"),
        ("unload bridge", "capability 'bridge' is this notebook: its workers are made of cells. End one: "
         "%worker remove w; end all: %runtime stop"),
        ("unload brige", "no capability 'brige'; there are: none"),
        ("reload brige", "no capability 'brige'; there are: bridge; did you mean bridge?"),
        ("load out/bridge --replace --beside", "--replace and --beside exclude each other"),
        ("export out --replace", "%capability export does nothing with --replace"),
        ("load a b", "%capability load takes one word, not 'a' and 'b'"),
    ],
)  # fmt: skip
def test_a_line_that_cannot_be_followed_says_what_to_do(exported, line, problem):
    assert problem in exported.run(f"%capability {line}").error


# -- whatever else a notebook does ---------------------------------------------------------------------


def test_run_all_again_restarts_nothing(kernel):
    cells = {
        "head": GATED,
        "agent": REPLY,
        "w": "%%worker w\nworker.state.setdefault('n', 0)\n@worker.on_event('a')\nasync def h(event, client):\n"
        "    worker.state['n'] += 1\n    print('n is', worker.state['n'])",
    }  # fmt: skip
    for number in (1, 2):
        for key, cell in cells.items():
            assert kernel.run(cell, key).status == "ok"
        assert f"n is {number}" in kernel.run("%fire a").text
    kernel.run("%reload_ext dnworker")
    assert "n is 3" in kernel.run("%fire a").text
    assert count(kernel) == "['bridge:w']"


def test_a_worker_that_runs_as_a_process_is_renamed_too(kernel):
    kernel.run(
        HEARD.replace("print('heard')", "import os; print('of', os.environ['DREADNODE_CAPABILITY_NAME'])")
    )
    assert kernel.run("%worker topology w python").status == "ok"
    assert "restarted under the new name, with empty state: w" in kernel.run(HEAD).text
    answer = kernel.run("%fire a").text
    assert "bridge:w.h" in answer
    assert "of bridge" in answer


def test_programs_and_processes_are_set_aside_and_come_back(exported):
    exported.run("%%worker prog --command sh\necho once more\nsleep 60", "prog")
    exported.run("%worker topology w python")
    assert (
        "set aside: workers w, prog of this notebook"
        in exported.run("%capability load out/bridge --replace").text
    )
    assert "is set aside" in exported.run("%%worker prog --command sh\nsleep 60", "prog").error
    exported.run("x = 1", "prog")
    assert "is set aside" in exported.run("await dn.settle()").error
    unloaded = exported.run("%capability unload bridge").text
    assert "of this notebook again: w is running, prog is running" in unloaded
    assert count(exported) == "['bridge:w']"


def test_a_worker_that_fails_under_the_new_name_fails_the_cell(kernel):
    kernel.run(
        "%%worker w\n@worker.on_startup\nasync def begin(client):\n    if 'tried' in globals(): raise OSError('no more')\n"
        "    globals()['tried'] = True"
    )
    answer = kernel.run(HEAD)
    assert "it was notebook: restarted under the new name" in answer.error
    assert "worker 'w' is in state error: no more" in answer.error
    assert "bridge:w is error" in kernel.run("%worker w").text


def test_a_stopped_runtime_comes_back_and_is_renamed(kernel):
    kernel.run(HEARD)
    kernel.run("%runtime stop")
    assert "it was notebook: restarted under the new name" in kernel.run(HEAD).text
    kernel.run("%runtime stop")
    assert count(kernel) == "['bridge:w']"


def test_an_interrupted_head_goes_on(kernel):
    kernel.run("import asyncio\nfrom pathlib import Path\nheld = asyncio.Event()")
    kernel.run(
        HEARD
        + "\n@worker.on_shutdown\nasync def end(client):\n    Path('ending').touch()\n    await held.wait()"
    )
    began = kernel.begin(HEAD)
    while not Path("ending").exists():
        time.sleep(0.01)
    kernel.interrupt()
    answer = kernel.collect(began)
    assert "%%capability was interrupted; %worker shows what runs now" in answer.error
    kernel.run("held.set()")
    assert "it was" not in kernel.run(HEAD).text
    assert count(kernel) == "['bridge:w']"
