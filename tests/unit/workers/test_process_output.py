"""Output of a process: the same lines and reports wherever it is cut, and a loop that stays free."""

from __future__ import annotations

import asyncio
from collections import deque

from hypothesis import given
from hypothesis import strategies as st

from dnworker.workers import process_output, reports
from dnworker.workers.process_output import LONGEST_LINE, ProcessOutput

WORD = "w" * 16


async def taken(chunks: list[bytes], word: str | None = None):
    """Return the lines and reports of an output that arrives in these chunks."""
    stream = asyncio.StreamReader(limit=2**26)
    lines, found = [], []
    output = ProcessOutput(
        deque(maxlen=200),
        on_line=lambda text, says: lines.append((text, says.id)),
        on_report=found.append,
        report_word=word,
    )
    reading = asyncio.create_task(output.read(stream))
    for chunk in chunks:
        stream.feed_data(chunk)
        await asyncio.sleep(0)
    stream.feed_eof()
    await reading
    output.end()
    return lines, found


def cut(data: bytes, places: list[int]) -> list[bytes]:
    """Cut at these places, wherever they are."""
    at = sorted({place % (len(data) + 1) for place in places})
    return [piece for a, b in zip([0, *at], [*at, len(data)], strict=True) if (piece := data[a:b])]


PARTS = st.lists(
    st.one_of(
        st.binary(max_size=40),
        st.sampled_from([b"\n", b"\r\n", b"\x1b_dnworker:", b"\x1b\\", b"\xff\n", "ä\n".encode()]),
        st.integers(0, 3).map(lambda n: reports.encode(reports.Says(str(n)), WORD).encode()),
        st.just(reports.encode(reports.Delivered("e"), WORD).encode()),
    ),
    max_size=12,
)


@given(PARTS, st.lists(st.integers(0, 2_000), max_size=8))
def test_lines_and_reports_do_not_depend_on_where_output_is_cut(parts, places):
    data = b"".join(parts)
    assert asyncio.run(taken(cut(data, places), WORD)) == asyncio.run(taken([data] if data else [], WORD))


@given(st.lists(st.binary(max_size=30), max_size=20), st.lists(st.integers(0, 600), max_size=8))
def test_without_reports_every_line_is_there(lines, places):
    data = b"\n".join(lines)
    found, _ = asyncio.run(taken(cut(data, places)))
    whole = [line.decode(errors="replace").rstrip("\r\n").rpartition("\r")[2] for line in data.split(b"\n")]
    assert [text for text, _ in found] == [text for text in whole if text]


async def test_a_line_without_end_keeps_its_head_only_and_the_next_is_whole():
    lines, _ = await taken([b"x" * 50_000] * 100 + [b"\nnext\n"])
    assert [len(text) < LONGEST_LINE + 60 for text, _ in lines] == [True, True]
    assert lines[1][0] == "next"


async def test_of_a_progress_bar_of_any_length_the_last_state_is_kept():
    lines, _ = await taken([b"\r%d %%" % n * 1000 for n in range(101)] + [b"\r100 %\r", b"\n"])
    assert [text for text, _ in lines] == ["100 %"]


def says(name: str, by: int = 0) -> bytes:
    return reports.encode(reports.Says(name, by=by), WORD).encode()


async def test_a_line_that_another_writer_cuts_off_goes_on_later():
    one, other = says("one", 1), says("one", 2)
    lines, _ = await taken([one, b"a ", other, b"b ", one, b"1\n", says("two"), b"c\n", other, b"2\n"], WORD)
    assert lines == [("a 1", "one"), ("c", "two"), ("b 2", "one")]


async def test_the_end_of_an_invocation_ends_its_lines_before_it_is_told():
    end = reports.encode(reports.End("one", "ok", 0.0), WORD).encode()
    seen = []
    output = ProcessOutput(
        deque(), on_line=lambda text, _: seen.append(text), on_report=seen.append, report_word=WORD
    )
    stream = asyncio.StreamReader()
    stream.feed_data(says("two") + b"other" + says("one") + b"half" + end)
    stream.feed_eof()
    await output.read(stream)
    assert [one if isinstance(one, str) else type(one) for one in seen] == ["half", reports.End]
    output.end()
    assert seen[-1] == "other"


async def test_writers_without_number_leave_no_more_lines_open_than_the_bound():
    data = b"".join(says("one", n) + b"x" for n in range(process_output.UNFINISHED_LINES + 50))
    lines, _ = await taken([data], WORD)
    assert len(lines) == process_output.UNFINISHED_LINES + 50


async def test_others_have_their_turn_within_one_chunk_of_output(monkeypatch):
    monkeypatch.setattr(process_output, "SLICE", 0.0)
    turns = 0

    async def count() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    counting = asyncio.create_task(count())
    lines, _ = await taken([b"x\n" * 32_000])
    counting.cancel()
    assert len(lines) == 32_000
    assert turns > 500
