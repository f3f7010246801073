"""What the catalog finds: tools, skills by either name, and MCP servers with their gates."""

from __future__ import annotations

import pytest

from dnworker.core.errors import Conflict, NotFound

from ..capabilities import make_named


@pytest.fixture
async def catalog(runtime, tmp_path):
    for name in ("one", "two"):
        root = make_named(tmp_path / name, name)
        (root / "skills" / "greet").mkdir(parents=True)
        (root / "skills" / "greet" / "SKILL.md").write_text("---\nname: greet\ndescription: How\n---\nHi\n")
        with (root / "capability.yaml").open("a") as manifest:
            manifest.write("flags: {remote: {description: gate}}\n")
            manifest.write("mcp: {servers: {open: {command: x}, shut: {command: x, when: [remote]}}}\n")
        await runtime.load(root)
    return runtime.catalog


async def test_a_tool_is_listed_with_its_schema(runtime):
    @runtime.tools.register
    def add(a: int, b: int) -> int:
        """Add two numbers."""
        return a + b

    (tool,) = runtime.catalog.tools()
    assert (tool.name, tool.description, tool.capability) == ("add", "Add two numbers.", "notebook")
    assert set(tool.parameters_schema["properties"]) == {"a", "b"}


async def test_skills_are_sorted_by_their_qualified_id(catalog):
    assert [skill.qualified_id for skill in catalog.skills()] == ["one:greet", "two:greet"]


async def test_a_skill_of_two_capabilities_must_be_named_in_full(catalog):
    assert catalog.skill("two:greet").name == "greet"
    with pytest.raises(NotFound, match="several skills are named 'greet'; there are: one:greet, two:greet"):
        catalog.skill("greet")
    with pytest.raises(NotFound, match="no skill is named 'x'"):
        catalog.skill("x")


async def test_a_gated_server_cannot_be_reconnected(catalog, runtime):
    assert await runtime.mcp.reconnect("one", "open") == runtime.mcp.detail("one", "open")
    with pytest.raises(Conflict, match="one:shut is gated off; turn on one of: remote"):
        await runtime.mcp.reconnect("one", "shut")
    with pytest.raises(NotFound, match="no MCP server one:none"):
        runtime.mcp.detail("one", "none")
