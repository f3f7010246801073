"""What a view is sent: changes alone, within its budget, and all of it in the end."""

from __future__ import annotations

import asyncio
import dataclasses

import msgspec
import pytest

from dnworker import Worker
from dnworker.capability.manifest import parse_manifest
from dnworker.core.logs import LINES_KEPT
from dnworker.panel import log_rows, parts
from dnworker.panel.budget import BYTES_PER_SECOND


async def test_an_update_has_what_changed_and_nothing_else(runtime, bridge, screen):
    await runtime.add(Worker("other"))
    await screen.open()
    await bridge.stop()
    update = await screen.until(lambda m: "workers" in m and m["workers"]["changed"][0]["state"] == "stopped")
    assert update["type"] == "update"
    assert [w["name"] for w in update["workers"]["changed"]] == ["notebook:bridge"]
    assert not {"log", "runs", "capabilities", "sessions"} & update.keys()


async def test_updates_are_numbered_without_a_gap(runtime, bridge, screen):
    first = await screen.open("log")
    runtime.log_line("notebook:bridge", "one")
    second = await screen.until(lambda m: "log" in m)
    assert (first["seq"], second["seq"]) == (1, 2)


async def test_a_hello_in_the_middle_of_an_update_is_answered_by_a_snapshot(runtime, screen):
    for n in range(5_000):
        runtime.logs.add("w", str(n))
    await screen.open("log", looks={"runs": {}})
    screen.say("log", id=1, filter={"text": "9"})
    await asyncio.sleep(0)
    await asyncio.sleep(0)  # the update looks at lines now
    screen.messages.clear()
    told = await screen.open("log", looks={"runs": {}}, log={"text": "9"})
    assert told["seq"] == 1
    assert {"runtime", "workers", "log", "runs"} <= told.keys()


async def test_states_are_told_although_the_budget_is_spent(runtime, bridge, screen):
    await screen.open("log")
    runtime.feed.views[0]._budget.spend(10 * BYTES_PER_SECOND)
    runtime.log_line("w", "later")
    await bridge.stop()
    told = await screen.until(lambda m: "workers" in m and m["workers"]["changed"][0]["state"] == "stopped")
    assert "log" not in told


async def test_a_flood_is_cut_to_the_budget_and_every_line_can_be_asked_for(runtime, screen):
    await screen.open("log")
    for n in range(10_000):
        runtime.log_line("w", f"line {n} {'x' * 90}")
    log = await screen.part("log", lambda part: part["end"] == 10_001)
    assert (log["first"], log["dropped"]) == (1, 0)
    assert log["lines"][-1]["text"].startswith("line 9999 ")
    assert len(msgspec.json.encode(log)) < BYTES_PER_SECOND / 2
    seen, position = [], 1
    while position < log["end"]:
        answer = await screen.ask("lines", position=position, count=500)
        seen += [line["text"].split()[1] for line in answer["lines"]]
        position = answer["lines"][-1]["position"] + 1
        runtime.feed.views[0]._budget.spend(-BYTES_PER_SECOND * 2)  # time passes
    assert seen == [str(n) for n in range(10_000)]


async def test_what_the_log_dropped_is_told(runtime, screen):
    await screen.open("log")
    for n in range(LINES_KEPT + 5):
        runtime.log_line("w", str(n))
    log = await screen.part("log", lambda part: part["end"] == LINES_KEPT + 6)
    assert (log["first"], log["dropped"]) == (6, 5)


async def test_the_log_is_filtered_where_it_is_kept(runtime, screen):
    for n in range(100):
        runtime.log_line("w", f"n {n}", level="error" if n % 10 == 0 else "info")
    await screen.open("log")
    screen.say("log", id=1, filter={"level": "error", "text": "n"})
    log = await screen.part("log", lambda part: part["filter"].get("level") == "error")
    assert [line["text"] for line in log["lines"]] == [f"n {n}" for n in range(0, 100, 10)]
    assert (log["first"], log["end"]) == (1, 11)


async def test_a_filter_with_many_lines_behind_it_lets_the_loop_turn(runtime, screen):
    for n in range(20_000):
        runtime.logs.add("w", str(n))
    await screen.open("log")
    turns = 0

    async def turn():
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    turning = asyncio.create_task(turn())
    screen.say("log", id=1, filter={"text": "7"})
    await screen.part("log", lambda part: part["filter"].get("text") == "7" and part["end"] == 6879)
    turning.cancel()
    assert turns >= 10


async def test_a_slow_pattern_lets_the_loop_turn_and_gives_up(runtime, screen, monkeypatch):
    monkeypatch.setattr(log_rows, "TOTAL_SECONDS", 0.02)
    for n in range(3_000):
        runtime.logs.add("w", f"{'a' * 22} {n}")
    await screen.open("log")
    screen.say("log", id=1, filter={"text": "(a+)+b", "regex": True})
    log = await screen.part("log", lambda part: part["problem"])
    assert "make the pattern simpler" in log["problem"]


async def test_a_renamed_capability_takes_its_workers_along(runtime, bridge, screen, tmp_path):
    await screen.open()
    text = "name: mine\nversion: 0.1.0\ndescription: d\nflags: {relay: {description: f}}\n"
    await runtime.declare(parse_manifest(text, tmp_path, is_head=True))
    workers = await screen.part("workers", lambda part: part["order"] == ["mine:bridge"])
    assert [w["name"] for w in workers["changed"]] == ["mine:bridge"]
    shown = await screen.open(looks={"capabilities": {}})
    assert [c["name"] for c in shown["capabilities"]["all"]] == ["mine"]
    assert (await screen.ask("flag", capability="mine", flag="relay", value=True))["type"] == "done"
    assert (await screen.ask("control", verb="restart", worker="mine:bridge"))["state"] == "running"


@pytest.mark.parametrize("part", ["life", "runs"])
async def test_a_part_that_raises_says_so_and_the_others_go_on_until_it_works_again(
    runtime, bridge, screen, monkeypatch, caplog, part
):
    wanted = {"worker": "notebook:bridge"}
    is_broken, real = True, parts.PARTS[part]

    def check():
        if is_broken:
            raise ValueError("odd")

    async def read(*args):
        check()
        return await real.read(*args)

    def follow(*args):
        follower = real.follow(*args)
        changes = follower.changes

        async def checked(pace):
            check()
            return await changes(pace)

        follower.changes = checked
        return follower

    changed = dataclasses.replace(real, read=read, follow=follow if real.follow else None)
    monkeypatch.setitem(parts.PARTS, part, changed)
    told = await screen.open(looks={part: wanted, "sessions": {}})
    assert told[part] == {"failed": "ValueError: odd"}
    assert told["sessions"] == {"newest": [], "all": 0}
    await runtime.fire("demo.ping", {})
    assert (await screen.until(lambda m: "workers" in m)).keys().isdisjoint({part})
    assert caplog.text.count(f"the part '{part}' of the panel failed") == 1
    is_broken = False
    assert "failed" not in await screen.part(part)


async def test_a_part_that_has_no_form_as_json_says_so(runtime, screen, monkeypatch):
    async def read(*args):
        return {"text": "\ud800"}

    monkeypatch.setitem(parts.PARTS, "life", dataclasses.replace(parts.PARTS["life"], read=read))
    told = await screen.open(looks={"life": {}, "sessions": {}})
    assert "UnicodeEncodeError" in told["life"]["failed"]
    assert told["sessions"]["all"] == 0
