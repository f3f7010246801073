"""The benchmarks measure every row that has a goal, and docs/performance.md is what their results say."""

from __future__ import annotations

import math
import socket
import sys
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))

import chart
import common
import performance
import results
import run as bench
from goals import GOALS, Goal
from load import Counter

ROWS = {
    "handler": ("publish to in-process handler", "a bare task an event", "at least 0.90"),
    "publish": ("`client.publish` in-process", "validates the same JSON", "at least 0.50"),
    "post": ("POST /api/events, 32 connections", "bare ASGI", "at least 0.80"),
    "post-uvloop": ("`dnworker[speed]`", "uvloop", "at least 0.80"),
    "subscribers-1": ("1 WebSocket", "broadcast", "at least 0.85"),
    "subscribers-10": ("10 WebSocket", "broadcast", "at least 0.85"),
    "subscribers-100": ("100 WebSocket", "broadcast", "at least 0.85"),
    "subscribers-1000": ("1,000 WebSocket", "broadcast", "at least 0.85"),
    "single-1": ("a turn of the loop, to 1 WebSocket", "broadcast", "at least 0.85"),
    "single-10": ("a turn of the loop, to 10 WebSocket", "broadcast", "at least 0.85"),
    "single-100": ("a turn of the loop, to 100 WebSocket", "broadcast", "at least 0.85"),
    "single-1000": ("a turn of the loop, to 1,000 WebSocket", "broadcast", "at least 0.85"),
    "child-answer": ("Python child", "one WebSocket message and one HTTP request", "at most 1.3"),
    "child-spawn": ("`python`", "imports of httpx and websockets", "at most 1.2"),
    "child-spawn-uv": ("`uv run`", "imports of httpx and websockets", "at most 1.2"),
    "serve": ("`dnworker serve` to ready", "Starlette", "at most 1.3"),
    "serve-memory": ("resident", "Starlette", "at most 1.2"),
    "load": ("`%load_ext` to listening", "bare kernel", "+ 90 ms"),
    "load-memory": ("`%load_ext`, resident", "bare kernel", "+ 10 MiB"),
    "import": ("import Worker", "bare interpreter", "+ 20 ms"),
    "fire": ("`%fire`, trivial handler", "awaits one task", "at most 1.3"),
    "cell-again": ("`%%worker` cell run again, 5 handlers", "without the magic", "+ 3 ms"),
    "export": ("300 cells, 20 workers", "`ast.parse`", "at most 5"),
    "export-again": ("nothing changed", "`ast.parse`", "at most 5"),
    "export-changed": ("a change of one cell", "`ast.parse`", "at most 5"),
    "trace": ("10,000 descendants", "", "at most 0.3 s"),
    "journal": ("journal", "executemany", "at least 0.50"),
    "journal-lag": ("loop lag", "", "at most 2 ms"),
    "memory": ("1,000,000 events", "", "at most 150 MiB"),
    "growth-workers": ("1,000 workers", "1 worker", "at most 1.1"),
    "growth-kinds": ("1,000 kinds", "1 kind", "at most 1.1"),
    "growth-subscribers": ("1,000 subscribers", "1 subscriber", "at most 1.1"),
    "growth-fan": ("1,000 subscribers", "100 subscribers", "at most 1.1"),
    "growth-sessions": ("1,000 sessions", "1 session", "at most 1.1"),
    "growth-lines": ("100,000", "10 lines", "at most 1.1"),
    "tests": ("`make test`", "", "at most 5 min"),
}
"""What was promised to be measured: the path, the bare thing, and the goal."""

MACHINE = {"cpu": "a", "cores": 2, "memory_gib": 8.0, "python": "CPython 3.11.7", "os": "Linux"}
POSITIVE = st.floats(1e-6, 1e9)


def measured(figure, bare=None):
    """Return a row as it is stored."""
    ratio, over = (None, None) if bare is None else (figure / bare, figure - bare)
    return {"figure": figure, "bare": bare, "ratio": ratio, "over": over, "runs": 7}


def run_of(rows, commit="abc", machine=MACHINE):
    return results.Run(commit, "2026-01-02T03:04Z", machine, rows)


def test_every_promised_row_has_its_goal_and_no_other_is_there():
    assert list(GOALS) == list(ROWS)
    for key, (path, bare, goal) in ROWS.items():
        assert (path in GOALS[key].path, bare in GOALS[key].bare, GOALS[key].text) == (True, True, goal), key


def test_every_row_is_measured_by_one_program():
    declared = [key for program in bench.programs().values() for key in bench.rows_of(program)]
    assert sorted(declared) == sorted(GOALS)


def test_without_a_name_the_programs_with_rows_run_but_not_the_tests():
    names = {*bench.chosen("")}
    assert {"bus", "publish", "http", "flat"} <= names
    assert not names & {"tests", "page", "panel"}
    assert {*bench.chosen("publish, flat")} == {"publish", "flat"}
    assert {*bench.chosen("all")} == {*bench.programs()}


def test_a_benchmark_that_is_not_there_is_named_with_those_that_are():
    with pytest.raises(SystemExit, match=r"^no benchmark is named 'nobody'; there are: .*publish.*, all$"):
        bench.chosen("publish nobody")


