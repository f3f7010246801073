"""`%runtime join`: a notebook as a node beside others, over a real server."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "scripts"))
from nats_servers import free_ports, nats_server

pytestmark = pytest.mark.timeout(180)

CELL = """%%worker bridge
@worker.on_event("demo.go")
async def on_go(event, client):
    print("went", event.payload["n"])
"""


def test_a_notebook_joins_others_and_leaves_again(kernel, tmp_path):
    with nats_server(tmp_path / "nats") as server:
        assert kernel.run(CELL).status == "ok"
        said = kernel.run(f"%runtime join {server.url} --namespace demo --node notebook-1")
        assert f"this notebook is node notebook-1 of demo at {server.url}" in said.text
        assert "went 1" in kernel.run("%fire demo.go n=1").text
        said = kernel.run("%runtime durable")
        assert "first: %runtime leave" in said.text
        assert "Traceback" not in said.text
        assert "by itself again" in kernel.run("%runtime leave").text
        assert "nothing changes" in kernel.run("%runtime leave").text
        assert "went 2" in kernel.run("%fire demo.go n=2").text


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("%runtime join", "name the servers, such as %runtime join nats://localhost --namespace prod"),
        ("%runtime join nats://localhost", "name what the nodes have in common"),
        (
            "%runtime join kafka://host --namespace x",
            "%runtime join kafka://: no broker of this kind is known",
        ),
        (
            "%runtime join nats://localhost --namespace 'A B'",
            "lower-case letters, digits, - and _ are wanted",
        ),
        ("%runtime durable --namespace x", "--namespace is for %runtime join"),
    ],
)
def test_what_cannot_be_joined_is_refused_in_one_line(kernel, line, said):
    refused = kernel.run(line)
    assert refused.status == "error"
    assert said in refused.text
    assert "Traceback" not in refused.text


def test_servers_that_cannot_be_used_leave_the_runtime_as_it_was(kernel):
    assert kernel.run(CELL).status == "ok"
    refused = kernel.run(f"%runtime join nats://u:s3cr3t@127.0.0.1:{free_ports(1)[0]} --namespace demo")
    assert refused.status == "error"
    assert "no server answers at 127.0.0.1:" in refused.text
    assert "s3cr3t" not in refused.text.replace(" ", "")
    assert "went 1" in kernel.run("%fire demo.go n=1").text
