"""The overview as a view is sent it: what is wrong, what it counts, what is due, what changed."""

from __future__ import annotations

import time

import pytest
from msgspec.structs import replace

from dnworker import Runtime, VirtualClock, Worker
from dnworker.core.handlers import HandlerKey
from dnworker.core.invocation import Invocation
from dnworker.core.lifecycle import WorkerState
from dnworker.core.retry_policies import parse_retry
from dnworker.core.series import STEP
from dnworker.events.brokers.base import BrokerCapabilities
from dnworker.panel import due_rows, failure_rows
from dnworker.panel.budget import size_of
from dnworker.workers.inprocess_worker import Generation

from .screen import Screen


async def fire(runtime: Runtime, kind: str, **payload: object) -> None:
    """Fire an event and wait for its handlers."""
    await runtime.fire(kind, payload)


def overview(screen: Screen, wanted=lambda part: True, **of_it):
    """Look at the overview; returns the newest that is wanted."""
    screen.say("look", part="overview", wanted=of_it)
    return screen.part("overview", wanted)


def time_passes(monkeypatch, seconds: float) -> None:
    """Let the clock of failures and buckets be ahead from now on."""
    real = time.monotonic
    ahead = real() + seconds - real()
    monkeypatch.setattr(failure_rows.time, "monotonic", lambda: real() + ahead)


async def test_what_is_well_is_counted(runtime, bridge, screen):
    await fire(runtime, "demo.ping", n=1)
    await screen.open()
    found = await overview(screen)
    assert found["handlers"] == 2
    assert found["workers"] == {"running": 1}
    assert (found["calls"], found["failed"]) == (1, 0)
    assert found["failures"] == {"rows": [], "all": 0, "handlers": 0}
    series = found["series"]
    assert {len(series[name]) for name in ("calls", "failed", "p50", "p95", "lag")} == {60}
    assert sum(series["calls"]) == 1
    assert 0 <= series["end"] - time.time() * 1000 <= STEP * 1000 + 500
    assert found["backlog"] == found["inFlight"] == 0
    assert found["since"] == pytest.approx(time.time() * 1000, abs=60_000)


async def test_a_failure_is_a_row_with_its_event_its_line_and_its_counts(runtime, bridge, screen):
    await fire(runtime, "demo.ping", n=1)
    await fire(runtime, "demo.ping", bad=1)
    await screen.open()
    found = await overview(screen)
    (row,) = found["failures"]["rows"]
    assert (row["worker"], row["handler"], row["exit"]) == ("notebook:bridge", "on_ping", False)
    assert row["error"] == "ValueError: bad ping"
    assert row["source"] == 'raise ValueError("bad ping")'
    assert row["location"].endswith(f"line {row['line']}")
    assert (row["failed"], row["calls"], sum(row["spark"])) == (1, 2, 1)
    assert runtime.history.event(row["event"]).payload == {"bad": 1}
    assert row["first"] == row["last"] == pytest.approx(time.time() * 1000, abs=60_000)
    assert row["since"] is None
    assert found["failures"]["handlers"] == 1


async def test_one_error_of_many_handlers_is_one_row(runtime, screen):
    for name in ("a", "b", "c"):
        worker = Worker(name)

        @worker.on_event("demo.work")
        async def work(event, client):
            raise ConnectionError("redis:6379 refused")

        await runtime.add(worker)
    await fire(runtime, "demo.work")
    await fire(runtime, "demo.work")
    await screen.open()
    found = await overview(screen)
    (row,) = found["failures"]["rows"]
    assert (row["count"], row["failed"], row["calls"]) == (3, 6, 6)
    assert [one["worker"] for one in row["handlers"]] == ["notebook:a", "notebook:b", "notebook:c"]
    assert found["failures"]["handlers"] == 3


async def test_a_failure_leaves_after_a_minute_of_success_and_no_sooner(runtime, bridge, screen, monkeypatch):
    await fire(runtime, "demo.ping", bad=1)
    time_passes(monkeypatch, 61)
    assert len(runtime.feed.model.failing_now()) == 1  # it has not succeeded since
    await fire(runtime, "demo.ping", n=1)
    assert runtime.feed.model.failing_now() == []
    assert len(runtime.failing) == 0