@pytest.mark.timeout(120)
def test_a_program_reports_its_rows_in_their_form():
    report = bench.run(bench.programs()["bus"], ["--quick"])
    (row,) = report["rows"]
    assert {*row} == {"key", "path", "unit", "figure", "bare", "ratio", "over", "runs", "goal", "met"}
    assert (row["key"], row["unit"], row["goal"], row["runs"]) == ("handler", "events/s", "at least 0.90", 1)
    assert row["figure"] / row["bare"] == pytest.approx(row["ratio"])
    assert row["met"] == (row["ratio"] >= 0.9)
    assert results.stored_rows([row])["handler"].keys() == {*results.STORED}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("raise SystemExit('it broke')", "failed with 1\nit broke"),
        (
            'ROWS = (\'post\',)\nprint(\'{"what": "x", "rows": []}\')',
            "its rows are not those of its ROWS: post",
        ),
        ("", "failed with 0"),
    ],
)
def test_a_program_that_reports_nothing_is_said_to_have_failed(tmp_path, capsys, text, said):
    program = tmp_path / "bench_broken.py"
    program.write_text(text)
    assert bench.run(program, []) is None
    assert f"bench_broken: {said}" in capsys.readouterr().out


def test_a_ratio_is_that_of_the_turns_and_not_of_the_medians():
    row = common.row("handler", [10.0, 90.0, 100.0], [10.0, 100.0, 1000.0])
    assert (row["figure"], row["bare"], row["ratio"], row["over"]) == (90.0, 100.0, 0.9, -10.0)
    assert row["met"] is True


@given(
    figure=POSITIVE,
    bare=POSITIVE,
    value=st.floats(0.01, 100),
    rule=st.sampled_from(["share", "times", "over", "most"]),
)
def test_a_goal_is_met_exactly_where_the_figure_is_as_near_as_it_says(figure, bare, value, rule):
    goal, row = Goal("p", "b", "s", rule, value), measured(figure, bare)
    near = {
        "share": figure / bare >= value,
        "times": figure / bare <= value,
        "over": figure - bare <= value,
        "most": figure <= value,
    }
    assert goal.is_met(row) == near[rule]
    assert goal.nearness(row) >= 1 - 1e-9 or not goal.is_met(row)
    assert goal.nearness(row) <= 1 + 1e-9 or goal.is_met(row)


def test_a_goal_beside_the_bare_thing_needs_what_that_took():
    with pytest.raises(ValueError, match="needs what the bare thing took"):
        Goal("p", "b", "s", "times", 1.2).is_met(measured(1.0))


def test_results_are_read_as_they_were_stored(tmp_path):
    file = tmp_path / "results.jsonl"
    runs = [run_of({"post": measured(50.0, 100.0)}), run_of({"trace": measured(0.2)}, "def")]
    for one in runs:
        results.append(one, file)
    assert results.read(file) == runs
    assert {key: one.commit for key, one in results.newest(runs).items()} == {"post": "abc", "trace": "def"}


@pytest.mark.parametrize("line", ["{", "[]", "{}", '{"rows": 1}'])
def test_a_line_that_is_no_result_is_named(tmp_path, line):
    file = tmp_path / "results.jsonl"
    results.append(run_of({}), file)
    file.write_text(file.read_text() + line + "\n")
    with pytest.raises(ValueError, match=r"^line 2 of results\.jsonl is no run: .*; remove it$"):
        results.read(file)


def test_results_of_another_machine_are_not_mixed_in():
    other = MACHINE | {"cpu": "b"}
    runs = [run_of({"trace": measured(9.0)}, machine=other), run_of({"post": measured(50.0, 100.0)})]
    assert list(results.newest(runs)) == ["post"]
    assert "not measured" in performance.page(runs)
    assert chart.chart(runs).count("<circle") == 1


def test_the_page_and_its_chart_are_what_the_results_say():
    runs = results.read()
    assert runs, "nothing is stored; run: make bench"
    write = "write them with: python benchmarks/run.py --page"
    assert performance.PAGE.read_text(encoding="utf-8") == performance.page(runs), write
    assert performance.CHART.read_text(encoding="utf-8") == chart.chart(runs), write


def test_the_page_has_every_row_and_says_on_which_machine():
    text = performance.PAGE.read_text(encoding="utf-8")
    rows = [line for line in text.splitlines() if line.startswith("| **")]
    assert [row.removeprefix("| **").partition("**")[0] for row in rows] == [
        one.path for one in GOALS.values()
    ]
    for name in ("processor", "cores", "memory", "Python", "system"):
        assert name in text


@given(figures=st.lists(st.tuples(POSITIVE, POSITIVE), min_size=1, max_size=30))
def test_every_point_of_the_chart_is_within_its_box(figures):
    runs = [run_of({"post": measured(*pair)}, f"c{n}<&>") for n, pair in enumerate(figures)]
    svg = "{http://www.w3.org/2000/svg}"
    points = ET.fromstring(chart.chart(runs)).findall(f".//{svg}circle")
    assert len(points) == len(figures)
    for point in points:
        x, y = float(point.attrib["cx"]), float(point.attrib["cy"])
        assert math.isfinite(x + y)
        assert 0 <= x <= chart.WIDTH
        assert chart.TITLE - 4 <= y <= chart.HEIGHT


@given(words=st.lists(st.sampled_from([b"kind", b"ki", b"nd", b"k", b"-"]), min_size=1), data=st.data())
def test_a_text_that_comes_in_pieces_is_counted_once(words, data):
    whole = b"".join(words)
    cuts = sorted(data.draw(st.sets(st.integers(1, max(1, len(whole) - 1)), max_size=8)))
    ours, theirs = socket.socketpair()
    with ours, theirs:
        counter, seen = Counter(ours, b"kind"), 0
        for begin, end in zip([0, *cuts], [*cuts, len(whole)], strict=True):
            if whole[begin:end]:
                theirs.sendall(whole[begin:end])
                seen += counter.read()
        assert seen == whole.count(b"kind")
        theirs.close()
        with pytest.raises(ConnectionError):
            counter.read()
