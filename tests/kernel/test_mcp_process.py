"""`%runtime mcp` in a real kernel, with a program in the place of the one that speaks MCP: its life, and its token."""

from __future__ import annotations

import re
import signal
import stat
import time
from pathlib import Path

import pytest

pytestmark = [pytest.mark.kernel]

SERVER = """
import json, os, sys
from pathlib import Path

token_file = os.environ["DNWORKER_TOKEN_FILE"]
Path("told").write_text(json.dumps([os.getpid(), os.environ["DNWORKER_URL"], token_file, Path(token_file).read_text()]))
print(json.dumps({"url": "http://127.0.0.1:1/mcp", "token_file": token_file}), flush=True)
for _ in range(10_000):
    print("x" * 30_000)
    print("also here", file=sys.stderr)
    if Path("end").exists():
        sys.exit(3)
    __import__("time").sleep(0.05)
"""


def plain(text: str) -> str:
    return re.sub(r"\x1b\[[0-9;]*m", "", text)


def is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def until_gone(pid: int, limit: float = 60.0) -> None:
    deadline = time.monotonic() + limit
    while is_alive(pid):
        assert time.monotonic() < deadline, f"process {pid} outlives its kernel"
        time.sleep(0.05)


def told() -> tuple[int, str, str, str]:
    import json

    pid, url, file, token = json.loads(Path("told").read_text())
    return pid, url, file, token.strip()


@pytest.fixture
def served(kernel):
    Path("server.py").write_text(SERVER)
    kernel.run("dn._active().magics.mcp._command = ('server.py',)")
    return kernel


def test_the_answer_says_where_agents_come_in_and_never_the_token(served):
    said = plain(served.run("%runtime mcp").text)
    pid, url, file, token = told()
    assert is_alive(pid)
    assert url == plain(served.run("%runtime url").text).strip()
    assert "http://127.0.0.1:1/mcp" in said
    assert file in said
    assert token not in said
    assert "may not write workers, until you allow it: %runtime mcp --allow-write" in said
    assert stat.S_IMODE(Path(file).stat().st_mode) == 0o600
    assert stat.S_IMODE(Path(file).parent.stat().st_mode) == 0o700
    assert served.run(f"print(dn.runtime().tokens.accepts({token!r}))").text.strip() == "True"
    again = plain(served.run("%runtime mcp --allow-write").text)
    assert "and write workers: each change is marked" in again
    assert told()[0] == pid
    stopped = plain(served.run("%runtime mcp --stop").text)
    assert "do not reach this notebook any more" in stopped
    until_gone(pid)
    assert not Path(file).exists()
    after = served.run(f"print(dn.runtime().tokens.accepts({token!r}), dn._active().magics.agents.may_write)")
    assert after.text.strip() == "False False"


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM], ids=["killed", "ended"])
def test_the_process_ends_with_its_kernel(served, how):
    served.run("%runtime mcp")
    pid = told()[0]
    served.manager.signal_kernel(how)
    until_gone(pid)


def test_a_stop_of_the_runtime_ends_it_and_says_so(served):
    served.run("%runtime mcp")
    pid = told()[0]
    assert "agents do not reach this notebook any more" in served.run("%runtime stop").text
    until_gone(pid)


def test_one_that_ends_by_itself_is_started_again(served):
    served.run("%runtime mcp")
    pid = told()[0]
    Path("end").touch()
    until_gone(pid)
    Path("end").unlink()
    served.run("%runtime mcp")
    assert told()[0] != pid
    assert is_alive(told()[0])


@pytest.mark.parametrize(
    ("program", "words"),
    [
        ("import not_there", "No module named 'not_there'"),
        ("print('hello')", "hello"),
        ("print('[1]')", "ended before it listened"),
        ("pass", "%pip install 'dnworker[mcp]'"),
        ("print('x' * 100_000)", "a line that is too long"),
    ],
)
def test_one_that_does_not_listen_is_one_line_with_the_way_out(served, program, words):
    Path("server.py").write_text(program)
    reply = served.run("%runtime mcp")
    assert reply.status == "error"
    said = reply.error.removeprefix("UsageError: ")
    assert words in said
    assert "\n" not in said
    assert served.run("print(dn._active().magics.mcp.pid)").text.strip() == "None"


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("mcp --stop --allow-write", "exclude each other"),
        ("mcp --undo 7", "there is no change '7'"),
        ("url --allow-write", "--allow-write is for %runtime mcp"),
        ("mcp on", "takes nothing more"),
    ],
)
def test_options_that_make_no_sense_are_refused(shared_kernel, line, words):
    assert words in plain(shared_kernel.run(f"%runtime {line}").text)