async def test_a_success_within_the_minute_does_not_take_it_away(runtime, bridge):
    await fire(runtime, "demo.ping", bad=1)
    await fire(runtime, "demo.ping", n=1)
    assert len(runtime.feed.model.failing_now()) == 1


async def test_a_restart_takes_it_away(runtime, bridge):
    await fire(runtime, "demo.ping", bad=1)
    await bridge.restart(force=True)
    assert runtime.feed.model.failing_now() == []


async def test_a_stopped_worker_fails_no_more_and_neither_does_one_that_is_gone(runtime, bridge):
    await fire(runtime, "demo.ping", bad=1)
    await bridge.stop()
    assert runtime.feed.model.failing_now() == []
    await runtime.remove("bridge")
    assert runtime.feed.model.failing_now() == []
    assert len(runtime.failing) == 0


async def test_a_dismissed_row_is_back_when_it_fails_again(runtime, bridge, screen):
    await fire(runtime, "demo.ping", bad=1)
    await screen.open()
    row = (await overview(screen))["failures"]["rows"][0]
    assert (await screen.ask("dismiss", row=row["id"]))["count"] == 1
    await overview(screen, lambda part: part["failures"]["all"] == 0)
    answer = await screen.ask("dismiss", row=row["id"])
    assert answer["text"] == "it does not fail any more (DN915)"
    await fire(runtime, "demo.ping", bad=1)
    await overview(screen, lambda part: part["failures"]["all"] == 1)


async def test_a_dismissed_row_is_restored_as_it_was(runtime, bridge, screen):
    await fire(runtime, "demo.ping", bad=1)
    await screen.open()
    (row,) = (await overview(screen))["failures"]["rows"]
    await screen.ask("dismiss", row=row["id"])
    await overview(screen, lambda part: part["failures"]["all"] == 0)
    assert (await screen.ask("restore", row=row["id"]))["count"] == 1
    found = await overview(screen, lambda part: part["failures"]["all"] == 1)
    (restored,) = found["failures"]["rows"]
    assert restored | {"spark": None} == row | {"spark": None}  # a bucket may have begun since
    assert sum(restored["spark"]) == 1
    assert (await screen.ask("restore", row=row["id"]))["text"] == "it does not fail any more (DN915)"


async def test_a_row_that_failed_again_since_it_was_dismissed_is_one_row_when_it_is_restored(
    runtime, bridge, screen
):
    await fire(runtime, "demo.ping", bad=1)
    await screen.open()
    (row,) = (await overview(screen))["failures"]["rows"]
    await screen.ask("dismiss", row=row["id"])
    await fire(runtime, "demo.ping", bad=2)
    await screen.ask("restore", row=row["id"])
    found = await overview(
        screen, lambda part: [one["id"] for one in part["failures"]["rows"]] == [row["id"]]
    )
    (restored,) = found["failures"]["rows"]
    assert (restored["failed"], sum(restored["spark"]), restored["first"]) == (2, 2, row["first"])
    assert runtime.history.event(restored["event"]).payload == {"bad": 2}


async def test_a_row_whose_worker_was_started_anew_since_is_not_restored(runtime, bridge, screen):
    await fire(runtime, "demo.ping", bad=1)
    await screen.open()
    (row,) = (await overview(screen))["failures"]["rows"]
    await screen.ask("dismiss", row=row["id"])
    await bridge.restart(force=True)
    assert (await screen.ask("restore", row=row["id"]))["text"] == "it does not fail any more (DN915)"
    assert runtime.feed.model.failing_now() == []


async def test_a_row_that_succeeded_for_a_minute_since_is_not_restored(runtime, bridge, monkeypatch):
    await fire(runtime, "demo.ping", bad=1)
    (failure,) = runtime.feed.model.failing_now()
    runtime.failing.dismiss([failure], failure.number)
    time_passes(monkeypatch, 61)
    await fire(runtime, "demo.ping", n=1)
    assert runtime.failing.restore(failure.number) == [failure]
    assert runtime.feed.model.failing_now() == []


