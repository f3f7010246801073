"""An import of a capability that others wrote runs nothing of it, and ends in bounded time."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from dnworker.core.errors import ManifestError, UsageError
from dnworker_jupyter.export.disk.diff import header_lines, header_of
from dnworker_jupyter.importer.importer import import_capability

from ..capabilities import ECHO, make_capability

pytestmark = pytest.mark.timeout(60)

TRAP = "open({!r}, 'a').write('ran')\n"


@pytest.mark.slow
def test_an_import_runs_no_code_of_the_capability(tmp_path):
    mark = tmp_path / "ran"
    trap = TRAP.format(str(mark))
    root = make_capability(
        tmp_path / "cap",
        "echo: {command: uv, args: [run, '${CAPABILITY_ROOT}/workers/echo.py']}",
        {
            "workers/echo.py": trap + "import helper, json2\n" + ECHO,
            "workers/helper.py": trap,
            "workers/json2/__init__.py": trap,
            "tools/t.py": trap,
            "hooks/h.py": trap,
            "conftest.py": trap,
            "setup.py": trap,
            "sitecustomize.py": trap,
            "tests/test_x.py": trap,
        },
        f"checks: [{{name: look, command: 'touch {mark}'}}]\n",
    )
    for cwd in (root, root / "workers", tmp_path):
        command = [
            sys.executable,
            "-m",
            "dnworker",
            "import",
            str(root),
            "-o",
            str(tmp_path / "n.ipynb"),
            "--force",
        ]
        done = subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=False, timeout=50)
        assert "Traceback" not in done.stderr
        assert not mark.exists()


@pytest.mark.parametrize(
    ("put", "why"),
    [
        (os.mkfifo, "is a named pipe|there is no file"),
        (lambda p: p.symlink_to(p), "is a loop of symbolic links"),
        (lambda p: p.write_text("x = " + "-" * 100_000 + "1"), "nested too deep to be read"),
        (lambda p: p.write_text("x = 1" + "+1" * 20_000), "nested too deep"),
        (lambda p: p.write_bytes(b"x = '\xff'\n"), "is not UTF-8 text"),
        (lambda p: p.write_text("#" * 1_000_001), "is larger than 1,000,000 bytes"),
        (lambda p: p.write_text("x = 1\0"), "null bytes"),
        (
            lambda p: p.write_text("# /// script\n# dependencies = 1" + "0" * 9_000 + "\n# ///\n" + ECHO),
            "is no TOML",
        ),
    ],
    ids=["fifo", "loop", "signs", "sum", "latin-1", "large", "nul", "header"],
)
def test_a_script_that_cannot_be_read_is_refused_with_the_reason(tmp_path, put, why):
    root = make_capability(tmp_path / "cap", "echo: {path: echo.py}")
    put(root / "echo.py")
    with pytest.raises((UsageError, ManifestError), match=why):
        import_capability(root, tmp_path)


def test_what_lies_around_and_is_no_file_stops_nothing(tmp_path):
    root = make_capability(tmp_path / "cap", "echo: {path: echo.py}", {"echo.py": ECHO, "tests/a.txt": "x"})
    os.mkfifo(root / "pipe.py")
    os.mkfifo(root / "tests" / "test_pipe.py")
    (root / "again").symlink_to(root)
    (root / "loop").symlink_to("loop")
    assert import_capability(root, tmp_path).cells


def test_a_root_that_is_a_loop_of_links_is_refused(tmp_path):
    (tmp_path / "loop").symlink_to("loop")
    with pytest.raises(ManifestError, match="is a loop of symbolic links"):
        import_capability(Path(tmp_path / "loop"), tmp_path)


@pytest.mark.parametrize(
    ("script", "lines"),
    [
        ("# /// script\n# a = 1\n# ///\n", ["# a = 1"]),
        ("x\n# /// script\n# a = 1\n# ///", ["# a = 1"]),
        ("# /// script\n# ///\n", None),
        ("# /// script\n# ///\n# ///\n", ["# ///"]),
        ("# /// script\nx\n# ///\n", None),
        ("# /// script\nx\n# /// script\n# b = 1\n# ///\n", ["# b = 1"]),
        ("# /// script\n# /// script\n# b = 1\n# ///\n", ["# /// script", "# b = 1"]),
        (" # /// script\n# b = 1\n# ///\n", None),
        ("", None),
    ],
)
def test_the_header_of_a_script_is_what_pep_723_says(script, lines):
    assert header_lines(script) == lines


@pytest.mark.parametrize(
    "script",
    [
        "# /// script\n" * 50_000,
        "# /// script\n# a = " + "[" * 9_000 + "\n# ///\n",
        "# /// script\n# " + "a." * 100_000 + "b = 1\n# ///\n",
        "# /// script\n# a = 1" + "0" * 9_000 + "\n# ///\n",
    ],
    ids=["starts", "deep", "dots", "digits"],
)
def test_a_header_that_would_take_time_is_none(script):
    assert header_of(script) == {}
