"""Lines of a server's output: whole, or counted where they are too long."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dnworker.mcp_client.frames import Connect
from dnworker.mcp_client.host.lines import EDGE, LineSplitter, TooLong
from dnworker.mcp_client.host.notices import Notices
from dnworker.mcp_client.host.stdio import TOO_DEEP, StdioServer


@given(st.lists(st.binary(max_size=40).filter(lambda b: b"\n" not in b), max_size=20), st.data())
def test_lines_are_what_was_written_however_it_arrives(lines, data):
    text = b"".join(line + b"\n" for line in lines)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(text)), max_size=8)))
    pieces = [text[a:b] for a, b in zip([0, *cuts], [*cuts, len(text)], strict=True)]
    splitter = LineSplitter(20)
    found = [one for piece in pieces for one in splitter.feed(piece)]
    assert found == [line if len(line) <= 20 else TooLong(len(line), None) for line in lines]


@pytest.mark.parametrize(
    "order", [("jsonrpc", "id", "result"), ("result", "jsonrpc", "id"), ("id", "result")]
)
@pytest.mark.parametrize("chunk", [1000, 65_536, 10_000_000])
def test_the_request_that_a_line_too_long_answers_is_known_by_either_end(order, chunk):
    fields = {
        "jsonrpc": "2.0",
        "id": 17,
        "result": {"content": [{"type": "text", "text": '"id": 4 ' * 5000}]},
    }
    line = json.dumps({name: fields[name] for name in order}).encode()
    splitter = LineSplitter(10_000)
    text = line + b"\nnext\n"
    found = [one for n in range(0, len(text), chunk) for one in splitter.feed(text[n : n + chunk])]
    assert found == [TooLong(len(line), 17), b"next"]


def test_a_line_without_end_takes_no_memory():
    splitter = LineSplitter(100_000)
    for _ in range(1000):
        assert list(splitter.feed(b"x" * 65_536)) == []
    assert len(splitter._line) <= EDGE
    assert list(splitter.feed(b"\n")) == [TooLong(65_536_000, None)]


DEEP = "[" * 100_000 + "]" * 100_000


@pytest.mark.parametrize(
    ("line", "ended", "why"),
    [
        (f'{{"jsonrpc":"2.0","id":2,"result":{DEEP}}}', [2], TOO_DEEP),
        (f'{{"result":{DEEP},"jsonrpc":"2.0","id":2}}', [2], TOO_DEEP),
        (f'{{"jsonrpc":"2.0","id":9,"result":{DEEP}}}', [1, 2], TOO_DEEP),
        (f'{{"jsonrpc":"2.0","id":2,"result":{"[" * 300}{"]" * 300}}}', [2], TOO_DEEP),
        ('{"jsonrpc":"2.0","id":2,"result":5}', [2], "the answer is no message of MCP"),
        ('{"jsonrpc":"2.0","id":9,"result":5}', [], ""),
        ('{"jsonrpc":"2.0","id":2,"method":5}', [], ""),
        ("[1, 2", [], ""),
    ],
)
def test_an_answer_that_cannot_be_read_ends_the_call_that_it_is_for(line, ended, why):
    server = StdioServer(Connect(name="x", init_timeout=1), Notices(lambda: None), lambda why: None)
    server._pending = {1, 2}
    found = [item.message for item in server._messages(line.encode())]
    assert [message.id for message in found] == ended
    assert all(message.error.message == why for message in found)
    assert server._pending == {1, 2} - set(ended)
