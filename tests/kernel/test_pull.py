"""`%events pull` in a real kernel, from a real `dnworker serve`."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import httpx
import pytest

pytestmark = pytest.mark.kernel

WORKER = """
%%worker shop
@worker.on_event("order.placed")
async def on_placed(event, client):
    print("mail to", event.payload["email"])
    await client.publish("order.mailed", {"n": event.payload["n"]})
""".strip()


@pytest.fixture
def served(tmp_path):
    """A `dnworker serve` with three orders, the file of its token, and its address."""
    home = tmp_path / "served"
    home.mkdir()
    token = home / "token"
    token.write_text("s3cret-of-the-shop\n")
    token.chmod(0o600)
    command = [sys.executable, "-m", "dnworker", "serve", "--port", "0", "--token-file", str(token)]
    command += ["--journal", str(home / "events.journal")]
    env = {**os.environ, "HOME": str(home)}
    process = subprocess.Popen(
        command, cwd=home, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    try:
        url = None
        for line in process.stdout:
            if (found := re.search(r"http://127\.0\.0\.1:\d+", line)) is not None:
                url = found[0]
                break
        assert url is not None
        headers = {"Authorization": "Bearer s3cret-of-the-shop"}
        with httpx.Client(base_url=url, headers=headers, trust_env=False) as http:
            for n in range(3):
                payload = {"n": n, "email": f"ada{n % 2}@example.org", "token": "s3cret-of-the-shop"}
                answer = http.post("/api/events", json={"kind": "order.placed", "payload": payload})
                assert answer.status_code == 200
        yield url, token
    finally:
        process.terminate()
        process.wait(timeout=30)
        process.stdout.close()


def test_events_of_a_running_runtime_are_pulled_masked_replayed_and_made_a_test(kernel, served):
    url, token = served
    kernel.run(WORKER)
    pulled = kernel.run(f"%events pull {url} --token-file {token} --kind order.* --mask email")
    assert re.search(rf"3 events of {url} are here as #\d+ to #\d+; no handler got them", pulled.text), (
        pulled.text
    )
    assert "mail to" not in kernel.run("%worker logs shop").text
    last = re.search(r"to #(\d+)", pulled.text)[1]

    table = kernel.run("%events --kind order.placed").text
    assert "from" in table.splitlines()[0]
    assert table.count(url) == 3
    assert "ada" not in table
    assert "s3cret" not in table

    replayed = kernel.run(f"%replay #{last}").text
    assert "mail to ***" in replayed
    assert "order.mailed" in replayed

    offered = kernel.run(f"%events test #{last}")
    assert offered.next_input is not None, offered.text
    head, _, body = offered.next_input.partition("\n")
    assert head == "%%worker shop --test"
    case = json.loads(body)
    assert (case["event"], case["publishes"], case["payload"]["n"]) == ("order.placed", ["order.mailed"], 2)
    assert "shop passes" in kernel.run(offered.next_input).text


def test_a_second_pull_doubles_nothing_and_a_test_is_made_of_an_event_that_nothing_has_taken(kernel, served):
    url, token = served
    kernel.run(WORKER)
    first = kernel.run(f"%events pull {url} --token-file {token} --kind order.placed --last 2")
    again = kernel.run(f"%events pull {url} --token-file {token} --kind order.placed")
    assert "1 event of" in again.text
    assert "2 were here already" in again.text
    assert "nothing new" in kernel.run(f"%events pull {url} --token-file {token}").text
    seq = re.search(r"#(\d+)", first.text)[1]
    offered = kernel.run(f"%events test #{seq}")
    assert json.loads(offered.next_input.partition("\n")[2])["publishes"] == ["order.mailed"]


def test_what_cannot_be_pulled_is_one_line_and_nothing_is_written(kernel, served, tmp_path):
    url, token = served
    (tmp_path / "wrong").write_text("wr0ng-token")
    for line, message in {
        f"{url} --token-file wrong": "refuses the token",
        f"{url} --token-file none": "token file none cannot be read",
        f"{url} --token-file {token} --mask emial": "no payload has such a field; was email meant?",
        f"{url} --token-file {token} --mask a..b": "is no rule",
        f"{url} --token-file {token} --save o.jsonl --mask emial": "was email meant?",
        "http://127.0.0.1:9": "no runtime answers",
        "nowhere": "is no address of a runtime",
        f"{url} --since soon": "--since 'soon' is no time",
        f"{url} --last 0": "pull at least one",
        f"{url} --cloudevents": "goes with --save",
        "": "where?",
    }.items():
        reply = kernel.run(f"%events pull {line}")
        assert reply.status == "error", line
        assert message in reply.error, (line, reply.error)
        assert "\n" not in reply.error.strip(), line
        assert not re.search("wr0ng|s3cret", reply.text), line
    assert not Path("o.jsonl").exists()
    assert "order.placed" not in kernel.run("%events --all").text


def test_a_file_of_cloud_events_is_pulled_and_replayed(kernel, served):
    url, token = served
    kernel.run(WORKER)
    line = f"%events pull {url} --token-file {token} --kind order.* --save orders.json --cloudevents --mask email"
    assert "orders.json has 3 events" in kernel.run(line).text
    found = json.loads(Path("orders.json").read_text())
    assert {one["specversion"] for one in found} == {"1.0"}
    emails = [one["data"]["email"] for one in found]
    assert emails[0] == emails[2] != emails[1]
    assert "s3cret" not in Path("orders.json").read_text()
    assert "3 events fired again: 3 ok" in kernel.run("%replay orders.json").text
