"""What `/metrics` tells, read by the library of Prometheus."""

from __future__ import annotations

import asyncio
import re
import sys
from pathlib import Path
from textwrap import dedent

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from prometheus_client import generate_latest
from prometheus_client.openmetrics.parser import text_string_to_metric_families as read_openmetrics
from prometheus_client.parser import text_string_to_metric_families as read_text

from dnworker import Runtime, Worker
from dnworker.core.errors import BrokerError
from dnworker.engine import measuring
from dnworker.events import flow_counts
from dnworker.events.brokers.memory import MemoryBroker
from dnworker.server.metric_families import registry

RUNS = "dnworker_handler_runs_total"
PAGE = Path(__file__).parents[3] / "docs" / "how-to" / "watch-with-prometheus.md"


def ticking(name: str = "w") -> Worker:
    worker = Worker(name=name)

    @worker.on_event("demo.tick")
    async def on_tick(event, client):
        if event.payload.get("fail"):
            raise ValueError("as asked")

    return worker


def samples(text: str, read=read_text) -> dict[tuple[str, frozenset], float]:
    """Return all values by name and labels; each must be there once."""
    found = [one for family in read(text) for one in family.samples]
    values = {(one.name, frozenset(one.labels.items())): one.value for one in found}
    assert len(values) == len(found)
    return values


async def measured(runtime: Runtime) -> dict[tuple[str, frozenset], float]:
    return samples(generate_latest(registry(await measuring.measure(runtime))).decode())


def value(values, name: str, **labels: str) -> float:
    return values[name, frozenset(labels.items())]


async def test_metrics_tell_of_events_runs_durations_and_workers(served, http):
    await served.add(ticking())
    await served.fire("demo.tick", {})
    await served.fire("demo.tick", {"fail": True})
    answer = await http.get("/metrics")
    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith("text/plain; version=0.0.4")
    found = samples(answer.text)
    run = {"worker": "notebook:w", "handler": "on_tick"}
    assert value(found, "dnworker_events_total", kind="demo.tick") == 2
    assert value(found, RUNS, **run, outcome="ok") == 1
    assert value(found, RUNS, **run, outcome="error") == 1
    assert value(found, "dnworker_handler_duration_seconds_count", **run) == 2
    assert value(found, "dnworker_handler_duration_seconds_bucket", **run, le="+Inf") == 2
    assert value(found, "dnworker_worker_state", worker="notebook:w", dnworker_worker_state="running") == 1
    assert value(found, "dnworker_workers", state="running") == 1
    assert value(found, "dnworker_worker_starts_total", worker="notebook:w") == 1
    assert value(found, "dnworker_broker_up") == 1
    if sys.platform == "linux":
        assert value(found, "process_resident_memory_bytes") > 1_000_000


async def test_a_handler_that_has_not_run_yet_is_at_zero(served):
    await served.add(ticking())
    found = await measured(served)
    assert value(found, RUNS, worker="notebook:w", handler="on_tick", outcome="error") == 0
    assert (
        value(found, "dnworker_handler_duration_seconds_count", worker="notebook:w", handler="on_tick") == 0
    )


async def test_openmetrics_is_answered_where_it_is_asked_for(http):
    answer = await http.get("/metrics", headers={"Accept": "application/openmetrics-text; version=1.0.0"})
    assert answer.headers["content-type"].startswith("application/openmetrics-text; version=1.0.0")
    assert answer.text.endswith("# EOF\n")
    assert value(samples(answer.text, read_openmetrics), "dnworker_sessions") == 0


@pytest.mark.parametrize("token", [None, "wrong"])
async def test_metrics_are_for_who_has_the_token(http, token):
    http.headers["Authorization"] = f"Bearer {token}" if token else ""
    assert (await http.get("/metrics")).status_code == 401


async def test_without_the_library_the_answer_names_the_command_that_installs_it(http, monkeypatch):
    monkeypatch.setitem(sys.modules, "prometheus_client", None)
    answer = await http.get("/metrics")
    assert answer.status_code == 501
    assert "pip install 'dnworker[metrics]'" in answer.json()["detail"]


async def test_the_page_names_no_metric_that_is_not_there(served):
    await served.add(ticking())
    now = asyncio.get_running_loop().time()
    served.history.series.note_lag(now - 0.001, now)  # as a runtime does that runs for some seconds
    text = generate_latest(registry(await measuring.measure(served))).decode()
    there = set(re.findall(r"^# TYPE (\w+)", text, re.MULTILINE))
    assert set(re.findall(r"\bdnworker_\w+", PAGE.read_text())) - there == set()


async def test_kinds_beyond_the_bound_are_counted_together_and_none_is_lost(monkeypatch):
    monkeypatch.setattr(measuring, "KINDS_SHOWN", 5)
    monkeypatch.setattr(flow_counts, "MOST", 8)
    async with Runtime() as runtime:
        for number in range(30):
            runtime.publish(f"demo.k{number % 15}")
        found = await measured(runtime)
    kinds = {
        dict(labels)["kind"]: n for (name, labels), n in found.items() if name == "dnworker_events_total"
    }
    assert len(kinds) == 6
    assert sum(count for kind, count in kinds.items() if kind == "other" or kind.startswith("demo")) == 30


