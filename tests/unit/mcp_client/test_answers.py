"""Answers of tools as text, and what becomes of notifications; in milliseconds, without a server."""

from __future__ import annotations

import pytest

from dnworker.mcp_client.host import notices
from dnworker.mcp_client.host.answers import answer_text
from dnworker.mcp_client.host.notices import Notices


@pytest.mark.clause("4.2 mcp tools")
@pytest.mark.parametrize(
    ("content", "text"),
    [
        ([{"type": "text", "text": "a"}, {"type": "text", "text": "b"}], "a\nb"),
        ([{"type": "resource", "resource": {"uri": "file:///x", "text": "inside"}}], "inside"),
        ([{"type": "resource", "resource": {"uri": "file:///x", "blob": "AAAA"}}], "[file:///x: 3 bytes that are no text]"),
        ([{"type": "resource_link", "name": "x", "uri": "file:///x"}], "[x: file:///x]"),
        ([{"type": "image", "mimeType": "image/png", "data": "A" * 4000}], "[image image/png: 3,000 bytes; agents here get text]"),
        ([{"type": "new", "of": 1}], '{"type": "new", "of": 1}'),
        ([], ""),
    ],
)  # fmt: skip
def test_each_kind_of_content_is_a_text(content, text):
    assert answer_text({"content": content}, "do") == (text, False)


def test_an_answer_without_content_has_its_structure_and_an_error_without_text_names_the_tool():
    assert answer_text({"content": [], "structuredContent": {"sum": 5}}, "add") == ('{"sum": 5}', False)
    assert answer_text({"content": [], "isError": True}, "add") == ("MCP tool 'add' reported an error.", True)


def test_an_answer_over_a_megabyte_is_its_size():
    text = "ä" * 600_000
    assert answer_text({"content": [{"type": "text", "text": text}]}, "do") == (
        "the answer has 1,200,000 bytes; at most 1,048,576",
        True,
    )


async def test_log_messages_are_bounded_in_number_and_length_and_the_rest_is_counted(capsys):
    taken = Notices(lambda: None)
    for number in range(notices.LINES + 5):
        taken.take("notifications/message", {"level": "error", "data": str(number) + " x\n" * 1000})
    for _ in range(3):
        taken.take("notifications/progress", {"progress": 1})
    taken.tell()
    said = capsys.readouterr().err.splitlines()
    assert len(said) == notices.LINES + 2
    assert said[0].startswith("[error] 0 x x x")
    assert all(len(line) <= notices.LONGEST for line in said)
    assert said[-2:] == ["dropped 5 log messages", "dropped 3 notifications"]


async def test_that_the_tools_have_changed_is_passed_on():
    changed = []
    Notices(lambda: changed.append(1)).take("notifications/tools/list_changed", None)
    assert changed == [1]
