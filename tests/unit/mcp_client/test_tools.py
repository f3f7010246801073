"""The names by which models call tools of servers."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dnworker.capability.agents import AgentDefinition
from dnworker.mcp_client.frames import ToolDescription
from dnworker.mcp_client.tools import tools_of, wire_name


async def no_calls(tool, arguments):
    raise AssertionError("nothing is called")


@pytest.mark.clause("4.2 mcp tools")
@pytest.mark.parametrize(
    ("capability", "server", "tool", "name"),
    [
        ("demo", "files", "read", "demo__files__read"),
        ("web-pd", "my server!", "read_file", "web_pd__my_server__read_file"),
        ("a" * 40, "b" * 30, "reads", f"{'a' * 13}_{'a' * 13}__{'b' * 13}_{'b' * 13}__reads"),
        ("demo", "a" * 60, "t" * 40, f"demo__{'a' * 5}_{'a' * 5}__{'t' * 40}"),
    ],
)
def test_a_tool_has_the_wire_name_of_the_reference(capability, server, tool, name):
    assert wire_name(capability, server, tool) == name


def test_a_name_that_the_reference_makes_too_long_for_providers_is_cut_more():
    name = wire_name("a" * 40, "b" * 30, "read")
    assert name == f"{'a' * 13}_{'a' * 13}__{'b' * 13}_{'b' * 13}__read"


@given(st.text(min_size=1, max_size=80), st.text(min_size=1, max_size=80), st.text(max_size=80))
def test_a_wire_name_is_one_that_providers_take_or_is_refused(capability, server, tool):
    try:
        name = wire_name(capability, server, tool)
    except ValueError:
        return
    assert len(name) <= 64
    assert name.endswith(f"__{tool}")
    assert name.replace("_", "a").replace("-", "a").isalnum()


def test_tools_whose_names_clash_or_cannot_be_are_named_and_not_offered():
    described = [ToolDescription(name) for name in ("do", "do", "a.b", "x" * 70)]
    offered, refused = tools_of("demo", "files", described, no_calls)
    assert [tool.name for tool in offered] == ["demo__files__do"]
    assert [line.partition(":")[0] for line in refused] == ["do", "a.b", "x" * 70]


def nested(levels: int) -> dict[str, object]:
    schema: dict[str, object] = {"type": "object"}
    for _ in range(levels):
        schema = {"type": "object", "properties": {"x": schema}}
    return schema


def test_tools_that_no_request_to_a_model_should_have_are_named_and_not_offered():
    described = [
        ToolDescription("good", schema=nested(30)),
        ToolDescription("deep", schema=nested(40)),
        ToolDescription("deeper", schema=nested(400)),
        ToolDescription("long", schema={"type": "object", "description": "d" * 100_000}),
        ToolDescription("a\x1b[31m\u202eb"),
    ]
    offered, refused = tools_of("demo", "files", described, no_calls)
    assert [tool.bare_name for tool in offered] == ["good"]
    assert refused == [
        "deep: its schema has more than 64 levels",
        "deeper: its schema has more than 64 levels",
        "long: its schema has 100,037 bytes; at most 100,000",
        "a\\x1b[31m\\x202eb: models take letters, digits, _ and - in names, up to 64",
    ]


def test_a_long_description_is_cut():
    described = [ToolDescription("do", "d" * 2_000_000)]
    (tool,), _ = tools_of("demo", "files", described, no_calls)
    assert tool.description == "d" * 10_000 + " [cut: 1,990,000 more characters]"


async def test_arguments_are_an_object_and_bounded():
    (tool,), _ = tools_of("demo", "files", [ToolDescription("do")], no_calls)
    with pytest.raises(ValueError, match="arguments of demo__files__do are a JSON object"):
        await tool.call("[1]")
    with pytest.raises(ValueError, match="have 2,000,00. bytes; at most 1,048,576"):
        await tool.call({"a": "x" * 2_000_000})


def test_rules_of_an_agent_name_a_tool_by_either_name_and_the_last_that_matches_decides():
    agent = AgentDefinition("a", "demo", tools=(("*", False), ("read", True), ("demo__files__*", False)))
    assert not agent.allows("demo__files__read", "read")
    assert agent.allows("demo__other__read", "read")
    assert not agent.allows("demo__other__write", "write")