async def test_a_kind_that_is_called_other_is_no_second_sample(monkeypatch):
    monkeypatch.setattr(measuring, "KINDS_SHOWN", 2)
    async with Runtime() as runtime:
        for kind in ("other", "a", "b", "c"):
            runtime.publish(kind)
        assert value(await measured(runtime), "dnworker_events_total", kind="other") == 3


async def test_workers_beyond_the_bound_are_summed_up(monkeypatch):
    monkeypatch.setattr(measuring, "WORKERS_SHOWN", 2)
    async with Runtime() as runtime:
        for name in "abcd":
            await runtime.add(ticking(name))
        found = await measured(runtime)
    assert value(found, "dnworker_workers", state="running") == 4
    shown = {dict(labels)["worker"] for name, labels in found if name == "dnworker_worker_running"}
    assert shown == {"notebook:a", "notebook:b", "other"}


@pytest.mark.parametrize("fault", [BrokerError("the disk is away"), None])
async def test_a_broker_that_does_not_answer_takes_the_cursors_alone(monkeypatch, fault):
    async def cursors():
        if fault is not None:
            raise fault
        await asyncio.Event().wait()

    monkeypatch.setattr(measuring, "CURSORS_WITHIN", 0.01)
    async with Runtime() as runtime:
        monkeypatch.setattr(runtime.bus.broker, "cursors", cursors)
        found = await measured(runtime)
    assert value(found, "dnworker_cursors_up") == 0
    assert value(found, "dnworker_broker_up") == 1


async def test_dead_letters_are_left_out_until_they_are_read_and_that_is_said_once(monkeypatch, caplog):
    keys, gate, is_away = MemoryBroker.keys, asyncio.Event(), True

    async def slow_keys(broker, prefix):
        if prefix == "dead/":
            await gate.wait()
            if is_away:
                raise BrokerError("the disk is away")
        return await keys(broker, prefix)

    async def type_lines():
        text = generate_latest(registry(await measuring.measure(runtime))).decode()
        return text.count("# TYPE dnworker_dead_letters ")

    monkeypatch.setattr(MemoryBroker, "keys", slow_keys)
    async with Runtime() as runtime:
        with monkeypatch.context() as hurried:
            hurried.setattr(measuring, "CURSORS_WITHIN", 0.01)
            assert await type_lines() == 0
        gate.set()
        assert await type_lines() == 0  # what began at the start fails
        assert await type_lines() == 0
        is_away = False
        assert await type_lines() == 1
        assert await type_lines() == 1
    said = [
        one.getMessage() for one in caplog.records if one.name in ("dnworker.metrics", "dnworker.retries")
    ]
    assert len(said) == 3
    assert said[0] == "metrics are without dead letters: the broker does not tell them: it takes too long"
    assert "list tries to read them again: the disk is away" in said[1]
    assert said[2] == "metrics have dead letters again"


async def test_cursors_that_are_not_told_are_said_when_that_begins_and_ends(monkeypatch, caplog):
    async def cursors():
        raise BrokerError("the disk is away")

    async with Runtime() as runtime:
        for _ in range(2):
            with monkeypatch.context() as away:
                away.setattr(runtime.bus.broker, "cursors", cursors)
                for _ in range(3):
                    await measured(runtime)
            for _ in range(3):
                await measured(runtime)
    said = [one.getMessage() for one in caplog.records if one.name == "dnworker.metrics"]
    without = "metrics are without cursors: the broker does not tell them: the disk is away"
    assert said == [without, "metrics have cursors again"] * 2


async def test_names_that_are_no_plain_text_are_written_so_that_they_can_be_read():
    kind = 'a "quoted"\\ kind\nof two lines'
    async with Runtime() as runtime:
        runtime.publish(kind)
        assert value(await measured(runtime), "dnworker_events_total", kind=kind) == 1


SCRIPT = dedent("""
    from dnworker import Worker
    worker = Worker(name="w")

    @worker.on_event("demo.tick")
    async def on_tick(event, client):
        if event.payload.get("fail"):
            raise ValueError("as asked")
""")
STEPS = st.lists(st.sampled_from(["tick", "fail", "reload", "restart", "unload"]), min_size=1, max_size=6)


@given(STEPS)
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
async def test_counters_only_grow_whatever_is_reloaded(tmp_path, steps):
    (tmp_path / "capability.yaml").write_text(
        "schema: 1\nname: shop\nversion: 0.1.0\ndescription: d\nworkers:\n  w:\n    path: w.py\n"
    )
    (tmp_path / "w.py").write_text(SCRIPT)
    async with Runtime() as runtime:
        await runtime.load(tmp_path)
        before = await measured(runtime)
        for step in steps:
            if step in ("tick", "fail"):
                await runtime.fire("demo.tick", {"fail": step == "fail"})
            elif step == "reload":
                await runtime.reload()
            elif step == "restart":
                await runtime.worker("w").restart(force=True)
            else:
                await runtime.unload("shop")
                await runtime.load(tmp_path)
            after = await measured(runtime)
            for key, count in before.items():
                if key[0].startswith("dnworker_") and key[0].endswith(
                    ("_total", "_bucket", "_count", "_sum")
                ):
                    assert after[key] >= count
            before = after
        ticks = sum(step in ("tick", "fail") for step in steps)
        total = sum(
            n for (name, labels), n in before.items() if name == RUNS and ("handler", "on_tick") in labels
        )
        assert total == ticks
