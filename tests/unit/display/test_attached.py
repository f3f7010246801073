"""What an attachment shows as text and as HTML: marks, score, both sides; bounded, and escaped."""

from __future__ import annotations

import re
import time
from datetime import UTC, datetime

import pytest

from dnworker.attach.facts import Gap
from dnworker_jupyter.display.attached import (
    HTML_ROWS,
    Choice,
    attached_html,
    attached_text,
    mark_of,
)

from ..attachments import URL, FakeAttachment


@pytest.fixture
def attachment():
    made = FakeAttachment()
    made.compare(1, notebook=['publishes order.priced {"n": 1}'])
    made.compare(
        2,
        "different",
        deployed=["logs x", 'publishes order.priced {"n": 2}'],
        notebook=["logs x", 'publishes order.priced {"n": 3}'],
        why="the payload differs",
    )
    made.compare(3, "pending", why="the deployed worker still runs")
    made.compare(4, "unknown", deployed=None, notebook=["raises ValueError: <b>"], why="it does not say")
    return made


def test_text_has_mark_score_and_both_sides_the_newest_last(attachment):
    assert attached_text(attachment, Choice()).splitlines() == [
        f"attached to {URL} in shadow: what workers would publish, notify or start is written down, and nothing "
        "is changed there",
        "1 different, 1 same, 1 pending, 1 unknown; 4 received",
        "  notebook:pricer: 1 different, 1 same, 1 pending, 1 unknown",
        "✓ #1 order.placed  notebook:pricer  same",
        '      publishes order.priced {"n": 1}',
        "✗ #2 order.placed  notebook:pricer  different: the payload differs",
        "    - logs x",
        '    - publishes order.priced {"n": 2}',
        "    + logs x",
        '    + publishes order.priced {"n": 3}',
        "… #3 order.placed  notebook:pricer  pending: the deployed worker still runs",
        "? #4 order.placed  notebook:pricer  unknown: it does not say",
        "    - (what it did is not known)",
        "    + raises ValueError: <b>",
    ]


def test_html_has_the_same_the_newest_first_and_what_anybody_says_is_escaped(attachment):
    html = attached_html(attachment, Choice())
    assert [int(seq) for seq in re.findall(r"#(\d+) <b>", html)] == [4, 3, 2, 1]
    assert "&lt;b&gt;" in html
    assert "ValueError: <b>" not in html
    assert "<script" not in html
    assert "1 different, 1 same" in html


def test_html_marks_the_lines_that_the_other_side_lacks_and_no_others(attachment):
    html = attached_html(attachment, Choice(only_different=True))
    marked = re.findall(r"<b style='font-weight:normal'>(.*?)</b>", html)
    assert marked == ['publishes order.priced {"n": 2}', 'publishes order.priced {"n": 3}']


def test_only_what_differs_and_only_one_worker(attachment):
    attachment.compare(5, "different", worker="notebook:other")
    text = attached_text(attachment, Choice(only_different=True, worker="notebook:other"))
    assert re.findall(r"#(\d+)", text) == ["5"]


@pytest.mark.parametrize(("live", "red"), [(False, False), (True, True)])
def test_live_is_red_as_text_in_a_terminal_and_as_html_and_shadow_is_not(live, red):
    attachment = FakeAttachment(live=live)
    assert ("\x1b[1;41;37m" in attached_text(attachment, Choice(), colours=True)) is red
    assert ("#b3161f" in attached_html(attachment, Choice())) is red
    assert ("LIVE" in mark_of(attachment)) is red


def test_a_runtime_that_is_lost_is_said_with_since_when_and_that_it_goes_on(attachment):
    attachment.change(state="lost", detail="connection refused")
    assert re.search(
        r"lost since \d\d:\d\d:\d\d: connection refused; it goes on by itself", mark_of(attachment)
    )
    attachment.change(state="following", detail="")
    assert "lost" not in mark_of(attachment)


def test_gaps_are_said_with_their_numbers_and_many_in_a_few_lines(attachment):
    for n in range(1_000):
        attachment.gaps.append(Gap(n, n + 2, datetime.now(UTC), "kept no more"))
    text = attached_text(attachment, Choice(last=1))
    assert "gap: events after #999 and before #1001 were missed: kept no more" in text
    assert text.count("gap: ") == 5
    assert "and 995 earlier gaps" in text


def test_ten_thousand_rows_of_long_lines_take_no_time_and_little_room():
    attachment = FakeAttachment()
    for seq in range(10_000):
        attachment.compare(seq, "different", deployed=["x" * 5_000] * 200, notebook=["y" * 5_000])
    began = time.process_time()
    html = attached_html(attachment, Choice(last=10_000))
    assert time.process_time() - began < 5
    assert html.count("<pre") == 2 * HTML_ROWS
    assert f"{HTML_ROWS} rows are stored" in html
    assert len(attached_html(attachment, Choice())) < 3_000_000


def test_what_another_runtime_says_controls_no_terminal_and_breaks_no_line():
    attachment = FakeAttachment()
    evil = "a\x1b[2Jb\rc\nd"
    attachment.compare(1, "different", deployed=[evil], notebook=[evil], why=evil)
    attachment.gaps.append(Gap(1, None, datetime.now(UTC), evil))
    attachment.change(state="lost", detail=evil, compare_detail=evil)
    text = attached_text(attachment, Choice())
    assert "\x1b" not in text
    assert "\r" not in text
    assert all(line[:1] not in "bcd" for line in text.splitlines() if not line.startswith("different"))
    assert "\x1b" not in attached_html(attachment, Choice())
