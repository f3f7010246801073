"""What is shown, as plain JSON."""

from __future__ import annotations

import time

import pytest

from dnworker import Runtime
from dnworker.core.handlers import HandlerKey
from dnworker.core.invocation import Invocation
from dnworker.core.logs import LogBook
from dnworker.core.stats import HandlerStats
from dnworker.panel import serialize

from .screen import GATED, Screen


async def test_a_button_that_does_not_apply_says_why(runtime, bridge, screen):
    told = await screen.open()
    (worker,) = told["workers"]["changed"]
    assert worker["disabled"]["start"] == "it is running"
    assert "only a notebook" in worker["disabled"]["rollback"]
    assert (await screen.ask("control", verb="rollback", worker="notebook:bridge"))["type"] == "failed"
    await bridge.stop()
    (stopped,) = (await screen.part("workers", lambda part: part["changed"][0]["state"] == "stopped"))[
        "changed"
    ]
    assert {"stop", "restart", "run", "rollback"} <= stopped["disabled"].keys()
    assert "start" not in stopped["disabled"]


async def test_a_switch_that_would_have_no_effect_says_why(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    root = tmp_path / "gated"
    root.mkdir()
    (root / "capability.yaml").write_text(GATED)
    (root / "w.py").write_text("from dnworker import Worker\nworker = Worker(name='w')\n")
    async with Runtime(port=None, flags={"gated": {"beta": True}}) as runtime:
        await runtime.load(root)
        told = await Screen(runtime).open(looks={"capabilities": {}})
    assert told["capabilities"]["all"][0]["flags"][0]["fixed"] == "set on the command line, which wins"


def test_a_handler_is_shown_with_its_counts_and_where_it_is_from():
    stats = HandlerStats()
    stats.began()
    stats.ended(Invocation("w", "h", "event", outcome="ok", started_at=time.monotonic(), duration=0.002))
    key = HandlerKey("on_event", "demo.ping", "h")
    shown = serialize.handler_to_json(key, stats, None, "cell [3]")
    assert shown["key"] == ["on_event", "demo.ping", "h"]
    assert (shown["calls"], shown["errors"], shown["inFlight"], shown["origin"]) == (1, 0, 0, "cell [3]")
    assert shown["quantiles"] == [2.0, 2.0, 2.0]
    assert shown["error"] is None


def test_a_line_is_cut_unless_it_is_wanted_whole():
    book = LogBook()
    book.add("w", "x" * (serialize.LONGEST_LINE + 7))
    (line,) = book.lines(1, 1)
    cut, whole = serialize.line_to_json(1, line), serialize.line_to_json(1, line, whole=True)
    assert (len(cut["text"]), cut["cut"], cut["position"]) == (serialize.LONGEST_LINE, 7, 1)
    assert (len(whole["text"]), whole["cut"]) == (serialize.LONGEST_LINE + 7, 0)


@pytest.mark.parametrize(
    ("data", "is_image"),
    [
        ({"image/png": "aGk="}, True),
        ({"image/jpeg": "aGk=\n"}, True),
        ({"image/png": "not base 64!"}, False),
        ({"image/svg+xml": "<svg/>"}, True),
        ({"text/html": "<img>"}, False),
        ({}, False),
    ],
    ids=str,
)
def test_only_pictures_are_sent_unasked_and_none_that_could_run_a_script(data, is_image):
    book = LogBook()
    book.add("w", "a picture", data=data)
    (line,) = book.lines(1, 1)
    thumb = serialize.thumb_of(line)
    assert (thumb is not None) is is_image
    assert thumb is None or thumb.startswith("data:image/")
