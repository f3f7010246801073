"""A capability is examined without starting its workers, and every problem is named."""

from __future__ import annotations

from dnworker.engine.examine import examine

from ..capabilities import ECHO, make_capability


async def test_a_capability_without_problems_is_counted(tmp_path):
    files = {
        "echo.py": ECHO,
        "agents/a.md": "---\nname: a\ndescription: d\n---\nYou help.\n",
        "skills/s/SKILL.md": "---\nname: s\ndescription: d\n---\nDo it.\n",
    }
    found = await examine(make_capability(tmp_path / "demo", "echo: {path: echo.py}", files))
    assert found.problems == []
    assert found.counts == {"worker": 1, "agent": 1, "skill": 1, "MCP server": 0}


async def test_a_broken_agent_and_a_check_that_fails_are_named(tmp_path):
    head = "checks:\n  - {name: look, command: 'exit 3'}\n"
    files = {"echo.py": ECHO, "agents/a.md": "---\nname: [a]\n---\nYou help.\n"}
    found = await examine(make_capability(tmp_path / "demo", "echo: {path: echo.py}", files, head))
    agent, check = found.problems
    assert agent.startswith("agent a: ")
    assert "name must be text" in agent
    assert check == "check look: exit code 3"


async def test_a_manifest_that_breaks_rules_has_its_problems_and_no_counts(tmp_path):
    root = make_capability(tmp_path / "demo", "echo: {path: 5}")
    found = await examine(root)
    assert found.manifest is None
    assert found.problems
    assert found.counts == {}
