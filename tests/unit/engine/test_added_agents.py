"""Agents that were added by hand are listed, so that clients can choose them."""

from __future__ import annotations

import pytest

from dnworker.core.errors import Conflict


async def reply(turn):
    """Sorts tickets.

    More.
    """
    return "sorted"


def listed(runtime):
    """Return the agents that `/api/runtime` shows, by capability."""
    return {c.name: {a["name"]: a for a in c.agents} for c in runtime.info().capabilities}


async def test_scripts_and_models_are_listed_in_the_capability_of_added_workers(runtime):
    assert listed(runtime) == {}
    runtime.agents.register("triage", reply)
    runtime.agents.register("echo", lambda turn: turn.message)
    runtime.agents.register_model("private", "x-1", base_url="http://127.0.0.1:9/v1")
    assert [*listed(runtime)["notebook"].values()] == [
        {"name": "triage", "description": "Sorts tickets.", "model": "inherit", "capability": "notebook"},
        {"name": "echo", "description": "Answers by <lambda>", "model": "inherit", "capability": "notebook"},
        {"name": "private", "description": "Answers by x-1", "model": "x-1", "capability": "notebook"},
    ]
    components = runtime.info().capabilities[0].components
    assert [(c.kind, c.name, c.status) for c in components] == [
        ("agent", name, "ok") for name in ("triage", "echo", "private")
    ]


async def test_an_agent_that_was_removed_is_listed_no_more(runtime):
    runtime.agents.register("triage", reply)
    runtime.agents.remove("triage")
    assert listed(runtime) == {}


async def test_an_agent_of_a_capability_that_a_script_plays_is_listed_once(runtime, tmp_path):
    (tmp_path / "desk" / "agents").mkdir(parents=True)
    (tmp_path / "desk" / "capability.yaml").write_text(
        "schema: 1\nname: desk\nversion: 0.1.0\ndescription: d\n"
    )
    (tmp_path / "desk" / "agents" / "triage.md").write_text("---\nname: triage\n---\nSort.\n")
    await runtime.load(tmp_path / "desk")
    runtime.agents.register("triage", reply)
    assert {name: [*agents] for name, agents in listed(runtime).items()} == {"desk": ["triage"]}


async def test_a_listed_agent_answers_in_a_session_of_its_listed_capability(runtime):
    runtime.agents.register("triage", reply)
    client = runtime.client()
    session = await client.create_session(capability="notebook", agent="triage", policy="headless")
    done = await client.run_turn(session_id=session.session_id, message="x")
    assert done["response_text"] == "sorted"
    with pytest.raises(Conflict, match="no capability 'other'"):
        runtime.agents.bind("other", "triage")
    with pytest.raises(Conflict, match="no capability 'notebook'"):
        runtime.agents.bind("notebook", "nobody")
