"""`dnworker serve --debug`: it says where to attach, and refuses what cannot be debugged."""

from __future__ import annotations

import json
import signal
import subprocess
import sys

import httpx
import pytest

from ...dap import DebugClient
from ..capabilities import ECHO, make_capability

pytestmark = pytest.mark.slow


@pytest.fixture
def home(tmp_path, monkeypatch):
    """A home and a working directory without capabilities of their own."""
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("DREADNODE_RUNTIME_TOKEN", "the-token-of-the-test")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def serve(*options: str) -> list[str]:
    return [sys.executable, "-m", "dnworker", "serve", "--port", "0", *options]


def test_serve_says_where_a_debugger_attaches_and_an_event_stops_there(home):
    root = make_capability(home / "cap", "echo: {command: PYTHON, args: [echo.py]}", {"echo.py": ECHO})
    command = serve(str(root), "--debug", "demo:echo", "--json")
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as server:
        told = json.loads(server.stdout.readline())
        client = DebugClient(told["debug"]["demo:echo"]["port"])
        client.attach({str(root / "echo.py"): [8]})
        headers = {"Authorization": "Bearer the-token-of-the-test"}
        event = {"kind": "demo.ping", "payload": {"n": 3}}
        with httpx.Client(base_url=told["url"], headers=headers, trust_env=False) as http:
            assert http.post("/api/events", json=event).is_success
            client.until("stopped")
            assert "'n': 3" in client.variables(client.frames()[0])["event"]
            assert http.get("/api/workers/demo/echo").json()["state"] == "running"
        client.close()
        server.send_signal(signal.SIGTERM)
        server.communicate(timeout=50)
    assert server.returncode == 0


def test_serve_prints_the_entry_and_the_warning(home):
    root = make_capability(home / "cap", "echo: {command: PYTHON, args: [echo.py]}", {"echo.py": ECHO})
    command = serve(str(root), "--debug-wait", "demo:echo")
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as server:
        lines = []
        while not lines or "asks for no password" not in lines[-1]:
            lines.append(server.stdout.readline())
        server.send_signal(signal.SIGTERM)
        server.communicate(timeout=50)
    text = "".join(lines)
    assert "echo: debugpy listens on 127.0.0.1:" in text
    assert "; it waits for a debugger before it runs" in text
    assert f"open {root / 'echo.py'} and set breakpoints there" in text
    assert json.loads(text[text.index("\n{\n") : text.index("\n}\n") + 2])["request"] == "attach"


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("demo:ecko", "--debug demo:ecko: there is no such worker; did you mean demo:echo?"),
        ("demo:inside", "--debug demo:inside: it runs inside of this process"),
    ],
)
def test_serve_refuses_what_is_no_process(home, name, said):
    workers = "echo: {command: PYTHON, args: [echo.py]}\ninside: {path: inside.py}"
    files = {"echo.py": ECHO, "inside.py": ECHO.replace('"echo"', '"inside"')}
    root = make_capability(home / "cap", workers, files)
    answer = subprocess.run(
        serve(str(root), "--debug", name), capture_output=True, text=True, timeout=50, check=False
    )
    assert answer.returncode != 0
    assert said in answer.stderr
    assert "Traceback" not in answer.stderr
