"""The server of a kernel is found by what it writes beside the connection file, and asked in bounded time."""

from __future__ import annotations

import http.server
import json
import logging
import os
import socketserver
import threading
from pathlib import Path

import pytest

from dnworker_jupyter.kernel import jupyter_server
from dnworker_jupyter.kernel.jupyter_server import ask_servers

TOKEN = "a-token-that-nobody-may-see"
KERNEL = "1d5f7d0a-3f5e-4b52-9d5b-7d7d0a3f5e4b"


def session(path: str, kernel: str = KERNEL, kind: str = "notebook") -> dict:
    return {"id": "s", "path": path, "type": kind, "kernel": {"id": kernel}}


class FakeServer:
    """A server that answers `/api/sessions` as `sessions` says, to who has the token."""

    def __init__(self, directory: Path, *, sock: Path | None = None, pid: int | None = None):
        self.sessions: object = [session("a.ipynb")]
        self.asked: list[str] = []
        self.hangs = threading.Event()
        self.hangs.set()
        fake = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self):
                fake.hangs.wait(10)
                fake.asked.append(self.path)
                if self.headers["Authorization"] != f"token {TOKEN}":
                    self.send_response(302)
                    self.send_header("Location", "http://elsewhere.invalid/login")
                    self.end_headers()
                    return
                body = (
                    fake.sessions if isinstance(fake.sessions, bytes) else json.dumps(fake.sessions).encode()
                )
                self.send_response(200)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def address_string(self):
                return "client"

            def log_message(self, *args):
                pass

        if sock is None:
            self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
            about = {"url": f"http://127.0.0.1:{self.server.server_address[1]}/base/"}
        else:
            self.server = socketserver.ThreadingUnixStreamServer(str(sock), Handler)
            about = {"url": "http+unix://x/base/", "sock": str(sock)}
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        self.about = {
            **about,
            "base_url": "/base/",
            "token": TOKEN,
            "root_dir": "/srv/notebooks",
            "pid": pid or os.getpid(),
        }
        self.file = directory / f"jpserver-{pid or os.getpid()}.json"
        self.write()

    def write(self, **fields):
        self.file.write_text(json.dumps(self.about | fields))

    def close(self):
        self.hangs.set()
        self.server.shutdown()
        self.server.server_close()


@pytest.fixture
def server(tmp_path):
    fake = FakeServer(tmp_path)
    yield fake
    fake.close()


@pytest.fixture
def connection(tmp_path):
    return str(tmp_path / f"kernel-{KERNEL}.json")


def test_the_server_names_the_notebook_of_the_kernel(server, connection):
    server.sessions = [
        session("other.ipynb", "another"),
        session("dir/new name.ipynb"),
        session("c", kind="console"),
    ]
    assert ask_servers(connection, {}) == Path("/srv/notebooks/dir/new name.ipynb")
    assert server.asked == ["/base/api/sessions?no_track_activity=1"]


def test_of_two_notebooks_of_one_kernel_it_is_the_one_that_began_it(server, connection):
    server.sessions = [session("a.ipynb"), session("b.ipynb")]
    assert ask_servers(connection, {"JPY_SESSION_NAME": "/srv/notebooks/b.ipynb"}) == Path(
        "/srv/notebooks/b.ipynb"
    )
    assert ask_servers(connection, {"JPY_SESSION_NAME": "/srv/notebooks/c.ipynb"}) == Path(
        "/srv/notebooks/a.ipynb"
    )


def test_a_document_that_several_edit_is_found_without_the_prefix_of_its_drive(server, connection):
    server.sessions = [session("RTC:a.ipynb")]
    assert ask_servers(connection, {}) == Path("/srv/notebooks/a.ipynb")


def test_a_server_at_a_socket_in_the_file_system_is_asked_too(tmp_path, connection):
    fake = FakeServer(tmp_path, sock=tmp_path / "s")
    assert ask_servers(connection, {}) == Path("/srv/notebooks/a.ipynb")
    fake.close()


def test_the_hub_gives_a_token_where_the_server_has_none_of_its_own(server, connection):
    server.write(token="")
    assert ask_servers(connection, {}) is None
    assert ask_servers(connection, {"JUPYTERHUB_API_TOKEN": TOKEN}) == Path("/srv/notebooks/a.ipynb")


@pytest.mark.parametrize(
    "sessions", [[], {}, None, b"not json", [1], [{"kernel": None}], [session("")], [session("a.txt")]]
)
def test_an_answer_that_names_no_notebook_is_none(server, connection, sessions):
    server.sessions = sessions
    assert ask_servers(connection, {}) is None


def test_a_server_that_has_ended_or_writes_nonsense_is_left_out(tmp_path, server, connection):
    gone = 2**22 - 1
    (tmp_path / f"jpserver-{gone}.json").write_text(json.dumps(server.about))
    for name, text in (("jpserver-x.json", "{}"), (f"nbserver-{os.getpid()}.json", "{")):
        (tmp_path / name).write_text(text)
    server.write(url="gopher://x/")
    assert ask_servers(connection, {}) is None
    assert server.asked == []


def test_only_the_server_that_started_the_kernel_is_asked_where_that_is_known(tmp_path, server, connection):
    other = FakeServer(tmp_path, pid=os.getppid())
    other.sessions = [session("of the parent.ipynb")]
    assert ask_servers(connection, {"JPY_PARENT_PID": "1"}) is None
    assert (server.asked, other.asked) == ([], [])
    assert ask_servers(connection, {"JPY_PARENT_PID": str(os.getppid())}) == Path(
        "/srv/notebooks/of the parent.ipynb"
    )
    other.close()


def test_a_server_that_does_not_answer_is_given_up(server, connection, monkeypatch):
    monkeypatch.setattr(jupyter_server, "ANSWER_LIMIT", 0.05)
    server.hangs.clear()
    assert ask_servers(connection, {}) is None


def test_the_token_is_in_no_log(server, connection, caplog):
    caplog.set_level(logging.DEBUG)
    ask_servers(connection, {})
    server.write(token="wrong-" + TOKEN)
    ask_servers(connection, {})
    assert TOKEN not in caplog.text


def test_without_a_kernel_nobody_is_asked():
    assert ask_servers(None, {}) is None
