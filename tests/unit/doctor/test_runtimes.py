"""The doctor on runtimes that run, those that ended, and the port."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import httpx
import pytest

from dnworker._version import __version__
from dnworker.doctor.runtimes import Known, listener, port, runtimes

URL = "http://127.0.0.1:8787"


def known(alive=True, token=None, url=URL):
    return Known(Path("/x/runtime-7.json"), url, 7, None if token is None else str(token), alive)


def network(ready=200, body=None, version=__version__, status=200):
    def answer(request):
        if request.url.path == "/api/ready":
            return httpx.Response(ready, json=body or {"status": "ok", "stage": "ready"})
        return httpx.Response(status, json={"info": {"version": version}})

    return httpx.MockTransport(answer)


def test_no_runtime_is_well():
    assert [one.mark for one in runtimes([])] == ["ok"]


def test_a_runtime_that_is_ready_is_well():
    (one,) = runtimes([known()], network())
    assert (one.mark, one.text) == ("ok", f"{URL} (process 7) is ready")


@pytest.mark.parametrize(
    ("ready", "body", "mark", "text"),
    [
        (
            200,
            {"status": "degraded", "detail": "the disk is full"},
            "problem",
            "is degraded: the disk is full",
        ),
        (503, {"status": "starting", "stage": "loading"}, "warning", "is not ready: loading"),
        (404, {}, "problem", "answers 404: something else may listen there"),
    ],
)
def test_a_runtime_that_is_not_well_says_why(ready, body, mark, text):
    first = next(iter(runtimes([known()], network(ready, body))))
    assert (first.mark, text in first.text) == (mark, True)


def test_a_runtime_that_does_not_answer_is_a_problem_with_its_process():
    def refuse(request):
        raise httpx.ReadTimeout("timed out")

    (one,) = runtimes([known()], httpx.MockTransport(refuse))
    assert str(one).startswith(f"problem  runtimes: process 7 runs, and {URL} does not answer: timed out")
    assert one.remedy.endswith("kill 7")


def test_an_entry_of_a_process_that_ended_is_a_warning_and_stays(tmp_path):
    (one,) = runtimes([known(alive=False)])
    assert (one.mark, "has ended without a word" in one.text) == ("warning", True)


def test_a_runtime_of_another_version_is_a_warning():
    _, last = runtimes([known()], network(version="9.9"))
    assert (last.mark, last.text) == ("warning", f"{URL} is dnworker 9.9, and this command is {__version__}")


def test_a_token_that_is_refused_or_gone_is_a_problem_and_never_shown(tmp_path):
    file = tmp_path / "token"
    _, last = runtimes([known(token=file)], network())
    assert (last.mark, "cannot be read" in last.text) == ("problem", True)
    file.write_text("secret")
    _, last = runtimes([known(token=file)], network(status=401))
    assert (last.mark, "refuses the token" in last.text, "secret" in str(last)) == ("problem", True, False)


def test_the_port_is_free_or_says_whose_it_is():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        number = taken.getsockname()[1]
        assert [one.mark for one in port(number, [])] == ["ok"]
        taken.listen()
        (one,) = port(number, [])
        assert one.mark == "warning"
        if Path("/proc/self/fd").is_dir():
            assert f"process {os.getpid()} (" in one.text
        assert [one.mark for one in port(number, [known(url=f"http://127.0.0.1:{number}")])] == ["ok"]
    assert listener(number) is None


def test_a_system_without_a_table_of_sockets_names_nobody(tmp_path):
    assert listener(80, tmp_path) is None
