"""`dnworker serve` on unix sockets, with TLS, and on sockets of a service manager: whole processes."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import stat
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import trustme

from dnworker.client.client import RuntimeClient
from dnworker.client.tls import client_context
from tests.unit.capabilities import ECHO, make_capability

pytestmark = pytest.mark.slow

loops = pytest.mark.parametrize("loop", ["asyncio", "uvloop"])

DNWORKER = [sys.executable, "-m", "dnworker"]

AS_SYSTEMD = """
import os, sys
count = int(sys.argv[1])
given = [os.dup2(int(number), 100 + place) for place, number in enumerate(sys.argv[2 : 2 + count])]
for place, number in enumerate(given):
    os.dup2(number, 3 + place)
os.environ |= {"LISTEN_PID": str(os.getpid()), "LISTEN_FDS": str(count)}
os.execv(sys.executable, [sys.executable, *sys.argv[2 + count :]])
"""
"""Starts a program as a service manager does: its sockets are the descriptors from 3 on."""


class Home:
    """A directory with a capability whose worker is a process, a token and a home."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        make_capability(
            directory / "cap",
            "echo: {command: PYTHON, args: ['${CAPABILITY_ROOT}/echo.py']}",
            {"echo.py": ECHO},
        )
        self.token = directory / "token"
        self.token.write_text("s3cret\n")
        self.token.chmod(0o600)
        unset = ("DNWORKER_CA", "DREADNODE_RUNTIME_URL", "DREADNODE_RUNTIME_TOKEN")
        kept = {name: value for name, value in os.environ.items() if name not in unset}
        self.environ = {**kept, "HOME": str(directory)}

    @contextmanager
    def serving(
        self, *words: str, sockets: tuple[socket.socket, ...] = ()
    ) -> Iterator[subprocess.Popen[str]]:
        """Start a runtime; it is killed where it has not ended."""
        command = [*DNWORKER, "serve", "cap", "--json", "--token-file", "token", *words]
        numbers = [one.fileno() for one in sockets]
        if sockets:
            starter = [sys.executable, "-c", AS_SYSTEMD, str(len(numbers)), *map(str, numbers)]
            command = [*starter, *command[1:]]
        process = subprocess.Popen(
            command,
            cwd=self.directory,
            env=self.environ,
            pass_fds=numbers,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        try:
            yield process
        finally:
            if process.poll() is None:
                process.kill()
            process.communicate()

    def run(self, *words: str) -> subprocess.CompletedProcess[str]:
        """Run a command."""
        return subprocess.run(
            [*DNWORKER, *words],
            cwd=self.directory,
            env=self.environ,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    async def handled(self, url: str, *tls: str) -> None:
        """Publish until a `tail` over the WebSocket has shown what the worker's process answers."""
        where = ("--url", url, "--token-file", str(self.token), *tls)
        tail = await asyncio.create_subprocess_exec(
            *(*DNWORKER, "tail", "demo.pong", "--count", "1", *where),
            cwd=self.directory,
            env=self.environ,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        ended = asyncio.create_task(tail.communicate())
        context = client_context(tls[1]) if tls else None
        try:
            async with asyncio.timeout(60), RuntimeClient(url, auth_token="s3cret", tls=context) as client:
                while not ended.done():
                    await client.publish("demo.ping", {"n": 1})
                    await asyncio.wait({ended}, timeout=0.05)
            out, err = ended.result()
        finally:
            if tail.returncode is None:
                tail.kill()
                await ended
        assert 'demo.pong {"echo": {"n": 1}}' in out.decode(), err.decode()


@pytest.fixture
def home(tmp_path):
    return Home(tmp_path)


@pytest.fixture
def short():
    """A directory whose path is short enough for a socket."""
    import shutil
    import tempfile

    made = tempfile.mkdtemp(prefix="dnw")
    yield Path(made)
    shutil.rmtree(made)


def told(process: subprocess.Popen[str]) -> dict:
    """Return what it says once it serves."""
    line = process.stdout.readline()
    assert line, process.stderr.read()
    return json.loads(line)


def end(process: subprocess.Popen[str]) -> str:
    """Ask it to end as a service manager does; returns its last words."""
    process.send_signal(signal.SIGTERM)
    _, err = process.communicate(timeout=30)
    assert process.returncode == 0, err
    return err


@loops
async def test_a_runtime_at_a_unix_socket_serves_clients_and_its_workers_and_leaves_nothing(
    home, short, loop
):
    path = short / "api.sock"
    with home.serving("--uds", str(path), "--loop", loop) as process:
        report = told(process)
        assert report["addresses"] == [f"unix:{path}"]
        assert report["url"].startswith("http://127.0.0.1:")
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        assert stat.S_ISSOCK(path.stat().st_mode)
        await home.handled(f"unix:{path}")
        assert "demo:echo" in home.run("ps").stdout  # by the list of runtimes that run here
        found = home.run("ps", "--url", f"unix:{path}", "--json")  # with the token of that list
        assert json.loads(found.stdout)["url"] == f"unix:{path}"
        assert home.run("probe", "--url", f"unix:{path}").stdout == "ready\n"
        opened = home.run("panel", "--no-browser", "--url", f"unix:{path}")
        assert opened.stdout.startswith(f"{report['url']}/panel#ticket=")
        end(process)
    assert not path.exists()
    gone = home.run("ps", "--url", f"unix:{path}", "--token-file", "token")
    assert (gone.returncode, "there is no socket" in gone.stderr, "(DN939)" in gone.stderr) == (1, True, True)


@loops
async def test_a_runtime_with_tls_serves_clients_and_its_workers(home, loop):
    authority = trustme.CA()
    ca, cert, key = (home.directory / name for name in ("ca.pem", "cert.pem", "key.pem"))
    ca.write_bytes(authority.cert_pem.bytes())
    issued = authority.issue_cert("localhost", "127.0.0.1")
    issued.cert_chain_pems[0].write_to_path(str(cert))
    issued.private_key_pem.write_to_path(str(key))
    key.chmod(0o600)
    options = ("--port", "0", "--tls-cert", str(cert), "--tls-key", str(key))
    with home.serving(*options, "--loop", loop) as process:
        (url,) = told(process)["addresses"]
        assert url.startswith("https://127.0.0.1:")
        await home.handled(url, "--ca", str(ca))
        await home.handled(url.replace("127.0.0.1", "localhost"), "--ca", str(ca))
        assert home.run("probe", "--url", url, "--ca", str(ca)).stdout == "ready\n"
        assert "demo:echo" in home.run("ps").stdout
        refused = home.run("ps", "--url", url)
        assert (refused.returncode, refused.stderr.count("\n")) == (1, 1)
        assert "--ca FILE, or DNWORKER_CA (DN927)" in refused.stderr
        refused = home.run("probe", "--url", url)
        assert (refused.returncode, "--ca FILE" in refused.stdout) == (1, True)
        end(process)


async def test_sockets_of_a_service_manager_are_served_and_stay_its_own(home, short):
    path = short / "api.sock"
    with socket.socket() as tcp, socket.socket(socket.AF_UNIX) as unix:
        tcp.bind(("127.0.0.1", 0))
        unix.bind(str(path))
        for one in (tcp, unix):
            one.listen()
        url = f"http://127.0.0.1:{tcp.getsockname()[1]}"
        for _ in range(2):  # a service that is started again takes over the same sockets
            with home.serving("--port", "1", sockets=(tcp, unix)) as process:
                report = told(process)
                assert (report["url"], report["addresses"]) == (url, [f"unix:{path}"])
                for address in (url, f"unix:{path}"):
                    await home.handled(address)
                end(process)
            assert path.exists()


async def test_connections_that_come_before_the_service_are_served_when_it_is_there(home, short):
    with socket.socket(socket.AF_UNIX) as unix:
        unix.bind(str(short / "s"))
        unix.listen()
        waiting = asyncio.create_task(home.handled(f"unix:{short / 's'}"))
        await asyncio.sleep(0)
        try:
            with home.serving(sockets=(unix,)) as process:
                told(process)
                await waiting
                end(process)
        finally:
            waiting.cancel()


async def test_the_socket_of_a_killed_runtime_is_taken_over_by_the_next(home, short):
    path = short / "api.sock"
    with home.serving("--uds", str(path)) as process:
        told(process)
        process.kill()
        process.wait()
        assert path.exists()
        stale = home.run("ps", "--url", f"unix:{path}", "--token-file", "token")
        assert "nobody listens at" in stale.stderr
        with home.serving("--uds", str(path), "--uds-mode", "0660") as second:
            told(second)
            assert stat.S_IMODE(path.stat().st_mode) == 0o660
            await home.handled(f"unix:{path}")
            with home.serving("--uds", str(path)) as third:
                out, _ = third.communicate(timeout=60)
                assert (third.returncode, "in use: a process listens there" in out) == (1, True)
            await home.handled(f"unix:{path}")
            end(second)
    assert not path.exists()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--uds", "/tmp/" + "x" * 120], "and a socket's has at most 107; name a shorter one"),
        (["--uds", "/proc/dnworker.sock"], "name a path in a directory that this user may write"),
        (["--uds", "/nonexistent/dir/s"], "there is no directory /nonexistent/dir; make it"),
        (["--uds", "token"], "there is something else than a socket"),
        (["--uds", "s", "--uds-mode", "0077"], "--uds-mode 0077"),
    ],
)
def test_a_socket_that_cannot_be_had_is_one_line_and_no_runtime(home, words, said):
    with home.serving(*words) as process:
        out, _ = process.communicate(timeout=60)
    assert process.returncode == 1
    report = json.loads(out)
    assert said in report["error"]
    assert report["code"] == "DN925"
    assert home.run("ps").returncode == 1
    assert home.token.read_text() == "s3cret\n"


def test_a_directory_that_may_not_be_written_is_named(home):
    locked = home.directory / "locked"
    locked.mkdir(mode=0o500)
    if os.access(locked, os.W_OK):
        pytest.skip("this user may write everywhere")
    with home.serving("--uds", "locked/s") as process:
        out, _ = process.communicate(timeout=60)
    assert "locked/s: Permission denied; name a path" in json.loads(out)["error"]


@pytest.mark.parametrize("count", ["0", "many"])
def test_a_wrong_number_of_sockets_is_one_line(home, count):
    words = [*DNWORKER, "serve", "cap", "--token-file", "token"]
    starter = "import os, sys; os.environ |= {'LISTEN_PID': str(os.getpid()), 'LISTEN_FDS': sys.argv[1]}"
    program = f"{starter}; os.execv(sys.argv[2], sys.argv[2:])"
    found = subprocess.run(
        [sys.executable, "-c", program, count, *words],
        cwd=home.directory,
        env=home.environ,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (found.returncode, found.stderr.count("\n")) == (1, 1)
    assert f"LISTEN_FDS is '{count}'" in found.stderr
