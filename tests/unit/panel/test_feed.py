"""The panel's feed and its views, without a browser: what is sent, and when nothing is."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from typing import Any

import msgspec
import pytest

from dnworker import Runtime, Worker
from dnworker.core.logs import LINES_KEPT
from dnworker.panel import feed as feeds
from dnworker.panel import log_rows as loglines
from dnworker.panel import view as views
from dnworker.panel.budget import BYTES_PER_SECOND, Budget


class Screen:
    """A view as the front end has one: says things, and keeps what it is sent."""

    def __init__(self, runtime: Runtime, name: str = "v") -> None:
        self.name = name
        self.messages: list[dict[str, Any]] = []
        self.channel = runtime.feed.connect(self._take)
        self._news = asyncio.Event()
        self._asked = 0

    def _take(self, message: dict[str, Any]) -> None:
        if message["view"] == self.name:
            self.messages.append(msgspec.json.decode(msgspec.json.encode(message)))
            self._news.set()

    def say(self, type_: str, **fields: Any) -> None:
        self.channel.receive({"type": type_, "view": self.name, **fields})

    async def until(self, wanted: Callable[[dict[str, Any]], Any]) -> dict[str, Any]:
        """Return the first message that is wanted, and forget those before it."""
        async with asyncio.timeout(10):
            while True:
                while self.messages:
                    if wanted(message := self.messages.pop(0)):
                        return message
                self._news.clear()
                await self._news.wait()

    async def part(self, name: str, wanted: Callable[[Any], Any] = lambda part: True) -> Any:
        """Return a part of an update that is wanted."""
        return (await self.until(lambda m: name in m and wanted(m[name])))[name]

    async def open(self, *parts: str, **fields: Any) -> dict[str, Any]:
        self.say("hello", parts=list(parts), **fields)
        return await self.until(lambda m: m["type"] == "snapshot")

    async def ask(self, type_: str, **fields: Any) -> dict[str, Any]:
        """Ask for something and return its answer, `done` or `failed`."""
        self._asked += 1
        number = self._asked
        self.say(type_, id=number, **fields)
        return await self.until(lambda m: m.get("id") == number and m["type"] in ("done", "failed"))


@pytest.fixture(autouse=True)
def without_delays(monkeypatch):
    monkeypatch.setattr(feeds, "INTERVAL", 0.0)
    monkeypatch.setattr(views, "STATS_INTERVAL", 0.0)
    monkeypatch.setattr(views, "TRACE_INTERVAL", 0.0)


@pytest.fixture
async def runtime():
    async with Runtime(port=None) as started:
        yield started


@pytest.fixture
async def bridge(runtime):
    """A worker with a handler that fails on what it does not like, and a schedule."""
    worker = Worker("bridge")

    @worker.on_event("demo.ping")
    async def on_ping(event, client):
        if event.payload.get("bad"):
            raise ValueError("bad ping")
        await client.publish("demo.pong", {"n": event.payload.get("n")})

    @worker.every(minutes=5)
    async def tick(client):
        runtime.log_line("notebook:bridge", "ticked")

    return await runtime.add(worker)


@pytest.fixture
async def go(runtime):
    """An event that lets the handler of `demo.slow` end, by an error if the payload says so."""
    go = asyncio.Event()
    worker = Worker("slow")

    @worker.on_event("demo.slow")
    async def slow(event, client):
        await go.wait()
        if event.payload.get("fails"):
            raise ValueError("at last")

    await runtime.add(worker)
    return go


@pytest.fixture
async def screen(runtime):
    return Screen(runtime)


# -- refilling and resting -----------------------------------------------------------------------------


async def test_hello_is_answered_with_all_there_is(runtime, bridge, screen):
    runtime.log_line("notebook:bridge", "said before")
    trace = await runtime.fire("demo.ping", {"n": 1})
    told = await screen.open("log", "events", "capabilities", "sessions", "fire", trace=trace.event.event_id)
    assert told["seq"] == 1
    assert told["workers"]["order"] == ["notebook:bridge"]
    (worker,) = told["workers"]["changed"]
    assert [one["state"] for one in worker["transitions"]] == ["loading", "starting", "running"]
    assert told["log"]["lines"][-1]["text"] == "said before"
    assert [row["kind"] for row in told["events"]["rows"]][:2] == ["demo.pong", "demo.ping"]
    assert told["trace"]["payload"] == '{\n  "n": 1\n}'
    assert [row["category"] for row in told["trace"]["rows"]] == ["event", "invocation", "event"]
    assert told["capabilities"]["all"][0]["name"] == "notebook"
    assert "demo.ping" in told["fire"]["kinds"]
    assert told["sessions"] == {"newest": [], "all": 0}


async def test_an_update_has_what_changed_and_nothing_else(runtime, bridge, screen):
    await runtime.add(Worker("other"))
    await screen.open()
    await bridge.stop()
    update = await screen.until(lambda m: "workers" in m and m["workers"]["changed"][0]["state"] == "stopped")
    assert update["type"] == "update"
    assert [w["name"] for w in update["workers"]["changed"]] == ["notebook:bridge"]
    assert not {"log", "events", "capabilities", "sessions"} & update.keys()


async def test_updates_are_numbered_without_a_gap(runtime, bridge, screen):
    first = await screen.open("log")
    runtime.log_line("notebook:bridge", "one")
    second = await screen.until(lambda m: "log" in m)
    assert (first["seq"], second["seq"]) == (1, 2)


async def test_nothing_is_listened_to_while_nobody_looks(runtime, screen):
    listeners = runtime.logs._listeners, runtime.bus._taps, runtime._listeners
    before = [len(kept) for kept in listeners], len(runtime.history._listeners)
    assert not runtime.feed.is_listening
    await screen.open()
    assert runtime.feed.is_listening
    screen.say("visibility", visible=False)
    assert not runtime.feed.is_listening
    assert (
        [len(kept) for kept in (runtime.logs._listeners, runtime.bus._taps, runtime._listeners)],
        len(runtime.history._listeners),
    ) == before
    runtime.log_line("w", "unseen")
    screen.say("visibility", visible=True)
    assert (await screen.until(lambda m: "paused" in m))["type"] == "snapshot"


async def test_a_view_out_of_sight_is_filled_once_and_then_costs_nothing(runtime, screen):
    screen.say("hello", parts=["log"], visible=False)
    await screen.until(lambda m: m["type"] == "snapshot")
    await asyncio.sleep(0)
    assert not runtime.feed.is_listening
    runtime.log_line("w", "unseen")
    screen.say("visibility", visible=True)
    assert (await screen.part("log"))["lines"][-1]["text"] == "unseen"


async def test_one_view_in_sight_is_enough_and_each_gets_its_own(runtime, screen):
    other = Screen(runtime, "other")
    await screen.open("log")
    await other.open()
    screen.say("visibility", visible=False)
    runtime.log_line("w", "now")
    assert runtime.feed.is_listening
    await runtime.add(Worker("new"))
    await other.part("workers")
    assert not [m for m in screen.messages if "log" in m]


async def test_closing_leaves_no_listener_and_no_task(runtime, screen):
    before = asyncio.all_tasks()
    await screen.open("log", "events")
    screen.channel.close()
    await asyncio.sleep(0)
    assert not runtime.feed.is_listening
    assert asyncio.all_tasks() == before
    screen.channel.close()


async def test_a_view_that_never_answers_is_forgotten_and_asked_who_it_is(runtime, screen, monkeypatch):
    await screen.open("log")
    monkeypatch.setattr(views, "SILENCE", -1.0)
    runtime.log_line("w", "to nobody")
    await screen.until(lambda m: m["type"] == "who")
    assert not runtime.feed.views
    assert not runtime.feed.is_listening
    screen.say("control", id=1, verb="stop", worker="w")
    await screen.until(lambda m: m["type"] == "who")  # it says hello, and asks again


async def test_a_view_that_answers_is_kept(runtime, screen, monkeypatch):
    first = await screen.open("log")
    screen.say("ack", seq=first["seq"])
    monkeypatch.setattr(views, "SILENCE", -1.0)
    runtime.log_line("w", "a")
    await screen.part("log")
    assert [view.name for view in runtime.feed.views] == ["v"]


async def test_a_message_that_is_none_is_told_to_who_asked(runtime, screen):
    screen.say("control", id=7, verb="explode", worker="w")
    failed = await screen.until(lambda m: m["type"] == "failed")
    assert failed["id"] == 7
    assert "Invalid enum value 'explode'" in failed["text"]


async def test_stopping_the_runtime_ends_the_feed(bridge, screen, runtime):
    await screen.open("log")
    feed = runtime.feed
    await runtime.stop()
    assert not feed.is_listening


async def test_a_hello_in_the_middle_of_an_update_is_answered_by_a_snapshot(runtime, screen):
    for n in range(5_000):
        runtime.logs.add("w", str(n))
    await screen.open("log", "events")
    screen.say("log", id=1, filter={"text": "9"})
    await asyncio.sleep(0)
    await asyncio.sleep(0)  # the update looks at lines now
    screen.messages.clear()
    told = await screen.open("log", "events", log={"text": "9"})
    assert told["seq"] == 1
    assert {"runtime", "workers", "log", "events"} <= told.keys()


async def test_an_old_way_that_ends_late_does_not_take_the_view_from_the_new_one(runtime, screen):
    await screen.open()
    old = screen.channel
    screen.channel = runtime.feed.connect(lambda message: screen._take(message))
    await screen.open()
    old.close()
    assert [view.name for view in runtime.feed.views] == ["v"]


async def test_a_view_goes_on_when_the_runtime_was_stopped_and_started_again(runtime, screen):
    await screen.open("log")
    await runtime.stop()
    await runtime.start()
    runtime.log_line("w", "again")
    assert (await screen.part("log"))["lines"][-1]["text"] == "again"


async def test_trouble_with_one_part_is_logged_and_the_view_filled_again(
    runtime, screen, monkeypatch, caplog
):
    monkeypatch.setattr(feeds, "RETRY_PAUSE", 0.0)
    real, failures = runtime.feed.model.attention, [ValueError("odd")]

    def attention():
        if failures:
            raise failures.pop()
        return real()

    monkeypatch.setattr(runtime.feed.model, "attention", attention)
    assert {"runtime", "workers"} <= (await screen.open()).keys()
    assert "an update of the panel failed" in caplog.text


async def test_states_are_told_although_the_budget_is_spent(runtime, bridge, screen):
    await screen.open("log")
    runtime.feed.views[0]._budget.spend(10 * BYTES_PER_SECOND)
    runtime.log_line("w", "later")
    await bridge.stop()
    told = await screen.until(lambda m: "workers" in m and m["workers"]["changed"][0]["state"] == "stopped")
    assert "log" not in told


async def test_what_comes_to_light_after_its_handler_changes_the_events_row(runtime, screen):
    worker = Worker("starter")

    @worker.on_event("demo.go")
    async def go(event, client):
        pass

    await runtime.add(worker)
    trace = await runtime.fire("demo.go", {})
    await screen.open("events")
    (run,) = runtime.history.invocations_of(trace.event.event_id)
    runtime.note_unhandled(run, ValueError("left behind"))
    rows = (await screen.part("events", lambda part: not part["whole"]))["rows"]
    assert [(row["seq"], row["outcome"]) for row in rows] == [(trace.event.seq, "error")]


# -- the log -------------------------------------------------------------------------------------------


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


async def test_a_wrong_filter_is_refused_and_the_one_before_stays(runtime, screen):
    await screen.open("log")
    answer = await screen.ask("log", filter={"text": "(", "regex": True})
    assert answer["type"] == "failed"
    assert "is no regular expression" in answer["text"]
    runtime.log_line("w", "goes on")
    assert (await screen.part("log"))["lines"][-1]["text"] == "goes on"


async def test_a_long_line_is_cut_and_comes_whole_when_it_is_looked_at(runtime, screen):
    runtime.log_line("w", "x" * 600)
    log = (await screen.open("log"))["log"]
    assert (len(log["lines"][0]["text"]), log["lines"][0]["cut"]) == (500, 100)
    answer = await screen.ask("line", number=1)
    assert answer["line"]["text"] == "x" * 600


async def test_the_log_can_be_had_as_a_file_without_its_colours(runtime, screen):
    runtime.log_line("w", "\x1b[31mred\x1b[0m", level="error")
    await screen.open("log")
    answer = await screen.ask("lines", position=1, count=500, whole=True)
    assert answer["text"].endswith("error   w  red\n")
    assert answer["next"] == 2


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
    monkeypatch.setattr(loglines, "TOTAL_SECONDS", 0.02)
    for n in range(3_000):
        runtime.logs.add("w", f"{'a' * 22} {n}")
    await screen.open("log")
    screen.say("log", id=1, filter={"text": "(a+)+b", "regex": True})
    log = await screen.part("log", lambda part: part["problem"])
    assert "make the pattern simpler" in log["problem"]


async def test_an_answer_holds_no_more_than_its_share_and_the_rest_is_asked_for(runtime, screen):
    for n in range(20):
        runtime.log_line("w", f"{n} " + "x" * 30_000)
    await screen.open("log")
    answer = await screen.ask("lines", position=1, count=500, whole=True)
    assert len(answer["text"]) < 250_000
    assert 1 < answer["next"] < 20


# -- events --------------------------------------------------------------------------------------------


async def test_an_event_is_told_again_when_its_outcome_is_known(runtime, go, screen):
    await screen.open("events")
    await runtime.fire("demo.slow", {"a": 1}, wait=False)
    rows = (
        await screen.part("events", lambda part: part["rows"] and part["rows"][0]["outcome"] == "running")
    )["rows"]
    go.set()
    done = (await screen.part("events", lambda part: part["rows"] and part["rows"][0]["outcome"] == "ok"))[
        "rows"
    ]
    assert rows[0]["seq"] == done[0]["seq"]
    assert done[0]["duration"] is not None


async def test_events_are_filtered_by_kind_worker_session_and_outcome(runtime, bridge, screen):
    await runtime.fire("demo.ping", {"bad": True}, session_id="s1")
    await runtime.fire("demo.ping", {"n": 2})
    await screen.open("events")

    async def kinds(**wanted):
        screen.say("events", id=1, filter=wanted)
        rows = (await screen.part("events", lambda part: part["whole"]))["rows"]
        return [(row["kind"], row["outcome"]) for row in rows]

    assert await kinds(outcome="error") == [("demo.ping", "error")]
    assert await kinds(session="s1") == [("demo.ping", "error")]
    assert await kinds(worker="notebook:bridge", outcome="ok") == [("demo.ping", "ok")]
    assert await kinds(kind="PONG") == [("demo.pong", "none")]
    assert ("component.state_changed", "none") in await kinds(noise=True)


async def test_an_event_that_matches_no_longer_is_taken_back(runtime, go, screen):
    await screen.open("events", events={"outcome": "running"})
    trace = await runtime.fire("demo.slow", {"a": 1}, wait=False)
    await screen.part("events", lambda part: part["rows"])
    go.set()
    assert (await screen.part("events", lambda part: part["gone"]))["gone"] == [trace.event.seq]


async def test_a_burst_of_events_is_told_by_the_newest_and_the_older_are_asked_for(runtime, screen):
    await screen.open("events")
    for n in range(500):
        runtime.publish("demo.burst", {"n": n})
    told = await screen.part("events", lambda part: len(part["rows"]) > 1)
    assert told["whole"]
    seqs = [row["seq"] for row in told["rows"]]
    assert seqs == list(range(runtime.bus.latest_seq, runtime.bus.latest_seq - 100, -1))
    older = (await screen.ask("events", filter={}, before=seqs[-1]))["rows"]
    assert [row["seq"] for row in older] == list(range(seqs[-1] - 1, seqs[-1] - 201, -1))


async def test_a_trace_goes_on_until_all_it_caused_has_ended(runtime, go, screen):
    await screen.open("events")
    trace = await runtime.fire("demo.slow", {"fails": True}, wait=False)
    screen.say("trace", event=trace.event.event_id)
    assert (await screen.part("trace"))["running"]
    go.set()
    ended = await screen.part("trace", lambda part: not part["running"])
    assert ended["outcome"] == "error"
    assert any(row["text"] == "ValueError: at last" for row in ended["rows"])


# -- commands ------------------------------------------------------------------------------------------


async def test_a_worker_is_stopped_started_and_restarted(runtime, bridge, screen):
    await screen.open()
    for verb, state in (("stop", "stopped"), ("start", "running"), ("restart", "running")):
        answer = await screen.ask("control", verb=verb, worker="notebook:bridge")
        assert (answer["type"], answer["state"]) == ("done", state)
    assert bridge.restarts == 2


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


async def test_a_schedule_is_run_at_once(runtime, bridge, screen):
    told = await screen.open("log")
    (schedule,) = [h for h in told["workers"]["changed"][0]["handlers"] if h["key"][0] == "every"]
    assert schedule["nextRun"] > told["now"]
    assert (await screen.ask("run", worker="notebook:bridge", key=schedule["key"]))["type"] == "done"
    assert (await screen.part("log"))["lines"][-1]["text"] == "ticked"
    failed = await screen.ask("run", worker="notebook:bridge", key=["every", "5m", "gone"])
    assert "has no handler ['gone'] any more" in failed["text"]


async def test_an_event_is_fired_and_remembered_once(runtime, bridge, screen):
    await screen.open("fire")
    for _ in range(2):
        answer = await screen.ask("fire", kind=" demo.ping ", payload='{"n": 1}')
    assert runtime.history.event(answer["event"]).kind == "demo.ping"
    assert len(runtime.feed.model.fired) == 1
    assert (await screen.ask("fire", kind=" ", payload="{}"))["text"].startswith("an event needs a kind")
    assert "no worker 'nobody'" in (await screen.ask("fire", kind="a", payload="{}", worker="nobody"))["text"]


async def test_what_failed_is_found_and_fired_again(runtime, bridge, screen):
    await runtime.fire("demo.ping", {"bad": True}, session_id="s1")
    told = await screen.open("events")
    (handler,) = [h for h in told["workers"]["changed"][0]["handlers"] if h["errors"]]
    error = handler["error"]
    assert error["text"] == "ValueError: bad ping"
    assert error["source"] == 'raise ValueError("bad ping")'
    assert "test_feed.py, line" in error["location"]
    screen.say("trace", event=error["event"])
    assert '"bad": true' in (await screen.part("trace"))["payload"]
    again = runtime.history.event((await screen.ask("replay", event=error["event"]))["event"])
    assert (again.kind, again.payload, again.session_id) == ("demo.ping", {"bad": True}, "s1")


async def test_an_event_is_copied_as_a_cell_and_as_a_test(runtime, bridge, screen):
    trace = await runtime.fire("demo.ping", {"n": 1})
    await screen.open()
    fire = await screen.ask("copy", event=trace.event.event_id, form="fire")
    assert fire["text"] == "%fire demo.ping n=1"
    test = await screen.ask("copy", event=trace.event.event_id, form="test")
    assert test["file"] == f"test_bridge_{trace.event.seq}.py"
    compile(test["text"], "test", "exec")
    lonely = await runtime.fire("demo.nobody", {})
    failed = await screen.ask("copy", event=lonely.event.event_id, form="test")
    assert "no handler ran" in failed["text"]


async def test_a_payload_is_suggested_by_template_last_event_or_what_handlers_read(runtime, bridge, screen):
    await screen.open()

    async def suggested(kind):
        return json.loads((await screen.ask("suggest", kind=kind))["payload"])

    assert (await suggested("turn.completed"))["turn_id"] == "turn-1"
    assert (await suggested("demo.ping")).keys() == {"bad", "n"}
    await runtime.fire("demo.ping", {"n": 5})
    assert await suggested("demo.ping") == {"n": 5}


MANIFEST = """
schema: 1
name: gated
version: 0.1.0
description: a gate
flags:
  beta:
    description: the new way
    default: false
