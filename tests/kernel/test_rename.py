"""A notebook of a real Jupyter server is renamed while its kernel runs."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import httpx
import pytest
from jupyter_client.blocking.client import BlockingKernelClient

from .session import KernelSession

sys.path.insert(0, str(Path(__file__).parents[2] / "scripts"))
from lab import port_of

pytestmark = [pytest.mark.kernel, pytest.mark.timeout(180)]

TOKEN = "a-token-that-nobody-may-see"


class RemoteKernel(KernelSession):
    """A kernel that a Jupyter server started."""

    def __init__(self, connection_file: Path) -> None:
        self.client = BlockingKernelClient()
        self.client.load_connection_file(str(connection_file))
        self.client.start_channels()
        self.manager = None
        self._held = []
        self.comms = []
        assert self._is_ready()


class JupyterServer:
    """`jupyter server` on a directory, and what JupyterLab does there."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        words = ["-m", "jupyter_server", "--no-browser", "--port=0", f"--IdentityProvider.token={TOKEN}"]
        words += [f"--ServerApp.root_dir={directory}", "--ServerApp.port_retries=50", "--allow-root"]
        self.log = (directory.parent / "server.log").open("wb")
        self.process = subprocess.Popen(
            [sys.executable, *words],
            stdout=self.log,
            stderr=self.log,
            cwd=directory,
        )
        port = port_of(self.process, directory.parent, directory.parent / "server.log")
        self.http = httpx.Client(
            base_url=f"http://127.0.0.1:{port}/api", headers={"Authorization": f"token {TOKEN}"}, timeout=60
        )

    def save(self, path: str, *cells: tuple[str, str]) -> None:
        """Save a notebook, whose cells are given by id and source."""
        code = {"cell_type": "code", "metadata": {}, "outputs": [], "execution_count": None}
        content = {
            "cells": [{**code, "id": i, "source": source} for i, source in cells],
            "metadata": {},
            "nbformat": 4,
            "nbformat_minor": 5,
        }
        self._ask("PUT", f"/contents/{path}", {"type": "notebook", "content": content})

    def open(self, path: str) -> tuple[str, RemoteKernel]:
        """Open a notebook: begin a session with a kernel; returns its id, and the kernel."""
        body = {"path": path, "name": path, "type": "notebook", "kernel": {"name": "python3"}}
        session = self._ask("POST", "/sessions", body)
        name = f"kernel-{session['kernel']['id']}.json"
        (connection,) = self.directory.parent.rglob(name)
        return session["id"], RemoteKernel(connection)

    def rename(self, session: str, old: str, new: str) -> None:
        """Do what *Rename* does in JupyterLab."""
        self._ask("PATCH", f"/contents/{old}", {"path": new})
        self._ask("PATCH", f"/sessions/{session}", {"path": new, "name": new})

    def close(self, session: str, kernel: RemoteKernel) -> None:
        """Shut the kernel of a notebook down."""
        kernel.client.stop_channels()
        self.http.delete(f"/sessions/{session}").raise_for_status()

    def _ask(self, method: str, path: str, body: dict) -> dict:
        answer = self.http.request(method, path, json=body)
        answer.raise_for_status()
        return answer.json()

    def stop(self) -> None:
        self.http.close()
        self.process.terminate()
        self.process.wait(120)
        self.log.close()


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        home = tmp_path_factory.mktemp("home")
        patch.setenv("HOME", str(home))
        patch.setenv("JUPYTER_NO_CONFIG", "1")  # without its extensions, which take seconds to load
        for name in ("JUPYTER_RUNTIME_DIR", "XDG_DATA_HOME", "DNWORKER_JOURNAL", "JPY_SESSION_NAME"):
            patch.delenv(name, raising=False)
        (home / "work").mkdir()
        started = JupyterServer(home / "work")
        yield started
        started.stop()


LOAD = "%load_ext dnworker"
WORKER = "%%worker w\n@worker.on_event('demo.a')\nasync def h(event, client): print('heard')"
EDITED = WORKER.replace("heard", "heard this")
JOURNAL = "%runtime\nprint('journal:', dn.runtime().journal.path)"


def journal_of(kernel: RemoteKernel) -> str:
    """Return the journal's file, once the runtime has started."""
    return kernel.run(JOURNAL).streams["stdout"].partition("journal:")[2].strip()


def test_after_a_rename_the_journal_and_the_marks_go_on_and_a_new_notebook_inherits_nothing(server):
    (server.directory / "first").mkdir()
    server.save("first/Untitled.ipynb", ("one", LOAD), ("two", WORKER))
    session, kernel = server.open("first/Untitled.ipynb")
    kernel.run("import logging; logging.basicConfig(level=logging.DEBUG, filename='all.log')", "zero")
    kernel.run(LOAD, "one")
    kernel.run(WORKER, "two")
    kernel.run("%fire demo.a n=1", "three")
    journal = journal_of(kernel)
    assert "stale" not in kernel.run("%worker w").text

    server.rename(session, "first/Untitled.ipynb", "first/demo.ipynb")
    server.save("first/demo.ipynb", ("one", LOAD), ("two", EDITED))
    assert "stale: its cell was edited since and has not run" in kernel.run("%worker w").text
    assert journal_of(kernel) == journal
    record = json.loads(Path(journal).with_suffix(".json").read_text())
    assert record["notebook"] == str(server.directory / "first/demo.ipynb")
    server.close(session, kernel)
    for log in [server.directory / "first" / "all.log", server.directory.parent / "server.log"]:
        assert TOKEN not in log.read_text()

    server.save("first/Untitled.ipynb", ("other", LOAD))
    session, kernel = server.open("first/Untitled.ipynb")
    kernel.run(LOAD, "other")
    assert "no events" in kernel.run("%events --all").text
    assert journal_of(kernel) != journal
    server.close(session, kernel)

    session, kernel = server.open("first/demo.ipynb")
    kernel.run(LOAD, "one")
    assert journal_of(kernel) == journal
    kernel.run(EDITED, "two")
    assert "| heard this" in kernel.run("%replay last 1").text
    server.close(session, kernel)


def test_a_notebook_that_was_renamed_before_the_extension_is_loaded_is_known_by_its_new_name(server):
    (server.directory / "second").mkdir()
    server.save("second/Untitled.ipynb", ("one", LOAD))
    session, kernel = server.open("second/Untitled.ipynb")
    server.rename(session, "second/Untitled.ipynb", "second/demo.ipynb")
    kernel.run(LOAD, "one")
    assert Path(journal_of(kernel)).name.startswith("demo-")
    server.close(session, kernel)


def test_a_server_that_hangs_holds_no_cell(server):
    (server.directory / "third").mkdir()
    server.save("third/Untitled.ipynb", ("one", LOAD))
    session, kernel = server.open("third/Untitled.ipynb")
    kernel.run(LOAD, "one")
    kernel.run(WORKER, "two")
    server.process.send_signal(19)  # SIGSTOP: it listens, and does not answer
    try:
        assert kernel.run("1 + 1").status == "ok"
        assert "h" in kernel.run("%worker w").text
    finally:
        server.process.send_signal(18)
    server.close(session, kernel)
