"""What `serve` says to the service manager, over a real datagram socket."""

from __future__ import annotations

import asyncio
import os
import socket
import subprocess
import sys
import time

import pytest

from dnworker import Runtime, Worker
from dnworker.cli.service_manager import ServiceManager, status_of
from tests.unit.capabilities import make_capability


@pytest.fixture
def heard(tmp_path):
    """A socket of a service manager; `heard.until(text)` returns the messages up to one with the text."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as one:
        one.bind(str(tmp_path / "notify"))
        one.settimeout(30)
        yield Heard(one, str(tmp_path / "notify"))


class Heard:
    def __init__(self, one, path):
        self.socket, self.path, self.all = one, path, []

    def next(self, seconds=30.0):
        self.socket.settimeout(seconds)
        self.all.append(self.socket.recv(4096).decode())
        return self.all[-1]

    def until(self, text):
        found = []
        while True:
            found.append(self.next())
            if text in found[-1]:
                return found

    def drain(self):
        self.socket.setblocking(False)
        with pytest.raises(BlockingIOError):
            while True:
                self.all.append(self.socket.recv(4096).decode())


def test_without_a_socket_nothing_is_said():
    manager = ServiceManager.of({"WATCHDOG_USEC": "1000"})
    manager.ready(), manager.status("a"), manager.ping(), manager.stopping(1)
    assert not manager.is_there


def test_what_is_said_is_what_sd_notify_takes(heard):
    manager = ServiceManager.of({"NOTIFY_SOCKET": heard.path, "WATCHDOG_USEC": "2000000"})
    before = time.monotonic_ns() // 1000
    manager.ready(), manager.reloading(), manager.status("two\nlines \x1b[1m"), manager.ping()
    manager.ping()  # at once: not said again
    manager.stopping(9.6), manager.stopping(9.6)
    said = [heard.next() for _ in range(5)]
    assert said[0] == "READY=1"
    kind, micros = said[1].split("\n")
    assert kind == "RELOADING=1"
    assert before <= int(micros.removeprefix("MONOTONIC_USEC=")) <= time.monotonic_ns() // 1000
    assert said[2:] == [
        "STATUS=two lines \\x1b[1m",
        "WATCHDOG=1",
        "STOPPING=1\nEXTEND_TIMEOUT_USEC=9600000",
    ]


def test_an_abstract_socket_is_reached():
    name = f"dnworker-test-{os.getpid()}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as one:
        one.bind("\0" + name)
        one.settimeout(10)
        ServiceManager.of({"NOTIFY_SOCKET": "@" + name}).ready()
        assert one.recv(100) == b"READY=1"


def test_the_variables_are_taken_from_the_environment_so_that_workers_cannot_speak(heard):
    environ = {"NOTIFY_SOCKET": heard.path, "WATCHDOG_USEC": "5", "WATCHDOG_PID": "1", "HOME": "/"}
    ServiceManager.of(environ)
    assert environ == {"HOME": "/"}


@pytest.mark.parametrize(
    ("environ", "pings"),
    [
        ({"WATCHDOG_USEC": "2000000", "WATCHDOG_PID": str(os.getpid())}, True),
        ({"WATCHDOG_USEC": "2000000", "WATCHDOG_PID": "1"}, False),
        ({"WATCHDOG_USEC": "soon"}, False),
        ({"WATCHDOG_USEC": "-1"}, False),
        ({"WATCHDOG_USEC": "0"}, False),
        ({}, False),
    ],
)
def test_it_pings_only_where_the_watchdog_is_for_this_process(heard, environ, pings):
    manager = ServiceManager.of({"NOTIFY_SOCKET": heard.path, **environ})
    manager.ping()
    manager.ready()
    assert (heard.next() == "WATCHDOG=1") is pings


@pytest.mark.parametrize("address", ["vsock:2:1", "relative", "@", "/"])
def test_an_address_that_cannot_be_used_is_logged_and_stops_nothing(address, caplog):
    manager = ServiceManager.of({"NOTIFY_SOCKET": address})
    manager.ready()
    manager.ready()
    assert len(caplog.records) == 1


async def test_the_status_names_what_is_wrong():
    async with Runtime(port=None) as runtime:
        assert status_of(runtime) == "0 workers run"
        await runtime.add(Worker("fine"), capability="shop")
        broken = Worker("billing")

        @broken.on_startup
        async def start(client):
            raise OSError("no disk")

        await runtime.add(broken, capability="shop")
        assert status_of(runtime) == "1 worker runs, 1 in error: shop:billing"
        assert status_of(runtime, "stopping") == ("stopping: 1 worker runs, 1 in error: shop:billing")


async def test_status_is_said_on_a_change_and_a_start_asks_for_more_time(heard):
    manager = ServiceManager.of({"NOTIFY_SOCKET": heard.path})
    async with Runtime(port=None) as runtime:
        keeping = asyncio.create_task(manager.keep(runtime))
        said = await asyncio.to_thread(heard.until, "EXTEND_TIMEOUT_USEC=30000000")
        assert "STATUS=starting: 0 workers run" in said
        manager.ready()
        await runtime.add(Worker("fine"))
        await asyncio.to_thread(heard.until, "STATUS=1 worker runs")
        keeping.cancel()
        heard.drain()
    assert sum(one.startswith("STATUS=1") for one in heard.all) == 1


BLOCKS = """
import os, time
from dnworker import Worker
worker = Worker("w")

