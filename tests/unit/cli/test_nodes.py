"""`dnworker nodes`: what a terminal shows of the nodes, and what `--json` and `--watch` write."""

from __future__ import annotations

import argparse
import asyncio
import json

import pytest

from dnworker import Runtime, Worker
from dnworker.cli import nodes
from dnworker.cli.main import main
from dnworker.cli.nodes import _versions_text
from dnworker.core.clock import RealClock
from dnworker.engine.node_records import NodeCapability, NodeRow
from dnworker.testing import SharedBroker, SharedStore

UP = {
    "name": "one", "state": "up", "is_here": True, "instance": "i1", "version": "0.1.0", "labels": ["gpu", "eu"],
    "host": "h", "pid": 7, "since": 0.0, "held": 2, "backlog": 1200, "pending": 3, "lag_ms": 1.2,
    "workers": [{"worker": "demo:b", "state": "running", "fence": 5, "backlog": 1200, "pending": 3, "handled": 9}],
}  # fmt: skip
GONE = {
    "name": "two", "state": "gone", "instance": "i2", "version": "0.1.0", "labels": [], "host": "h", "pid": 8,
    "since": 0.0, "gone_at": 0.0,
}  # fmt: skip
TIMELINE = [
    {"at": 0.0, "kind": "joined", "node": "one"},
    {"at": 0.0, "kind": "started", "node": "two", "worker": "demo:b", "fence": 3},
    {"at": 0.0, "kind": "moved", "node": "one", "worker": "demo:c", "before": "two", "fence": 4},
    {"at": 0.0, "kind": "gone", "node": "two"},
    {"at": 0.0, "kind": "failover", "node": "one", "worker": "demo:b", "before": "two", "fence": 5},
]


def answer(*rows, **more):
    found = {"is_shared": True, "broker": "jetstream", "node": "one", "failure": None, "nodes": [*rows]}
    return found | {"more": 0, "timeline": []} | more


def test_nodes_workers_and_the_timeline_are_one_line_each():
    lines = nodes._text(answer(UP, GONE, timeline=TIMELINE)).splitlines()
    assert lines[0].split()[:4] == ["NODE", "STATE", "VERSION", "LABELS"]
    assert lines[1].split() == [
        "one",
        "(here)",
        "up",
        "0.1.0",
        "gpu,eu",
        "2",
        "1,200",
        "3",
        "1.2",
        "ms",
        "h,",
        "process",
        "7",
    ]
    assert "gone since 1970-01-01" in lines[2] or "gone since 1969-12-31" in lines[2]
    assert lines[5].split() == ["demo:b", "one", "running", "5", "1,200", "3", "9", "0"]
    assert lines[6] == "and 1 more"
    steps = [line.split("  ", 1)[1] for line in lines[8:]]
    assert steps == [
        "demo:b failed over from two to one, fence 5",
        "two is gone",
        "demo:c was handed over from two to one, fence 4",
        "demo:b started on two, fence 3",
        "one joined",
    ]


@pytest.mark.parametrize(
    ("more", "text"),
    [
        ({"has_left": True}, "left at "),
        ({"gone_at": None, "seen_at": 0.0}, "gone, last seen "),
        ({"state": "silent", "heard_sec": 12.3}, "silent for 12 s"),
    ],
)
def test_a_node_that_is_not_up_says_since_when(more, text):
    assert text in nodes._text(answer(GONE | more))


def test_failures_and_clocks_that_are_off_are_said():
    off = UP | {"name": "three", "is_here": False, "failure": "no server", "clock_off_sec": -300}
    text = nodes._text(answer(UP, off, failure="cut off"))
    assert "the broker cannot be reached from here: cut off" in text
    assert "three could not reach the broker: no server" in text
    assert "the clock of three is 300 s behind the one here" in text


def test_what_others_write_cannot_control_the_terminal():
    assert "\x1b" not in nodes._text(answer(UP | {"host": "\x1b[2J", "version": "\x1b]0;x\x07"}))


def test_more_nodes_than_are_shown_are_counted():
    assert "and 7 more" in nodes._text(answer(UP | {"held": 1}, more=7))


def test_a_runtime_that_shares_nothing_says_how_it_would():
    text = nodes._text(answer(is_shared=False, broker="memory"))
    assert "--broker nats://" in text
    assert "\n" not in text


@pytest.fixture
async def served():
    broker = SharedBroker(SharedStore(RealClock()))
    async with Runtime(port=0, token="s3cret", broker=broker, node="one") as runtime:
        yield runtime


def _words(runtime, tmp_path, *more):
    file = tmp_path / "token"
    file.write_text("s3cret")
    file.chmod(0o600)
    return ["nodes", *more, "--url", runtime.url, "--token-file", str(file)]


async def test_the_command_asks_a_runtime(served, tmp_path, capsys):
    assert await asyncio.to_thread(main, _words(served, tmp_path)) == 0
    assert "one (here)  up" in capsys.readouterr().out
    assert await asyncio.to_thread(main, _words(served, tmp_path, "--json")) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["ok"], found["nodes"][0]["name"]) == (True, "one")


@pytest.mark.parametrize("as_json", [False, True])
async def test_watch_shows_what_changes_and_nothing_else(served, capsys, monkeypatch, as_json):
    monkeypatch.setattr(nodes, "POLL", 0.01)
    looks = 0
    client = served.client()
    request = client.connection.request

    async def counted(*args, **more):
        nonlocal looks
        looks += 1
        if looks == 5:
            await served.add(Worker("bridge"))
            await served.nodes.look()
        if looks == 15:
            raise LookupError("seen enough")
        return await request(*args, **more)

    monkeypatch.setattr(client.connection, "request", counted)
    with pytest.raises(LookupError, match="seen enough"):
        await nodes._nodes(client, argparse.Namespace(json=as_json, watch=True))
    written = capsys.readouterr().out
    times = len(written.splitlines()) if as_json else written.count("NODE  ")
    assert 2 <= times <= 4  # a worker starts in steps
    assert "notebook:bridge" in written


@pytest.mark.parametrize("moment", [1e300, -1e300, float("inf"), float("nan"), 1e15])
def test_a_time_that_cannot_be_is_said_as_such(moment):
    assert nodes._clock(moment) == "an impossible time"


def test_versions_are_a_line_for_all_nodes_that_have_the_same_and_say_which_are_old():
    def row(name, version, digest, **more):
        has = NodeCapability(name="shop", version=version, digest=digest * 32, **more)
        fields = {"instance": name, "version": "0.1.0", "labels": [], "host": "h", "pid": 1, "since": 0.0}
        return NodeRow(name=name, state="up", capabilities=[has], **fields)

    rows = [row("a", "0.1.0", "a", is_old=True), row("b", "0.2.0", "b"), row("c", "0.2.0", "b")]
    assert _versions_text(rows).splitlines() == [
        "CAPABILITY  VERSION      DIGEST    NODES",
        "shop        0.1.0 (old)  aaaaaaaa  a",
        "shop        0.2.0        bbbbbbbb  b, c",
    ]
    assert _versions_text([]) == ""
