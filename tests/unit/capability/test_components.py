"""What a capability has beside workers: agents, skills, MCP servers."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from dnworker.capability.components import read_components
from dnworker.capability.manifest import parse_manifest
from dnworker.core.errors import ManifestError

from ...listings import expected, listing, names, write_listing


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
    write(tmp_path, agents__a_md="---\ntools: [x]\n---\nYou.\n")
    found = components_of(tmp_path, "agents: [agents/gone.md]\n")
    entries = {e.name: e for e in found.others}
    assert entries["a"].status == "error"
    assert "agents/a.md: tools maps patterns" in entries["a"].error
    assert entries["agents/gone.md"].status == "degraded"


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("---\nname: [\n---\nYou.\n", "agents/a.md:2:1: "),
        ("---\n- x\n---\nYou.\n", "agents/a.md:2: what stands between the --- lines must be a mapping"),
        ("---\nname: x\n---", "agents/a.md:3: no text stands below the second --- line"),
        ("---\nname: x\n", "agents/a.md:1: no second --- line"),
        ("\ufeff---\nname: x\n---\nYou.\n", "agents/a.md:1: a byte order mark"),
    ],
    ids=["yaml", "list", "no-text", "open", "bom"],
)
def test_front_matter_that_is_not_read_leaves_the_agent_and_says_so_with_its_place(tmp_path, text, why):
    write(tmp_path, agents__a_md=text)
    (agent,) = components_of(tmp_path).agents
    assert agent.name == "a"
    assert why in agent.note


def test_the_last_pattern_of_an_agent_that_matches_decides_about_a_tool(tmp_path):
    write(
        tmp_path,
        agents__a_md='---\ntools: {"*": true, Bash: false, "read*": false, "read_it": true}\n---\nx\n',
    )
    (agent,) = components_of(tmp_path).agents
    assert [agent.allows(name) for name in ("grep", "bash", "read_all", "READ_IT")] == [
        True,
        False,
        False,
        True,
    ]


@pytest.mark.clause("4.1 listing")
@pytest.mark.parametrize("name", names())
def test_components_are_those_that_the_reference_lists(tmp_path, name):
    assert listing(write_listing(name, tmp_path)) == expected()[name]


def test_what_only_the_reference_runs_is_listed_and_says_so(tmp_path):
    tool = "from dreadnode.agents.tools import tool\n\n@tool\ndef calc(x: int) -> int: ...\n"
    write(tmp_path, tools__calc_py=tool, hooks__h_py="", tools____init___py="")
    found = {(e.kind, e.name): e for e in components_of(tmp_path).others}
    assert (found["tool", "calc"].status, "for the SDK" in found["tool", "calc"].detail) == ("ok", True)
    assert "h.py defines no hook" in found["hook", "h"].error


def test_no_code_of_a_tool_runs_to_list_it(tmp_path):
    write(tmp_path, tools__t_py=f"open({str(tmp_path / 'ran')!r}, 'w')\n")
    components_of(tmp_path)
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("key", ["tools", "hooks", "policies"])
def test_a_listed_file_of_python_that_is_not_there_is_said_to_be_missing(tmp_path, key):
    (entry,) = components_of(tmp_path, f"{key}: [gone.py]\n").others
    assert (entry.name, entry.status) == ("gone.py", "degraded")


def test_a_file_of_servers_that_cannot_be_read_is_an_error_entry(tmp_path):
    (tmp_path / ".mcp.json").write_bytes(b"\xff")
    (tmp_path / "mcp.json").write_text("[]")
    entries = {e.name: e.status for e in components_of(tmp_path).others}
    assert entries == {".mcp.json": "error", "mcp.json": "error"}


def test_an_agent_that_is_found_and_listed_is_refused_with_the_way_out(tmp_path):
    write(tmp_path, agents__a_md="You.")
    with pytest.raises(
        ManifestError, match="agents/a.md is found in a directory and listed too; take it off"
    ):
        components_of(tmp_path, "agents: [agents/a.md]\n")


@pytest.mark.clause("4.2 mcp")
def test_mcp_servers_come_from_the_file_and_inline_ones_win(tmp_path):
    (tmp_path / ".mcp.json").write_text(
        json.dumps({"mcpServers": {"a": {"command": "x"}, "b": {"url": "u", "when": ["f"]}}})
    )
    head = "mcp:\n  files: [.mcp.json]\n  servers:\n    a: {url: 'http://h'}\n    c: {}\n    d: {command: c, auth: {type: oauth}}\n"
    found = components_of(tmp_path, head).mcp
    assert found["a"].transport == "streamable-http"
    problems = {name: server.problem for name, server in found.items()}
    assert problems["a"] is None
    assert "when has no effect in a file" in problems["b"]
    assert "needs a command or a url" in problems["c"]
    assert "auth is for those with a url" in problems["d"]


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
