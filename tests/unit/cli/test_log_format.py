"""`serve --log-format json` and SIGHUP with real processes: a line is an object, a reload a line."""

from __future__ import annotations

import json
import os
import pty
import signal
import subprocess
import sys
import threading
import time
from contextlib import contextmanager

import httpx
import pytest

MANIFEST = """schema: 1
name: demo
version: 0.1.0
description: prints
flags:
  loud: {description: loud, default: false}
workers:
  talker: {path: talker.py}
"""
TALKER = r"""
import logging, os, subprocess, sys, threading, warnings
from dnworker import Worker
worker = Worker(name="talker")

@worker.on_event("talk")
async def talk(event, client):
    print('{"level": "forged"}\x1b[31m\u2028\x9b')
    sys.stdout.buffer.write(b"\xff\xfe no text\n")
    os.write(2, b"by descriptor \xff\n")
    os.write(1, b"by descriptor of stdout\n")
    subprocess.run(["sh", "-c", "echo by a child; echo by its stderr >&2"], check=True)
    print("x" * 1_000_000)
    warnings.warn("be careful")
    thread = threading.Thread(target=lambda: 1 / 0)
    thread.start()
    thread.join()
    try:
        raise ValueError("first\nsecond")
    except ValueError:
        logging.getLogger("theirs").exception("went wrong: %s", "a\nb")
    print("no end of line", end="")

@worker.on_event("fail")
async def fail(event, client):
    raise RuntimeError("on purpose\n{}")
"""


class Serve:
    """A `serve` process and the lines that it has written."""

    def __init__(self, process):
        self.process = process
        self.out: list[str] = []
        self.err: list[str] = []
        self._new = threading.Condition()
        self._threads = [
            threading.Thread(target=self._read, args=args, daemon=True)
            for args in ((process.stdout, self.out), (process.stderr, self.err))
        ]
        for thread in self._threads:
            thread.start()

    def _read(self, stream, lines):
        with stream:
            for line in stream:
                with self._new:
                    lines.append(line.decode().rstrip("\n"))
                    self._new.notify_all()

    def wait(self, text, count=1):
        """Return the lines with a text once there are so many."""
        with self._new:
            found = lambda: [one for one in [*self.out, *self.err] if text in one]  # noqa: E731
            assert self._new.wait_for(lambda: len(found()) >= count, 60), "\n".join([*self.out, *self.err])
            return found()

    def end(self):
        code = self.process.wait(60)
        for thread in self._threads:
            thread.join(10)
        return code


@pytest.fixture
def demo(tmp_path):
    root = tmp_path / "demo"
    root.mkdir()
    (root / "capability.yaml").write_text(MANIFEST)
    (root / "talker.py").write_text(TALKER)
    (tmp_path / "token").write_text("secret\n")
    (tmp_path / "token").chmod(0o600)
    return tmp_path


@contextmanager
def serving(directory, *arguments, **how):
    command = [sys.executable, "-m", "dnworker", "serve", "--port", "0", "--token-file", "token", *arguments]
    environ = {**os.environ, "HOME": str(directory), "PYTHONWARNINGS": "default"}
    how = {"start_new_session": True, **how}
    served = Serve(
        subprocess.Popen(
            command, cwd=directory, env=environ, stdout=subprocess.PIPE, stderr=subprocess.PIPE, **how
        )
    )
    try:
        yield served
    finally:
        if served.process.poll() is None:
            served.process.kill()
        served.end()


def publish(url, kind):
    head = {"Authorization": "Bearer secret"}
    httpx.post(f"{url}/api/events", json={"kind": kind}, headers=head).raise_for_status()


def test_every_line_is_an_object_whatever_a_handler_writes(demo):
    with serving(demo, "demo", "--log-format", "json", "--log-level", "info") as served:
        url = json.loads(served.wait('"url"')[0])["url"]
        publish(url, "talk")
        served.wait("went wrong")
        publish(url, "fail")
        served.wait("on purpose")
        os.kill(served.process.pid, signal.SIGTERM)
        assert served.end() == 0
    objects = [json.loads(line) for line in [*served.out, *served.err]]
    assert all({"time", "level", "logger", "message"} <= one.keys() for one in objects)
    assert all(line.isprintable() for line in [*served.out, *served.err])
    by_text = {one["message"]: one for one in objects}
    forged = next(one for text, one in by_text.items() if "forged" in text)
    assert (forged["level"], forged["logger"], forged["worker"]) == ("info", "stdout", "demo:talker")
    assert {"by descriptor \\xff", "by a child", "by its stderr", "no end of line"} <= by_text.keys()
    wrong = by_text["went wrong: a\nb"]
    assert (wrong["logger"], wrong["level"]) == ("theirs", "error")
    assert "ValueError: first\nsecond" in wrong["exception"]
    assert len(wrong["invocation"]) == 16
    assert any(one["logger"] == "py.warnings" for one in objects)
    assert max(map(len, by_text)) < 70_000
    assert "stopping; Ctrl-C again stops at once" in by_text