async def test_what_is_dismissed_is_bounded(runtime, bridge, screen, monkeypatch):
    monkeypatch.setattr("dnworker.events.failing.KEPT", 1)
    await fire(runtime, "demo.ping", bad=1)
    (first,) = runtime.feed.model.failing_now()
    runtime.failing.dismiss([first], first.number)
    runtime.failing.note_exit("notebook:bridge", "gone", 1)
    (second,) = runtime.failing.all()
    runtime.failing.dismiss([second], second.number)
    assert runtime.failing.restore(first.number) == []
    assert runtime.failing.restore(second.number) == [second]


async def test_a_new_generation_that_fails_is_named_and_the_one_before_is_forgotten(runtime, bridge, screen):
    await fire(runtime, "demo.ping", n=1)
    worker = Worker("bridge")

    @worker.on_event("demo.ping")
    async def on_ping(event, client):
        raise KeyError("price")

    make = lambda: worker  # noqa: E731
    await bridge.swap(Generation(2, bridge.definition, make, make))
    await fire(runtime, "demo.ping", n=2)
    await screen.open()
    found = await overview(screen)
    (row,) = found["failures"]["rows"]
    assert (row["since"]["worker"], row["since"]["n"]) == ("notebook:bridge", 2)
    assert row["since"]["at"] <= row["first"]
    assert [(mark["worker"], mark["n"]) for mark in found["marks"]] == [("notebook:bridge", 2)]
    await bridge.swap(Generation(3, bridge.definition, make, make))
    found = await overview(screen, lambda part: part["failures"]["all"] == 0)
    assert [mark["n"] for mark in found["marks"]] == [3, 2]


async def test_a_handler_that_failed_before_does_not_fail_since_its_generation(runtime, bridge, monkeypatch):
    await fire(runtime, "demo.ping", bad=1)
    await bridge.swap(replace(bridge._generation, number=2))
    change = runtime.changes.all[-1]
    change.monotonic += STEP * 2  # buckets are coarse
    runtime.history.series.note(_failed(bridge.qualified_name, change.monotonic + 1))
    failure = next(one for one in runtime.failing.all() if one.generation == 2)
    failure.first = failure.last = change.monotonic + 1
    assert failure_rows._generation_of([failure], runtime.history.series, runtime.changes, 0.0) is None


def _failed(worker: str, at: float) -> Invocation:
    from dnworker.core.handler_error import describe

    key = HandlerKey("on_event", "demo.ping", "on_ping")
    one = Invocation(worker, "on_ping", "event", generation=2, started_at=at, key=key)
    one.outcome, one.duration, one.error = "error", 0.0, describe(ValueError("again"))
    return one


async def test_a_worker_that_did_not_start_is_a_row(runtime, screen):
    worker = Worker("lost")

    @worker.on_startup
    async def begin(client):
        raise OSError("no way there")

    await runtime.add(worker)
    await screen.open()
    found = await overview(screen)
    (row,) = found["failures"]["rows"]
    assert (row["worker"], row["handler"]) == ("notebook:lost", "begin")  # once, not as an exit too
    assert "no way there" in row["error"]
    assert found["workers"] == {"error": 1}


async def test_an_exit_counts_its_process_as_the_handler(runtime, bridge, screen):
    output = (
        "exited with code 1; restarts after 4 s (2 of 5)\n\nWorker output:\nhi\nNode 22 or later is needed"
    )
    runtime.failing.note_exit("notebook:bridge", output, 1)
    await screen.open()
    (row,) = (await overview(screen))["failures"]["rows"]
    assert (row["exit"], row["handler"], row["failed"]) == (True, "process", 1)
    assert row["error"] == "exited with code 1: Node 22 or later is needed"


