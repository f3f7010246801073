"""The alerts fire for what they are about, and are silent otherwise: on made data, and on what a runtime exports."""

from __future__ import annotations

import json
import operator
import re
import shutil
import subprocess
import time
from dataclasses import dataclass

import pytest
import yaml
from prometheus_client import generate_latest
from prometheus_client.parser import text_string_to_metric_families

from dnworker import Runtime, Worker
from dnworker.deploy.monitoring import monitoring_files
from dnworker.engine import measuring
from dnworker.events.brokers.sqlite.broker import SqliteBroker
from dnworker.server.metric_families import registry

RULES = monitoring_files()["dnworker-rules.yml"]
EXPRESSIONS = {
    rule["alert"]: rule["expr"]
    for group in yaml.safe_load(RULES)["groups"]
    for rule in group["rules"]
    if "alert" in rule
}
NODE = 'job="dnworker",instance="a:8787"'
OF = f'{NODE},worker="shop:billing"'
RUNS = f'dnworker_handler_runs_total{{{OF},handler="bill",outcome="%s"}}'
STATE = f'dnworker_worker_state{{{OF},dnworker_worker_state="%s"}}'


@dataclass(frozen=True)
class Case:
    """Series a minute apart, in Prometheus' notation: those for which an alert fires, and those for which not."""

    fires: dict[str, str]
    silent: dict[str, str]
    minutes: int = 30


def one(name: str, fires: str, silent: str, labels: str = NODE) -> Case:
    """Return a case of one series."""
    return Case({f"{name}{{{labels}}}": fires}, {f"{name}{{{labels}}}": silent})


SCHEDULE = {
    f"dnworker_worker_state_since_timestamp_seconds{{{OF}}}": "0x60",
    STATE % "running": "1x60",
    f'dnworker_schedule_interval_seconds{{{OF},handler="tick"}}': "60x60",
}
FILES = {f"process_max_fds{{{NODE}}}": "1000x60", f"dnworker_ready{{{NODE}}}": "1x60"}
DISK = {f"dnworker_journal_disk_size_bytes{{{NODE}}}": "100x60"}

CASES = {
    "DnworkerRuntimeDown": one("up", "0x60", "1x60"),
    "DnworkerRuntimeUnknown": Case({'up{job="other"}': "1x60"}, {f"up{{{NODE}}}": "0x60"}),
    "DnworkerNotReady": one("dnworker_ready", "0x60", "0 0 1x60"),
    "DnworkerRestartsAgainAndAgain": one("dnworker_start_time_seconds", "1 2 3 4x60", "1 1 2 3x60"),
    "DnworkerReloadFailed": one("dnworker_reload_failed", "1x60", "0x60"),
    "DnworkerLoopIsLate": one("dnworker_loop_lag_seconds", "3x60", "0.2x60"),
    "DnworkerFilesRunOut": Case(
        {f"process_open_fds{{{NODE}}}": "900x60"} | FILES, {f"process_open_fds{{{NODE}}}": "100x60"} | FILES
    ),
    "DnworkerWorkerInError": Case(
        {STATE % "error": "0 1x60"}, {STATE % "error": "0x60", STATE % "stopped": "1x60"}
    ),
    "DnworkerWorkerFlaps": one("dnworker_worker_failures_total", "0+1x60", "3x60", OF),
    "DnworkerHandlerFails": Case(
        {RUNS % "error": "0x25 1x9"}, {RUNS % "error": "7x60", RUNS % "ok": "0+9x60"}
    ),
    "DnworkerErrorBudgetBurns": Case(
        {RUNS % "error": "0+1x90", RUNS % "ok": "0+2x90"},
        {RUNS % "error": "0+1x90", RUNS % "ok": "0+20x90"},
        80,
    ),
    "DnworkerScheduleWithoutSuccess": Case(
        SCHEDULE,
        SCHEDULE | {f'dnworker_handler_last_success_timestamp_seconds{{{OF},handler="tick"}}': "0+60x60"},
    ),
    "DnworkerRunHangs": one("dnworker_worker_oldest_run_seconds", "3601+60x60", "3000x60", OF),
    "DnworkerBrokerRefuses": one("dnworker_broker_up", "0x60", "1x60"),
    "DnworkerEventsRefused": one("dnworker_events_refused_total", "0+1x60", "9x60"),
    "DnworkerEventsLost": one("dnworker_limit_dropped_total", "0+1x60", "9x60", f'{NODE},limit="queue"'),
    "DnworkerDeadLettersGrow": one("dnworker_dead_letters", "0x20 1x20", "5x60", OF),
    "DnworkerBacklogGrows": one("dnworker_cursor_pending_events", "0+20x60", "500x60", OF),
    "DnworkerEventsWait": one("dnworker_worker_queued_events", "200x60", "200x5 0x60", OF),
    "DnworkerJournalFails": one("dnworker_journal_up", "0x60", "1x60"),
    "DnworkerDiskFillsUp": Case(
        {f"dnworker_journal_disk_free_bytes{{{NODE}}}": "5x60"} | DISK,
        {f"dnworker_journal_disk_free_bytes{{{NODE}}}": "50x60"} | DISK,
    ),
}


