"""The command line, as a process: what it prints and how it exits."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import httpx
import pytest

from .capabilities import ECHO, make_capability

TUTORIAL = Path(__file__).parents[2] / "notebooks" / "01-quickstart.ipynb"


def run(*arguments: str, **options):
    command = [sys.executable, "-m", "dnworker", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False, **options)


def test_a_good_manifest_validates(tmp_path):
    make_capability(tmp_path, "echo: {path: echo.py}")
    answer = run("validate", str(tmp_path))
    assert (answer.returncode, answer.stdout) == (0, f"{tmp_path}: ok\n")


def test_a_bad_manifest_fails_with_its_place_and_code(tmp_path):
    make_capability(tmp_path, "echo: {pat: echo.py}")
    answer = run("validate", str(tmp_path), "--json")
    (result,) = json.loads(answer.stdout)
    assert (answer.returncode, result["ok"]) == (1, False)
    assert "capability.yaml:6:10: worker 'echo' has the unknown key 'pat'" in result["problems"][0]


def test_strict_validation_fails_for_a_dropped_worker(tmp_path):
    make_capability(tmp_path, "echo: {path: echo.py, when: [nope]}")
    assert run("validate", str(tmp_path)).returncode == 0
    assert run("validate", "--strict", str(tmp_path)).returncode == 1


def test_wrong_use_exits_with_two():
    assert run("sevre").returncode == 2
    assert run("export", "x.ipynb").returncode == 2


def test_a_notebook_file_is_exported_and_a_missing_one_named(tmp_path):
    answer = run("export", str(TUTORIAL), "-o", str(tmp_path / "out"))
    assert answer.returncode == 0, answer.stderr
    assert "capability quickstart is in" in answer.stdout
    answer = run("export", str(tmp_path / "none.ipynb"), "-o", str(tmp_path / "out"))
    assert (answer.returncode, answer.stdout) == (1, "")
    assert "none.ipynb: not a notebook" in answer.stderr
    assert "Traceback" not in answer.stderr


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_serve_runs_until_it_is_asked_to_stop_and_never_prints_its_token(tmp_path, number):
    root = make_capability(tmp_path / "cap", "echo: {path: echo.py}", {"echo.py": ECHO})
    token_file = tmp_path / "token"
    command = [
        sys.executable,
        "-m",
        "dnworker",
        "serve",
        str(root),
        "--port",
        "0",
        "--token-file",
        str(token_file),
        "--json",
    ]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as server:
        told = server.stdout.readline()
        url = json.loads(told)["url"]
        token = token_file.read_text().strip()
        answer = httpx.get(
            f"{url}/api/workers/demo/echo", headers={"Authorization": f"Bearer {token}"}, trust_env=False
        )
        server.send_signal(number)
        out, err = server.communicate(timeout=20)
    assert answer.json()["state"] == "running"
    assert server.returncode == 0
    assert token not in told + out + err
    assert token_file.stat().st_mode & 0o777 == 0o600


def test_a_port_in_use_is_one_sentence(tmp_path, unused_tcp_port):
    import socket

    with socket.socket() as taken:
        taken.bind(("127.0.0.1", unused_tcp_port))
        taken.listen()
        answer = run("serve", "--port", str(unused_tcp_port), env={**os.environ})
    assert answer.returncode == 1
    assert (
        answer.stderr
        == f"dnworker: port {unused_tcp_port} on 127.0.0.1 is in use; pass port=0 to pick a free one\n"
    )