async def test_a_worker_that_runs_again_by_itself_keeps_its_row_for_a_minute(runtime, bridge, monkeypatch):
    runtime.failing.note_exit("notebook:bridge", "exited with code 1", 1)
    bridge.starts_again = True
    bridge._lifecycle.transitions[-1] = replace(bridge._lifecycle.transitions[-1], state=WorkerState.STARTING)
    runtime._note_health(bridge, moved=True)
    bridge._lifecycle.transitions[-1] = replace(bridge._lifecycle.transitions[-1], state=WorkerState.RUNNING)
    assert len(runtime.feed.model.failing_now()) == 1


async def test_the_header_is_told_how_many_handlers_fail(runtime, bridge, screen):
    await screen.open()
    await fire(runtime, "demo.ping", bad=1)
    assert await screen.part("attention", lambda part: part["failing"] == 1) == {"prompts": 0, "failing": 1}


async def test_a_span_has_its_calls_and_their_p95(runtime, bridge, screen):
    now = time.time() * 1000
    await fire(runtime, "demo.ping", n=1)
    await fire(runtime, "demo.ping", bad=1)
    await screen.open()
    found = await overview(screen, since=now - 60_000, until=now + 60_000)
    assert (found["span"]["calls"], found["span"]["failed"]) == (2, 1)
    assert found["span"]["p95"] > 0
    found = await overview(screen, lambda part: part["span"]["calls"] == 0, since=1, until=2)
    assert found["span"]["p95"] is None
    assert (await overview(screen, lambda part: part["span"] is None))["calls"] == 2


@pytest.mark.parametrize("wrong", [{"since": "a", "until": "b"}, {"since": 5, "until": 4}, {"since": 1}])
async def test_a_span_that_is_none_is_left_out(runtime, screen, wrong):
    await screen.open()
    assert (await overview(screen, **wrong))["span"] is None


async def test_one_worker_alone_has_its_own_numbers(runtime, bridge, go, screen):
    await fire(runtime, "demo.ping", bad=1)
    await screen.open()
    found = await overview(screen, only="notebook:slow")
    assert found["failures"]["all"] == found["calls"] == 0
    assert found["workers"] == {"running": 1}
    found = await overview(screen, lambda part: part["calls"] == 1, only="notebook:bridge")
    assert found["failures"]["all"] == 1


async def test_what_is_due_is_in_order_and_says_why_it_cannot_run(runtime, bridge, screen):
    stopped = Worker("nightly")

    @stopped.every(cron="0 4 * * *")
    async def report(client): ...

    nightly = await runtime.add(stopped)
    await nightly.stop()
    await screen.open()
    due = (await overview(screen))["due"]
    first, last = due["rows"]
    assert (first["worker"], first["name"], first["every"], first["why"]) == (
        "notebook:bridge",
        "tick",
        300.0,
        None,
    )
    assert first["when"] > time.time() * 1000
    assert (last["cron"], last["when"], last["why"]) == ("0 4 * * *", None, "it is stopped")
    assert due["all"] == 2


async def test_a_task_that_crashed_starts_again_and_a_virtual_clock_tells_when():
    clock = VirtualClock()
    async with Runtime(port=None, clock=clock) as runtime:
        worker = Worker("t")

        @worker.task
        async def loop(client):
            raise ValueError("crash")

        await runtime.add(worker)
        screen = Screen(runtime)
        await screen.open()
        found = await overview(screen, lambda part: part["due"]["rows"])
        (row,) = found["due"]["rows"]
        assert (row["name"], row["every"], row["cron"]) == ("loop", None, None)
        assert row["when"] == clock.now().timestamp() * 1000 + 1000
        assert row["whyNotNow"] == "a task starts again by itself"


async def test_steps_and_generations_are_told_with_their_text(runtime, bridge, screen):
    await bridge.stop()
    await bridge.start()
    await bridge.swap(replace(bridge._generation, number=2))
    await screen.open()
    changed = (await overview(screen))["changed"]
    assert [(one["state"], one["generation"]) for one in changed[:2]] == [("running", 2), ("running", None)]