def test_there_is_a_case_for_each_alert():
    assert set(CASES) == set(EXPRESSIONS)


def test_each_alert_fires_for_what_it_is_about_and_is_silent_otherwise(tmp_path):
    promtool = shutil.which("promtool")
    if promtool is None:
        pytest.skip("promtool is not installed; on Debian it is in the package prometheus")
    (tmp_path / "rules.yml").write_text(RULES)
    tests = []
    for alert, case in CASES.items():
        for series, count in ((case.fires, 1), (case.silent, 0)):
            query = {
                "expr": f'count(ALERTS{{alertname="{alert}",alertstate="firing"}})',
                "eval_time": f"{case.minutes}m",
                "exp_samples": [{"labels": "{}", "value": count}] if count else [],
            }
            made = [{"series": name, "values": values} for name, values in series.items()]
            tests.append({"interval": "1m", "input_series": made, "promql_expr_test": [query]})
    cases = {"rule_files": ["rules.yml"], "evaluation_interval": "1m", "tests": tests}
    (tmp_path / "cases.yml").write_text(json.dumps(cases))
    done = subprocess.run(
        [promtool, "test", "rules", "cases.yml"], cwd=tmp_path, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr


# -- on what a runtime exports: comparisons of one metric with a number, which need no server ------------------------

SIMPLE = re.compile(
    r"(?:max by \([\w, ]+\) \()?(?P<name>\w+)(?:\{(?P<label>\w+)=\"(?P<value>\w+)\"\})?\)? "
    r"(?P<sign>==|<|>) (?P<number>[\d.]+)"
)
SIGNS = {"==": operator.eq, "<": operator.lt, ">": operator.gt}


def holds(alert: str, text: str) -> bool:
    """Return whether the condition of an alert holds for an answer of `/metrics`."""
    rule = SIMPLE.fullmatch(EXPRESSIONS[alert])
    assert rule is not None, EXPRESSIONS[alert]
    samples = [
        sample
        for family in text_string_to_metric_families(text)
        for sample in family.samples
        if sample.name == rule["name"]
        and (rule["label"] is None or sample.labels[rule["label"]] == rule["value"])
    ]
    assert samples, f"nothing exports {rule['name']}"
    return any(SIGNS[rule["sign"]](sample.value, float(rule["number"])) for sample in samples)


async def exported(runtime: Runtime) -> str:
    return generate_latest(registry(await measuring.measure(runtime))).decode()


async def test_a_worker_in_error_and_a_loop_that_stood_still_hold_and_a_healthy_runtime_does_not(
    tmp_path, monkeypatch
):
    monkeypatch.setattr("dnworker.engine.lag.INTERVAL", 3600)  # a busy machine makes this loop late, too
    alerts = ("DnworkerWorkerInError", "DnworkerLoopIsLate", "DnworkerNotReady", "DnworkerBrokerRefuses")
    worker, broken = Worker(name="well"), Worker(name="broken")

    @broken.on_startup
    async def start(client):
        raise ValueError("as asked")

    async with Runtime(broker=SqliteBroker(tmp_path / "events.db")) as runtime:
        await runtime.add(worker)
        now = time.monotonic()
        runtime.history.series.note_lag(now - 0.001, now)
        text = await exported(runtime)
        assert [alert for alert in alerts if holds(alert, text)] == []
        runtime.history.series.note_lag(now, now + 5)
        await runtime.add(broken)
        text = await exported(runtime)
        assert [alert for alert in alerts if holds(alert, text)] == list(alerts[:2])


async def test_what_alerts_count_is_there_at_zero_before_it_happens(tmp_path):
    """A counter that begins at 1 has not grown for Prometheus: the first failure would be silent."""
    worker = Worker(name="w")

    @worker.on_event("demo.tick")
    async def on_tick(event, client): ...

    async with Runtime(broker=SqliteBroker(tmp_path / "events.db")) as runtime:
        await runtime.add(worker)
        text = await exported(runtime)
    values = {
        (sample.name, sample.labels.get("outcome")): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }
    for name in ("dnworker_worker_failures_total", "dnworker_events_refused_total", "dnworker_dead_letters"):
        assert values[name, None] == 0, name
    assert values["dnworker_handler_runs_total", "error"] == 0
