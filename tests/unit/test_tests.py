"""Tests of browsers wait for what they look at: a page shows, a frame or more later, what was done."""

from __future__ import annotations

import ast
import socket
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from pathlib import Path

import pytest

from ..ports import FIRST, OF_A_PROCESS, PROCESSES, free_port

BROWSER = Path(__file__).parents[1] / "browser"
READS = {
    "all_inner_texts",
    "all_text_contents",
    "bounding_box",
    "get_attribute",
    "inner_html",
    "inner_text",
    "input_value",
    "is_checked",
    "is_disabled",
    "is_editable",
    "is_enabled",
    "is_hidden",
    "is_visible",
    "text_content",
}
"""Methods of a locator that tell its state at once; `count()` is one more, and lists have it with an argument."""


def read_at_once(source: str) -> Iterator[str]:
    """Go through what asserts read of locators: the line, and the method."""
    for node in ast.walk(ast.parse(source)):
        if not isinstance(node, ast.Assert):
            continue
        for call in ast.walk(node.test):
            if isinstance(call, ast.Call) and isinstance(call.func, ast.Attribute):
                name = call.func.attr
                if name in READS or (name == "count" and not call.args):
                    yield f"{call.lineno}: {name}()"


@pytest.mark.parametrize("file", sorted(BROWSER.glob("*.py")), ids=lambda file: file.name)
def test_no_assert_reads_a_locator_without_a_wait(file):
    found = [f"{file.name}:{one}" for one in read_at_once(file.read_text(encoding="utf-8"))]
    assert found == [], "wait for it: expect(locator).to_..., or wait_until of tests/browser/conftest.py"


@pytest.mark.parametrize(
    ("line", "found"),
    [
        ("assert row.is_visible()", ["1: is_visible()"]),
        ("assert not page.get_by_role('row').is_hidden()", ["1: is_hidden()"]),
        ("assert rows.count() == 2", ["1: count()"]),
        ("assert text.count('a') == 2", []),
        ("assert 'a' in row.inner_text().strip()", ["1: inner_text()"]),
        ("expect(row).to_be_visible()", []),
        ("assert page.evaluate('window.attacked') is None", []),
    ],
)
def test_what_is_read_at_once_is_found(line, found):
    assert [*read_at_once(line)] == found


def test_a_port_for_a_server_is_none_that_the_system_gives_to_whoever_connects():
    ports = [free_port() for _ in range(50)]
    assert len({*ports}) == 50
    assert all(FIRST <= port < FIRST + PROCESSES * OF_A_PROCESS < 32_768 for port in ports)


def test_a_port_that_somebody_listens_on_is_left_out(unused_tcp_port):
    with ExitStack() as stack:
        for port in range(unused_tcp_port + 1, unused_tcp_port + 5):
            with suppress(OSError):  # another one's
                stack.enter_context(socket.create_server(("127.0.0.1", port)))
        assert free_port() not in range(unused_tcp_port + 1, unused_tcp_port + 5)
