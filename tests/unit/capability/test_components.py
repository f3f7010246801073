"""What a capability has beside its workers: files by convention or by list, and what is wrong with them."""

from __future__ import annotations

import json

import pytest

from dnworker.capability.components import component_files, read_components
from dnworker.capability.manifest import load_manifest

HEAD = "schema: 1\nname: demo\nversion: 0.1.0\ndescription: Demo\n"


def read(root, manifest="", **files):
    (root / "capability.yaml").write_text(HEAD + manifest)
    for name, text in files.items():
        path = root / name.replace("__", "/")
        path = path.with_name(path.name.replace("_md", ".md").replace("_json", ".json").replace("_py", ".py"))
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return read_components(load_manifest(root))


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


def test_agents_and_skills_are_read_and_a_broken_one_breaks_no_other(tmp_path):
    components = read(
        tmp_path,
        agents__good_md="---\nname: triage\n---\nBe brief.",
        agents__bad_md="---\nname: [\n---\n",
        skills__greet__SKILL_md="---\nname: greet\ndescription: Greets\n---\nSay hello.",
    )
    assert [(agent.name, agent.prompt) for agent in components.agents] == [("triage", "Be brief.")]
    assert [skill.qualified_id for skill in components.skills] == ["demo:greet"]
    assert [(one.kind, one.name, one.status) for one in components.others] == [("agent", "bad", "error")]


def test_what_only_the_reference_runs_is_listed_as_degraded(tmp_path):
    components = read(
        tmp_path, agents__a_md="x", tools__search_py="", hooks__on_turn_py="", hooks____init___py=""
    )
    assert [(one.kind, one.name, one.status) for one in components.others] == [
        ("tool", "search", "degraded"),
        ("hook", "on_turn", "degraded"),
    ]


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
    server = read(tmp_path).mcp["s"]
    assert (server.problem is None) == (problem is None)
    assert (problem or "") in (server.problem or "")


def test_a_server_of_the_manifest_wins_over_that_of_a_file_and_knows_its_root(tmp_path):
    (tmp_path / "mcp.json").write_text(json.dumps({"s": {"command": "file"}}))
    manifest = "mcp:\n  servers:\n    s: {command: inline, args: ['${CAPABILITY_ROOT}/x']}\n"
    server = read(tmp_path, manifest).mcp["s"]
    assert (server.fields["command"], server.fields["args"]) == ("inline", [f"{tmp_path.resolve()}/x"])
