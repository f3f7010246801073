"""What a capability has beside workers: agents, skills, MCP servers."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from dnworker.capability.components import component_files, read_components
from dnworker.capability.manifest import parse_manifest


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


@pytest.mark.parametrize(
    ("declared", "found"),
    [
        (None, ["agents/a.md", "agents/b.md"]),
        ([], []),
        (["more", "agents/a.md"], ["agents/a.md", "agents/b.md", "more/c.md"]),
        (["missing.md"], ["agents/a.md", "agents/b.md", "missing.md"]),
    ],
    ids=["convention", "off", "directory", "missing"],
)
def test_files_of_a_kind_lie_in_its_directory_or_are_listed(tmp_path, declared, found):
    for name in ("agents/a.md", "agents/b.md", "more/c.md"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    files = component_files(tmp_path, declared, "agents", "*.md")
    assert [str(file.relative_to(tmp_path)) for file in files] == found


@pytest.mark.parametrize(
    ("fields", "problem"),
    [
        ({"command": "serve"}, None),
        ({"url": "http://there"}, None),
        ({}, "needs a command or a url"),
        ({"command": "serve", "auth": {"type": "oauth"}}, "auth is for those with a url"),
        ({"command": "serve", "when": ["x"]}, "when has no effect in a file"),
    ],
    ids=["command", "url", "neither", "auth", "when"],
)
def test_an_mcp_server_of_a_file_says_what_is_wrong_with_it(tmp_path, fields, problem):
    (tmp_path / "mcp.json").write_text(json.dumps({"mcpServers": {"s": fields}}))
    server = components_of(tmp_path).mcp["s"]
    assert (server.problem is None) == (problem is None)
    assert (problem or "") in (server.problem or "")
