"""The newest lines of a worker, as the widget `LogTail` looks at them."""

from __future__ import annotations

from dnworker.core.logs import LogBook
from dnworker.panel.tail_part import MOST_LINES, Tails, tail_to_json


def test_each_worker_has_its_own_newest_lines_and_nobody_has_all():
    logs = LogBook()
    for n in range(30):
        logs.add(f"cap:{'ab'[n % 2]}", f"line {n}")
    texts = lambda wanted: [line["text"] for line in tail_to_json(logs, wanted)["lines"]]  # noqa: E731
    assert texts({"worker": "cap:a", "lines": 2}) == ["line 26", "line 28"]
    assert texts({"worker": None, "lines": 1}) == ["line 29"]
    logs.add("cap:a", "\x1b[31mnew\x1b[0m", level="error")
    assert texts({"worker": "cap:a", "lines": 2}) == ["line 28", "new"]
    assert texts({"worker": "cap:b", "lines": 1}) == ["line 29"]
    assert texts({}) == [*(f"line {n}" for n in range(21, 30)), "new"]


def test_after_the_first_look_only_new_lines_are_gone_through(monkeypatch):
    logs = LogBook()
    for n in range(500):
        logs.add("cap:loud", f"line {n}")
    tails = Tails(logs)
    assert tails.lines("cap:quiet", 5) == []
    asked = []
    real = logs.tail
    monkeypatch.setattr(
        logs, "tail", lambda count=200, worker=None: asked.append(count) or real(count, worker)
    )
    logs.add("cap:loud", "more")
    assert tails.lines("cap:quiet", 5) == []
    assert asked == [1, 1]


def test_what_is_wanted_wrongly_is_no_error_and_a_long_line_is_cut():
    logs = LogBook()
    logs.add("cap:a", "x" * 5_000)
    (line,) = tail_to_json(logs, {"worker": 7, "lines": "many"})["lines"]
    assert (len(line["text"]), line["cut"]) == (500, 4_500)
    for n in range(1_000):
        logs.add("cap:a", f"{n}")
    assert len(tail_to_json(logs, {"lines": MOST_LINES})["lines"]) == MOST_LINES
    assert len(tail_to_json(logs, {"lines": 10**9})["lines"]) == 10


async def test_one_view_looks_at_the_tails_of_two_workers(runtime, screen):
    runtime.log_line("cap:a", "from a")
    runtime.log_line("cap:b", "from b")
    found = await screen.open(looks={"tail#a": {"worker": "cap:a"}, "tail#b": {"worker": "cap:b"}})
    assert [found[f"tail#{one}"]["lines"][0]["text"] for one in "ab"] == ["from a", "from b"]
    runtime.log_line("cap:a", "again")
    assert (await screen.part("tail#a"))["lines"][-1]["text"] == "again"
