"""Commands at a pseudo-terminal: what handlers write stays text, lines fit, Ctrl-C and closed pipes are quiet."""

from __future__ import annotations

import asyncio
import io
import os
import subprocess
import sys
from contextlib import redirect_stdout
from functools import partial

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dnworker import Runtime, Worker
from dnworker.cli import doctor, entry, validate
from dnworker.cli.main import main
from dnworker.cli.tables import table_lines
from dnworker.cli.terminal import Screen, folded
from dnworker.core.clock import RealClock
from dnworker.doctor.findings import Finding
from dnworker.events.brokers.sqlite.broker import SqliteBroker
from dnworker.testing import SharedBroker, SharedStore

from .terminals import REDRAW, SGR, columns_of, own_terminal, press_ctrl_c, terminal

HOSTILE = "\x1b]0;owned\x07 \x1b[2J [red]painted[/red] :smile: \u202eright\u202c " + "漢字" * 40 + " é\u0301"
"""What a handler may write: a title for the window, a screen cleared, markup, marks, wide characters."""


def make_worker() -> Worker:
    worker = Worker("bridge")

    @worker.on_event("order.placed")
    async def on_order(event, client) -> None:
        print("took", HOSTILE)
        await client.publish("order.billed", {"text": HOSTILE})
        raise ValueError(HOSTILE)

    return worker


