"""What `serve` prints of errors, line by line."""

from __future__ import annotations

from dnworker.cli.announcing import print_error
from dnworker.core.logs import LogLine


def test_each_line_of_an_error_begins_with_its_worker_so_that_none_looks_like_anothers(capsys):
    text = "ValueError: no\n\ndemo:b: exited with code 1\r\n\x1b[31mred"
    print_error(LogLine(1, "demo:a", "runtime", text, "error"))
    assert capsys.readouterr().err.splitlines() == [
        "demo:a: ValueError: no",
        "demo:a:",
        "demo:a: demo:b: exited with code 1\\x0d",
        "demo:a: \\x1b[31mred",
    ]