checks:
  - {name: fine, command: "true"}
  - {name: broken, command: "echo lost >&2; exit 3"}
workers:
  w: {path: w.py, when: [beta]}
"""


async def test_a_flag_opens_its_gate_and_checks_are_run(runtime, screen, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    root = tmp_path / "gated"
    root.mkdir()
    (root / "capability.yaml").write_text(MANIFEST)
    (root / "w.py").write_text("from dnworker import Worker\nworker = Worker(name='w')\n")
    await runtime.load(root)
    told = await screen.open("capabilities")
    (gated,) = told["capabilities"]["all"]
    assert [(c["name"], c["status"]) for c in gated["checks"]] == [("fine", "ok"), ("broken", "error")]
    assert gated["flags"][0]["gates"] == ["w"]
    (worker,) = told["workers"]["changed"]
    assert (worker["state"], worker["gate"], worker["disabled"]["start"]) == (
        "gated_off",
        {"beta": False},
        "gated off; turn on beta",
    )
    assert (await screen.ask("flag", capability="gated", flag="beta", value=True))["type"] == "done"
    assert runtime.worker("gated:w").state == "running"
    assert (await screen.ask("checks", capability="gated"))["type"] == "done"


async def test_a_switch_that_would_have_no_effect_says_why(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    root = tmp_path / "gated"
    root.mkdir()
    (root / "capability.yaml").write_text(MANIFEST)
    (root / "w.py").write_text("from dnworker import Worker\nworker = Worker(name='w')\n")
    async with Runtime(port=None, flags={"gated": {"beta": True}}) as runtime:
        await runtime.load(root)
        told = await Screen(runtime).open("capabilities")
    assert told["capabilities"]["all"][0]["flags"][0]["fixed"] == "set on the command line, which wins"


async def test_a_question_of_a_session_is_shown_and_answered(runtime, screen):
    async def reply(turn):
        return f"you like {await turn.ask('which?', ['red', 'blue'])}"

    runtime.agents.default(reply)
    session = runtime.sessions.create("s1")
    told = await screen.open("sessions", session="s1")
    assert told["session"]["detail"]["openPrompts"] == []
    from dnworker.sessions.turn import TurnRequest

    runtime.turns.start(session, TurnRequest(message="paint it"))
    asked = (await screen.part("session", lambda part: part["detail"]["openPrompts"]))["detail"]
    assert asked["phase"] == "awaiting_input"
    (prompt,) = asked["openPrompts"]
    assert [option["label"] for option in prompt["questions"][0]["options"]] == ["red", "blue"]
    request = prompt["request_id"]
    answer = await screen.ask(
        "respond", session="s1", request=request, answers=[{"selected_labels": ["blue"]}]
    )
    assert answer["type"] == "done"
    done = (
        await screen.part(
            "session", lambda part: part["detail"]["phase"] == "idle" and part["detail"]["turns"]
        )
    )["detail"]
    assert done["history"][-1]["content"] == "you like blue"


async def test_leave_to_call_a_tool_is_asked_for_and_given(runtime, screen):
    from dnworker.sessions.turn import TurnRequest

    async def reply(turn):
        return await turn.call_tool("disk__wipe", {"path": "/tmp/x"}, result="wiped")

    runtime.agents.default(reply)
    session = runtime.sessions.create("s1", policy="guard")
    await screen.open("sessions", session="s1")
    runtime.turns.start(session, TurnRequest(message="wipe it"))
    asked = (await screen.part("session", lambda part: part["detail"]["openPrompts"]))["detail"]
    (prompt,) = asked["openPrompts"]
    assert asked["phase"] == "awaiting_permission"
    assert prompt["tool_approval"]["arguments"] == {"path": "/tmp/x"}
    answer = await screen.ask("respond", session="s1", request=prompt["request_id"], decision="allow")
    assert answer["type"] == "done"
    done = (
        await screen.part(
            "session", lambda part: part["detail"]["phase"] == "idle" and part["detail"]["turns"]
        )
    )["detail"]
    assert done["history"][-1]["content"] == "wiped"


async def test_a_waiting_turn_is_cancelled(runtime, screen):
    from dnworker.sessions.turn import TurnRequest

    async def reply(turn):
        await turn.ask("go on?")

    runtime.agents.default(reply)
    session = runtime.sessions.create("s1")
    await screen.open("sessions", session="s1")
    runtime.turns.start(session, TurnRequest(message="one"))
    second = runtime.turns.start(session, TurnRequest(message="two"))
    detail = (await screen.part("session", lambda part: len(part["detail"]["underWay"]) == 2))["detail"]
    assert [(turn["message"], turn["active"]) for turn in detail["underWay"]] == [
        ("one", True),
        ("two", False),
    ]
    assert (await screen.ask("cancel", session="s1", turn=second.id))["type"] == "done"
    await screen.part("session", lambda part: len(part["detail"]["underWay"]) == 1)


async def test_nothing_can_be_exported_where_there_is_no_notebook(runtime, screen):
    told = await screen.open("capabilities")
    assert "only a notebook" in told["capabilities"]["whyNoExport"]
    assert "only a notebook" in (await screen.ask("export", path="out"))["text"]


# -- the budget ----------------------------------------------------------------------------------------


def test_the_budget_lets_one_second_go_at_once_and_then_so_much_a_second():
    now = 0.0
    budget = Budget(1000, lambda: now)
    budget.spend(1500)
    assert budget.left == -500
    now = 1.0
    assert budget.left == 500
    now = 60.0
    assert budget.left == 1000