@pytest.fixture(params=["sqlite", "shared"])
async def served(request, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    if request.param == "sqlite":
        broker = SqliteBroker(tmp_path / "events.db")
    else:
        broker = SharedBroker(SharedStore(RealClock()))
    names = {"node": "one"} if request.param == "shared" else {}
    retry = {"notebook:bridge": "1,backoff=0s"}
    async with Runtime(port=0, broker=broker, retry=retry, **names) as runtime:
        with runtime.capture_output():
            await runtime.add(make_worker())
            await runtime.fire("order.placed", {"text": HOSTILE}, session_id="[blue]s[/blue]")
            async with asyncio.timeout(30):
                while not len(runtime.dead_letters):
                    await asyncio.sleep(0.01)
        await runtime.nodes.look()
        monkeypatch.setenv("DREADNODE_RUNTIME_URL", runtime.url)
        monkeypatch.setenv("DREADNODE_RUNTIME_TOKEN", runtime.tokens.main)
        for name in ("NO_COLOR", "FORCE_COLOR"):
            monkeypatch.delenv(name, raising=False)
        monkeypatch.setenv("TERM", "xterm-256color")
        yield runtime


COMMANDS = {
    "ps": [["ps"], ["ps", "--wide"]],
    "events": [["events"], ["events", "--all-kinds"]],
    "trace": [["trace", "last-failed"], ["trace", "last-failed", "--payload"]],
    "logs": [["logs"]],
    "nodes": [["nodes"]],
    "cursors": [["cursors", "list"]],
    "dead": [["dead", "list"], ["dead", "show", "{seq}"]],
}


async def at_terminal(monkeypatch, columns: int, words: list[str], is_code: int = 0) -> str:
    """Return what a command writes to a terminal of so many columns."""
    with terminal(columns) as made:
        monkeypatch.setenv("COLUMNS", str(columns))
        with open(made.slave, "w", encoding="utf-8", closefd=False) as out, redirect_stdout(out):
            code = await asyncio.to_thread(main, words)
        assert code == is_code
        return made.end()


@pytest.fixture
def shown(monkeypatch):
    """Returns what a command writes to a terminal."""
    return partial(at_terminal, monkeypatch)


@pytest.mark.parametrize("columns", [20, 60, 100, 200])
@pytest.mark.parametrize("name", COMMANDS)
async def test_no_line_is_wider_than_the_terminal_and_foreign_text_stays_text(served, shown, name, columns):
    seq = served.dead_letters.all()[0].seq
    for words in COMMANDS[name]:
        text = await shown(columns, [word.format(seq=seq) for word in words])
        assert text.strip()
        for line in text.split("\n"):
            assert columns_of(line) <= columns, line
        plain = SGR.sub("", text)
        assert "\x1b" not in plain
        assert "\x07" not in plain
        assert "\u202e" not in plain


@pytest.mark.parametrize("name", ["trace", "logs"])
async def test_what_a_handler_wrote_is_there_whole_in_a_narrow_terminal(served, shown, name):
    text = await shown(60, COMMANDS[name][0])
    joined = "".join(SGR.sub("", text).split())
    assert "[red]painted[/red]:smile:" in joined
    assert "\\x1b]0;owned\\x07" in joined
    assert joined.count("漢字") >= 40


@pytest.mark.parametrize(
    ("names", "is_coloured"),
    [
        ({}, True),
        ({"NO_COLOR": "1"}, False),
        ({"NO_COLOR": "1", "FORCE_COLOR": "1"}, False),
        ({"TERM": "dumb"}, False),
        ({"TERM": "dumb", "FORCE_COLOR": "1"}, True),
        ({"NO_COLOR": ""}, True),
    ],
)
@pytest.mark.parametrize("name", ["ps", "events", "trace", "dead"])
async def test_colours_are_there_as_the_environment_wants_them(
    served, shown, monkeypatch, name, names, is_coloured
):
    for key, value in names.items():
        monkeypatch.setenv(key, value)
    text = await shown(100, COMMANDS[name][0])
    assert ("\x1b[" in text) == is_coloured


async def test_forced_colours_where_piped_change_no_line(served, monkeypatch, capsys):
    assert await asyncio.to_thread(main, ["ps"]) == 0
    plain = capsys.readouterr().out
    monkeypatch.setenv("FORCE_COLOR", "1")
    assert await asyncio.to_thread(main, ["ps"]) == 0
    coloured = capsys.readouterr().out
    assert "\x1b[" in coloured
    assert SGR.sub("", coloured) == plain


async def test_ps_drops_columns_in_order_where_the_terminal_is_narrow(served, shown):
    titles = {}
    for columns in (200, 80, 60, 40):
        (line, *_) = SGR.sub("", await shown(columns, ["ps"])).split("\n")
        titles[columns] = line.replace("RUNS AS", "RUNS_AS").split()
    everything = ["WORKER", "STATE", "RUNS_AS", "SINCE", "HANDLED", "FAILED", "WAITING", "WHY"]
    assert titles[200] == everything
    for columns, found in titles.items():
        assert [title for title in everything if title in found] == found, columns
        assert found[:2] == ["WORKER", "STATE"]
        assert found[-1] == "WHY"
    assert len(titles[40]) < len(titles[200])


async def test_ps_counts_what_was_handled_and_failed(served, monkeypatch, capsys):
    assert await asyncio.to_thread(main, ["ps", "--wide"]) == 0
    title, line = capsys.readouterr().out.splitlines()
    assert title.replace("RUNS AS", "RUNS_AS").split()[-5:] == [
        "SINCE",
        "HANDLED",
        "FAILED",
        "WAITING",
        "WHY",
    ]
    since, handled, failed, waiting = line.split()[3:7]
    assert since.endswith("Z")
    assert (handled, failed, waiting) == ("2", "2", "0")


async def test_validate_at_a_terminal_shows_foreign_text_as_text(served, shown, tmp_path, monkeypatch):
    monkeypatch.setattr(validate, "roots_of", lambda path, say: [path])
    found = {"path": str(tmp_path), "ok": False, "counts": {"worker": 2}, "problems": [HOSTILE, "second"]}
    monkeypatch.setattr(validate, "check", lambda root, **_: found)
    text = await shown(60, ["validate", str(tmp_path)], 1)
    assert all(columns_of(line) <= 60 for line in text.split("\n"))
    assert "[red]" in SGR.sub("", text)


async def test_doctor_at_a_terminal_shows_foreign_text_as_text(shown, monkeypatch):
    monkeypatch.setenv("TERM", "xterm")
    findings = [Finding("broker", "problem", HOSTILE, "mend it"), Finding("python", "ok", "[red]3.13[/red]")]
    monkeypatch.setattr(doctor, "checks_of", lambda options: {"all": lambda: findings})
    for columns in (20, 60, 200):
        text = await shown(columns, ["doctor"], 1)
        assert all(columns_of(line) <= columns for line in text.split("\n"))
        assert columns < 60 or "[red]3.13[/red]" in SGR.sub("", text)
        assert "\x1b" not in SGR.sub("", text)


@given(
    st.lists(
        st.lists(st.text("ab \n漢字🙂\x1b[/red]", max_size=40), min_size=5, max_size=5),
        min_size=1,
        max_size=4,
    ),
    st.integers(20, 120),
)
@settings(max_examples=60, deadline=None)
def test_a_table_fits_whatever_its_cells_have(rows, columns):
    out = io.StringIO()
    out.isatty = lambda: True
    table = [["A", "B", "C", "D", "E"], *rows]
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("COLUMNS", str(columns))
        patch.setenv("TERM", "xterm")
        patch.setattr("sys.stdout", out)
        lines = table_lines(table, less=("D", "B"))
    assert all(columns_of(line) <= columns for line in lines)


def test_a_signal_while_the_program_is_imported_ends_it_with_code_130(monkeypatch):
    def interrupted(arguments):
        raise KeyboardInterrupt

    monkeypatch.setattr("dnworker.cli.main.read_options", interrupted)
    assert entry.main(["ps"]) == 130


# -- folding -----------------------------------------------------------------------------------------------


def test_a_folded_line_keeps_its_text_and_is_indented_below_its_begin():
    assert folded("    one two three four", 14) == ["    one two", "      three", "      four"]
    assert folded("short", 20) == ["short"]
    wide = folded("漢" * 30, 20)
    assert "".join(one.strip() for one in wide) == "漢" * 30
    assert all(columns_of(one) <= 20 for one in wide)


# -- Ctrl-C and closed pipes ---------------------------------------------------------------------------------


def environ_of(runtime: Runtime, columns: int = 100) -> dict[str, str]:
    return {
        "DREADNODE_RUNTIME_URL": runtime.url,
        "DREADNODE_RUNTIME_TOKEN": runtime.tokens.main,
        "TERM": "xterm",
        "COLUMNS": str(columns),
    }


@pytest.mark.slow
@pytest.mark.parametrize(
    ("words", "sign"),
    [
        (["ps", "--watch"], "WHY"),
        (["events", "-f"], "order.billed"),
        (["logs", "-f"], "took"),
        (["tail", "--logs"], "notebook:bridge"),
        (["nodes", "--watch"], "node"),
    ],
)
@pytest.mark.parametrize("served", ["sqlite"], indirect=True)
async def test_ctrl_c_ends_what_follows_with_code_130_and_no_traceback(served, words, sign):
    with terminal(100) as made, own_terminal(made, environ_of(served), *words) as process:
        await asyncio.to_thread(made.wait, sign)
        press_ctrl_c(made)
        assert await asyncio.to_thread(process.wait, 30) == 130
        text = made.end()
    assert "Traceback" not in text
    rest = REDRAW.sub("", text).rsplit("^C", 1)[1].strip().splitlines()
    if words[0] == "ps":
        assert rest == ["dnworker: interrupted"]


@pytest.mark.slow
@pytest.mark.parametrize(
    "words", [["ps"], ["events"], ["trace", "last-failed"], ["logs", "-f"], ["tail", "--logs"], ["doctor"]]
)
@pytest.mark.parametrize("served", ["sqlite"], indirect=True)
async def test_a_reader_that_goes_away_ends_a_command_silently(served, words):
    def run() -> tuple[int, bytes]:
        process = subprocess.Popen(
            [sys.executable, "-m", "dnworker", *words],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=os.environ | environ_of(served) | {"FORCE_COLOR": "1", "PYTHONUNBUFFERED": "1"},
        )
        try:
            process.stdout.close()
            return process.wait(60), process.stderr.read()
        finally:
            process.kill()
            process.stderr.close()

    code, err = await asyncio.to_thread(run)
    assert err == b""
    assert code in (0, 1)


def test_a_screen_that_is_no_terminal_shows_each_state_once(capsys):
    screen = Screen()
    screen.show(["a"])
    screen.show(["a"])
    screen.show(["b"])
    assert capsys.readouterr().out == "a\n\nb\n"


def test_a_screen_shows_no_more_lines_than_there_is_room_for(monkeypatch):
    out = io.StringIO()
    out.isatty = lambda: True
    monkeypatch.setattr("sys.stdout", out)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("LINES", "5")
    monkeypatch.setenv("COLUMNS", "80")
    Screen().show([str(number) for number in range(10)])
    assert REDRAW.sub("", out.getvalue()).splitlines() == ["0", "1", "2", "and 7 more lines"]
