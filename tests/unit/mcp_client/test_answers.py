"""Answers of tools as text, and what becomes of notifications; in milliseconds, without a server."""

from __future__ import annotations

import base64

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dnworker.core.tool_files import LARGEST_FILES, MOST_FILES, ToolFile
from dnworker.mcp_client.host import notices
from dnworker.mcp_client.host.answers import answer_of
from dnworker.mcp_client.host.notices import Notices


@pytest.mark.clause("4.2 mcp tools")
@pytest.mark.parametrize(
    ("content", "text"),
    [
        ([{"type": "text", "text": "a"}, {"type": "text", "text": "b"}], "a\nb"),
        ([{"type": "resource", "resource": {"uri": "file:///x", "text": "inside"}}], "inside"),
        ([{"type": "resource", "resource": {"uri": "file:///x", "blob": "AAAA"}}], "[file:///x: 3 bytes; models here get text and images of PNG, JPEG, GIF and WebP]"),
        ([{"type": "resource_link", "name": "x", "uri": "file:///x"}], "[x: file:///x]"),
        ([{"type": "image", "mimeType": "image/png", "data": "A" * 4000}], "[image image/png: 3,000 bytes; models here get text and images of PNG, JPEG, GIF and WebP]"),
        ([{"type": "audio", "mimeType": "audio/wav", "data": "?"}], "[audio audio/wav: 1 characters that are no base64]"),
        ([{"type": "new", "of": 1}], '{"type": "new", "of": 1}'),
        ([], ""),
    ],
)  # fmt: skip
def test_each_kind_of_content_is_a_text(content, text):
    assert answer_of({"content": content}, "do") == (text, False, [])


PNG = b"\x89PNG\r\n\x1a\n" + bytes(100)


def image(data: bytes, media_type: str = "image/png") -> dict[str, str]:
    return {"type": "image", "mimeType": media_type, "data": base64.b64encode(data).decode()}


def test_images_come_beside_the_text_by_the_type_that_they_are_of():
    blob = {"uri": "file:///x", "mimeType": "image/png", "blob": image(b"\xff\xd8\xff1")["data"]}
    found = answer_of({"content": [image(PNG, "image/tiff"), {"type": "resource", "resource": blob}]}, "do")
    assert found.text == "[image image/tiff: 108 bytes]\n[file:///x image/png: 4 bytes]"
    assert found.files == [ToolFile("image/png", PNG), ToolFile("image/jpeg", b"\xff\xd8\xff1")]


def test_an_image_whose_base64_is_broken_into_lines_is_passed_on():
    lines = base64.encodebytes(PNG).decode()
    found = answer_of({"content": [image(PNG) | {"data": lines}]}, "do")
    assert found.files == [ToolFile("image/png", PNG)]


def test_images_of_an_error_are_not_passed_on():
    assert answer_of({"content": [image(PNG)], "isError": True}, "do").files == []


@given(st.lists(st.integers(0, LARGEST_FILES + 1), max_size=MOST_FILES + 3))
@settings(max_examples=20)
def test_images_are_bounded_in_number_and_in_bytes_and_each_has_a_line(sizes):
    found = answer_of({"content": [image(PNG + bytes(size)) for size in sizes]}, "do")
    assert len(found.files) <= MOST_FILES
    assert sum(len(file.data) for file in found.files) <= LARGEST_FILES
    lines = found.text.splitlines()
    assert len(lines) == len(sizes)
    assert sum("not given to models: at most" in line for line in lines) == len(sizes) - len(found.files)


def test_an_answer_without_content_has_its_structure_and_an_error_without_text_names_the_tool():
    assert answer_of({"content": [], "structuredContent": {"sum": 5}}, "add") == ('{"sum": 5}', False, [])
    assert answer_of({"content": [], "isError": True}, "add") == (
        "MCP tool 'add' reported an error.",
        True,
        [],
    )


def test_an_answer_over_a_megabyte_is_its_size():
    text = "ä" * 600_000
    assert answer_of({"content": [{"type": "text", "text": text}]}, "do") == (
        "the answer has 1,200,000 bytes; at most 1,048,576",
        True,
        [],
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