@pytest.mark.parametrize("text", ["[limit]\nqueu = 1\n", "prot = 1\n"])
def test_a_mistake_at_the_start_is_an_object_with_its_code(demo, text):
    (demo / "serve.toml").write_text(text)
    with serving(demo, "demo", "--config", "serve.toml", "--log-format", "json") as served:
        assert served.end() == 1
    (line,) = [*served.out, *served.err]
    found = json.loads(line)
    assert (found["level"], found["code"][:2]) == ("error", "DN")
    assert found["message"].startswith("serve.toml:1: ")


def test_sighup_reads_the_configuration_again_and_names_what_needs_a_restart(demo):
    (demo / "serve.toml").write_text('capabilities = ["demo"]\n')
    with serving(demo, "--config", "serve.toml") as served:
        served.wait("is running")
        (demo / "serve.toml").write_text('capabilities = ["demo"]\nlocals = true\n[flag]\ndemo.loud = true\n')
        os.kill(served.process.pid, signal.SIGHUP)
        (line,) = served.wait("reloaded by serve.toml")
        assert line == (
            "reloaded by serve.toml: flag, capabilities (demo); "
            "locals changed in serve.toml:2: takes effect at the next start"
        )
        url = served.wait("serving at")[0].split()[2].rstrip(";")
        info = httpx.get(f"{url}/api/runtime", headers={"Authorization": "Bearer secret"}).json()
        assert info["capabilities"][0]["flags"][0]["source"] == "cli"
        (demo / "serve.toml").write_text("prot = 1\n")
        os.kill(served.process.pid, signal.SIGHUP)
        served.wait("not reloaded: serve.toml:1: prot is no key; did you mean port?")
        (demo / "serve.toml").write_text('capabilities = ["demo"]\nlog-level = "info"\n')
        for _ in range(2):
            os.kill(served.process.pid, signal.SIGHUP)
        served.wait("log-level")
        os.kill(served.process.pid, signal.SIGTERM)
        assert served.end() == 0
        assert not [one for one in served.err if "Traceback" in one]


def test_sighup_during_the_start_is_a_reload_after_it_and_during_the_stop_none(demo):
    may_start, may_leave = demo / "may-start", demo / "may-leave"
    (demo / "demo" / "talker.py").write_text(
        "import asyncio, os\nfrom dnworker import Worker\nworker = Worker(name='talker')\n"
        "async def until(file):\n    while not os.path.exists(file): await asyncio.sleep(0.01)\n"
        "@worker.on_startup\nasync def start(client):\n    print('starts', flush=True)\n"
        f"    await until({str(may_start)!r})\n"
        "@worker.on_shutdown\nasync def stop(client):\n    print('leaves', flush=True)\n"
        f"    await until({str(may_leave)!r})\n"
    )
    may_leave.touch()
    with serving(demo, "demo") as served:
        served.wait("starts")
        os.kill(served.process.pid, signal.SIGHUP)
        served.wait("SIGHUP: reloads when the start is done")
        may_start.touch()
        served.wait("reloaded: capabilities (demo)")
        may_leave.unlink()
        os.kill(served.process.pid, signal.SIGTERM)
        served.wait("leaves", 2)
        os.kill(served.process.pid, signal.SIGHUP)
        served.wait("nothing is reloaded")
        may_leave.touch()
        assert served.end() == 0


def test_sighup_ends_a_process_whose_terminal_was_closed(demo):
    main, other = pty.openpty()

    def take_terminal():
        import fcntl
        import termios

        fcntl.ioctl(other, termios.TIOCSCTTY, 0)

    try:
        with serving(demo, "demo", preexec_fn=take_terminal, pass_fds=(other,)) as served:
            served.wait("is running")
            os.close(other)
            os.close(main)
            main = other = -1
            began = time.monotonic()
            assert served.end() == 0
            assert time.monotonic() - began < 40
            served.wait("stopping; Ctrl-C again stops at once")
    finally:
        for fd in (main, other):
            if fd >= 0:
                os.close(fd)


def test_sighup_stays_ignored_under_nohup(demo):
    def ignore():
        signal.signal(signal.SIGHUP, signal.SIG_IGN)

    with serving(demo, "demo", preexec_fn=ignore) as served:
        served.wait("is running")
        os.kill(served.process.pid, signal.SIGHUP)
        os.kill(served.process.pid, signal.SIGTERM)
        assert served.end() == 0
    assert not [one for one in [*served.out, *served.err] if "reload" in one]
