"""The standard streams of `serve`, in a process of their own."""

from __future__ import annotations

import json
import subprocess
import sys


def run(code, *, as_json=False, redirection=""):
    """Run code within the streams; returns what is on its two outputs."""
    lines = "\n".join(f"    {line}" for line in code.strip().splitlines())
    program = (
        "import io, logging, os, subprocess, sys\n"
        "from dnworker.cli.streams import streams\nfrom dnworker.cli.text import print_json\n"
        f"with streams(as_json={as_json}) as standard:\n{lines}\n"
    )
    done = subprocess.run(
        ["bash", "-c", f'exec "$0" -c "$1" {redirection}', sys.executable, program],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout, done.stderr


def test_everything_that_is_printed_arrives_in_order():
    out, err = run("""
print("one", end="")
print(" two")
sys.stdout.buffer.write(b"three\\n")
sys.stdout.writelines(["four\\n"])
sys.__stdout__.write("five\\n")
print("fünf", "\\udcff".encode("utf-8", "surrogateescape"), flush=True)
os.write(1, b"by descriptor\\n")
print("six")
sys.stderr.write("a\\n")
logging.warning("b")
""")
    assert out.splitlines() == ["one two", "three", "four", "five", "fünf b'\\xff'", "by descriptor", "six"]
    assert err.splitlines() == ["a", "WARNING:root:b"]


def test_libraries_find_what_they_ask_a_stream_for():
    out, _ = run("""
import contextlib
print(sys.stdout.fileno(), sys.stdout.isatty(), sys.stdout.encoding, sys.stdout.writable(), sys.stdout.closed)
print(sys.stdout.buffer.raw.fileno(), sys.stdout.name, sys.stderr.errors, flush=True)
subprocess.run(["echo", "child"], stdout=sys.stdout, check=True)
with contextlib.redirect_stdout(io.StringIO()) as caught:
    print("caught")
sys.stdout.reconfigure(line_buffering=True)
sys.stdout.close()
print("still open", caught.getvalue().strip())
""")
    assert out.splitlines() == [
        "1 False utf-8 True False",
        "1 <standard output> backslashreplace",
        "child",
        "still open caught",
    ]


def test_with_json_whoever_prints_prints_on_standard_error():
    out, err = run(
        """
print("printed", flush=True)
os.write(1, b"by descriptor\\n")
subprocess.run(["echo", "by a child"], check=True)
print_json({"ok": True})
""",
        as_json=True,
    )
    assert json.loads(out) == {"ok": True}
    assert err.splitlines() == ["printed", "by descriptor", "by a child"]


def test_streams_that_were_closed_lead_nowhere():
    out, _ = run("print('nobody sees it')\nassert os.open(os.devnull, os.O_RDONLY) > 2", redirection=">&-")
    assert out == ""


def test_what_waits_is_written_at_the_end():
    out, _ = run("for n in range(5000):\n    print(n)")
    assert out.split() == [str(n) for n in range(5000)]
