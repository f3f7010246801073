"""`serve --retry`: which workers and kinds it names, and what is none."""

from __future__ import annotations

import argparse
import subprocess
import sys

import pytest

from dnworker import Runtime, Worker
from dnworker.cli.retry_options import add_retry_arguments, check_retried, retry_of
from dnworker.core.errors import UsageError

from ..capabilities import ECHO, make_capability


def policies(*words: str):
    parser = argparse.ArgumentParser()
    add_retry_arguments(parser)
    return retry_of(parser.parse_args([f"--retry={word}" for word in words]))


@pytest.fixture
def bridge():
    worker = Worker("bridge")

    @worker.on_event("demo.kind")
    async def on_demo(event, client) -> None:
        """Do nothing."""

    return worker


async def test_a_name_that_is_no_worker_is_refused_and_the_near_one_named(bridge):
    async with Runtime(port=None, retry=policies("notebook:brdige=5")) as runtime:
        await runtime.add(bridge)
        with pytest.raises(UsageError, match="--retry notebook:brdige: .* did you mean notebook:bridge"):
            check_retried(runtime)


async def test_a_worker_of_a_capability_that_failed_to_load_is_left_to_that_error(tmp_path, bridge):
    make_capability(tmp_path / "demo", "w: {nonsense: 1}")
    async with Runtime(port=None, retry=policies("demo:w=5"), capability_dirs=[tmp_path]) as runtime:
        await runtime.discover()
        assert [one.name for one in runtime.capabilities.all() if one.failure] == ["demo"]
        check_retried(runtime)


async def test_a_kind_that_a_worker_does_not_hear_is_warned_of(bridge, caplog):
    words = ["notebook:bridge=5", "notebook:bridge/demo.kind=5", "notebook:bridge/demo.knid=5"]
    async with Runtime(port=None, retry=policies(*words)) as runtime:
        await runtime.add(bridge)
        check_retried(runtime)
    assert [one.getMessage() for one in caplog.records if one.levelname == "WARNING"] == [
        "--retry notebook:bridge/demo.knid: the worker has no handler of this kind; did you mean demo.kind?"
    ]


@pytest.mark.slow
def test_serve_refuses_what_is_no_worker(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    root = make_capability(tmp_path / "cap", "echo: {path: echo.py}", {"echo.py": ECHO})
    command = [sys.executable, "-m", "dnworker", "serve", "--port", "0", str(root), "--retry", "demo:ecko=5"]
    answer = subprocess.run(command, capture_output=True, text=True, timeout=50, check=False)
    assert answer.returncode == 1
    assert "--retry demo:ecko: there is no such worker; did you mean demo:echo?" in answer.stderr
    assert "Traceback" not in answer.stderr