async def test_a_thousand_workers_fit_and_let_the_loop_turn(runtime, screen):
    for number in range(1_000):
        worker = Worker(f"w{number}")

        @worker.on_event("demo.storm")
        async def work(event, client, number=number):
            raise RuntimeError(f"<b>{number % 200}</b> " + "ü" * 20)

        await runtime.add(worker)
    await fire(runtime, "demo.storm")
    await screen.open()
    found = await overview(screen)
    assert found["failures"]["handlers"] <= 1_000
    assert len(found["failures"]["rows"]) == failure_rows.ROWS_SHOWN
    assert size_of(found) < 90_000


async def test_a_schedule_with_a_label_that_is_no_interval_keeps_its_label(bridge):
    row = due_rows._row(bridge, HandlerKey("every", "hourly", "tick"), "tick")
    assert (row["every"], row["cron"]) == (None, "hourly")
    assert due_rows._row(bridge, HandlerKey("every", "90s", "t"), "t")["every"] == 90
    assert due_rows._row(bridge, HandlerKey("every", "cron * * * * *", "t"), "t")["cron"] == "* * * * *"


async def test_dead_letters_are_rows_that_are_fired_again_edited_dropped_and_put_back(
    screen, runtime, bridge
):
    name = bridge.qualified_name
    runtime.retries.put(name, parse_retry(["1,on=OSError"]))
    event = (await runtime.fire("demo.ping", {"bad": 1})).event
    await screen.open()
    dead = (await overview(screen, lambda part: part["dead"]["all"] == 1))["dead"]["rows"][0]
    assert (dead["id"], dead["worker"], dead["attempts"], dead["why"]) == (
        event.event_id,
        name,
        1,
        "not retried",
    )
    which = {"event": dead["id"], "worker": name}
    assert '"bad": 1' in (await screen.ask("dead", verb="payload", **which))["payload"]
    await screen.ask("dead", verb="drop", **which)
    await overview(screen, lambda part: part["dead"]["all"] == 0)
    assert "there is no dead letter" in (await screen.ask("dead", verb="retry", **which))["text"]
    await screen.ask("dead", verb="restore", **which)
    await overview(screen, lambda part: part["dead"]["all"] == 1)
    answer = await screen.ask("dead", verb="retry", **which)
    assert (answer["kind"], answer["seq"] > event.seq) == ("demo.ping", True)


async def test_what_is_tried_again_is_due(screen, runtime, bridge):
    runtime.retries.put(bridge.qualified_name, parse_retry(["5,backoff=1h"]))
    await runtime.fire("demo.ping", {"bad": 1})
    await screen.open()
    (row,) = [one for one in (await overview(screen))["due"]["rows"] if "next try" in one["name"]]
    assert row["name"].endswith(", next try (1 of 5)")
    assert row["whyNotNow"] == "it is tried again by itself"


async def test_a_group_of_failures_counts_those_that_are_tried_again(runtime, bridge, screen):
    await screen.open()
    await runtime.fire("demo.ping", {"bad": 1})
    (row,) = (await overview(screen, lambda part: part["failures"]["all"] == 1))["failures"]["rows"]
    assert (row["failed"], row["retried"]) == (1, 0)
    runtime.retries.put(bridge.qualified_name, parse_retry(["5,backoff=1h"]))
    await runtime.fire("demo.ping", {"bad": 1})
    part = await overview(screen, lambda part: part["failures"]["rows"][0]["failed"] == 2)
    assert part["failures"]["rows"][0]["retried"] == 1


async def test_it_says_which_column_of_the_page_on_delivery_applies(runtime, bridge, screen, monkeypatch):
    await screen.open()
    assert "(docs/understand/delivery.md, column memory)" in (await overview(screen))["kept"]
    durable = BrokerCapabilities(survives_kill=True, redelivers=True)
    monkeypatch.setattr(type(runtime.bus.broker), "capabilities", durable)
    found = await overview(screen, lambda part: "memory" not in part["kept"])
    assert found["kept"].endswith("(docs/understand/delivery.md, column durable)")