@worker.on_event("block")
async def block(event, client):
    print("NOTIFY" if "NOTIFY_SOCKET" in os.environ else "no socket", flush=True)
    time.sleep(60)
"""


@pytest.mark.slow
def test_serve_is_ready_watched_and_stopped_as_a_unit_and_a_blocked_loop_pings_no_more(tmp_path, heard):
    root = make_capability(tmp_path / "cap", "w: {path: w.py}", {"w.py": BLOCKS})
    credentials = tmp_path / "credentials"
    credentials.mkdir(mode=0o700)
    (credentials / "token").write_text("s3cret-word\n")
    (credentials / "token").chmod(0o600)
    environ = {
        "PATH": "/usr/bin:/bin",
        "HOME": str(tmp_path),
        "PYTHONPATH": os.environ.get("PYTHONPATH", ""),
        "NOTIFY_SOCKET": heard.path,
        "WATCHDOG_USEC": "400000",
        "CREDENTIALS_DIRECTORY": str(credentials),
    }
    command = [sys.executable, "-m", "dnworker", "serve", str(root), "--port", "0"]
    command += ["--token-file", str(credentials / "token")]
    with subprocess.Popen(
        command,
        env=environ,
        cwd=tmp_path,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as served:
        try:
            before = heard.until("READY=1")
            assert any("STATUS=starting" in one for one in before)
            url = served.stdout.readline().split()[2].rstrip(";")
            heard.until("STATUS=1 worker runs")
            heard.until("WATCHDOG=1")
            heard.until("WATCHDOG=1")
            fire = [sys.executable, "-m", "dnworker", "fire", "block", "--url", url]
            fire += ["--token-file", str(credentials / "token")]
            subprocess.run(fire, check=True, capture_output=True, timeout=60)
            while "no socket" not in served.stdout.readline():
                pass
            heard.drain()
            with pytest.raises(TimeoutError):  # several pings would be due
                while "WATCHDOG=1" not in heard.next(1.5):
                    pass
        finally:
            served.kill()


@pytest.mark.slow
def test_serve_says_that_it_stops_and_asks_for_the_time(tmp_path, heard):
    root = make_capability(tmp_path / "cap", "w: {path: w.py}", {"w.py": BLOCKS})
    environ = {**os.environ, "HOME": str(tmp_path), "NOTIFY_SOCKET": heard.path}
    command = [sys.executable, "-m", "dnworker", "serve", str(root), "--port", "0", "--stop-within", "13"]
    with subprocess.Popen(command, env=environ, cwd=tmp_path, stdout=subprocess.PIPE) as served:
        try:
            heard.until("READY=1")
            served.terminate()
            assert "EXTEND_TIMEOUT_USEC=18600000" in heard.until("STOPPING=1")[-1]
            assert served.wait(20) == 0
        finally:
            served.kill()
