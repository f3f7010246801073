"""The dashboard and the alerts: they name what a runtime exports, and each says what to do."""

from __future__ import annotations

import argparse
import importlib
import json
import re
import shutil
import subprocess
import time
from pathlib import Path

import pytest
import yaml
from grafana_foundation_sdk.models.dashboard import Dashboard
from prometheus_client import generate_latest
from prometheus_client.parser import text_string_to_metric_families

from dnworker import Runtime, Worker
from dnworker.cli import deploy
from dnworker.core.errors import UsageError
from dnworker.deploy.monitoring import monitoring_files
from dnworker.engine import measuring
from dnworker.server.metric_families import registry

PROJECT = Path(__file__).parents[3]
SITE = "https://dnworker.github.io/dnworker/"
FILES = monitoring_files()
BOARD = json.loads(FILES["dnworker-dashboard.json"])
GROUPS = yaml.safe_load(FILES["dnworker-rules.yml"])["groups"]
RULES = [rule for group in GROUPS for rule in group["rules"]]
ALERTS = [rule for rule in RULES if "alert" in rule]
GRAFANA = {"$__rate_interval": "5m", "$__range": "1h"}
OF_PROMETHEUS = {"job", "instance", "le"}


def query(text: str) -> str:
    """Return a query as Grafana sends it, with everything chosen."""
    for name, value in GRAFANA.items():
        text = text.replace(name, value)
    return re.sub(r"\$\w+", ".*", text)


QUERIES = [
    *(query(target["expr"]) for panel in BOARD["panels"] for target in panel.get("targets", ())),
    *(query(one["expr"]) for one in BOARD["annotations"]["list"]),
    *(rule["expr"] for rule in RULES),
]


@pytest.fixture
def promql(monkeypatch):
    monkeypatch.syspath_prepend(str(PROJECT / "scripts"))
    return importlib.import_module("promql")


async def exported(path: Path) -> tuple[set[str], set[str]]:
    """Return names of metrics and of labels that a runtime exports whose worker ran and failed."""
    worker = Worker(name="w")

    @worker.on_event("demo.tick")
    async def on_tick(event, client):
        if event.payload.get("fail"):
            raise ValueError("as asked")

    @worker.every(seconds=60)
    async def often(client): ...

    async with Runtime(broker=_durable(path)) as runtime:
        await runtime.add(worker)
        for fail in (False, True):
            await runtime.fire("demo.tick", {"fail": fail})
        now = time.monotonic()
        runtime.history.series.note_lag(now - 0.001, now)
        text = generate_latest(registry(await measuring.measure(runtime))).decode()
    families = list(text_string_to_metric_families(text))
    names = {sample.name for family in families for sample in family.samples}
    names |= {family.name for family in families}
    return names, {label for family in families for sample in family.samples for label in sample.labels}


def _durable(path: Path):
    from dnworker.events.brokers.sqlite.broker import SqliteBroker

    return SqliteBroker(path)


@pytest.mark.slow
async def test_each_query_is_read_by_the_grammar_of_prometheus_and_names_what_a_runtime_exports(
    promql, tmp_path
):
    names, labels = await exported(tmp_path / "events.db")
    names |= {"up"} | {rule["record"] for rule in RULES if "record" in rule}
    for text, found in zip(QUERIES, promql.read(QUERIES), strict=True):
        assert found.errors == [], text
        assert found.metrics - names == set(), text
        assert found.labels - labels - OF_PROMETHEUS == set(), text
        assert found.metrics, text
    assert promql.read(["sum(x"])[0].errors


def test_the_dashboard_is_what_the_program_makes():
    program = importlib.import_module("scripts.dashboard.__main__")
    assert FILES["dnworker-dashboard.json"] == program.text(), "run: python -m scripts.dashboard"


def test_the_dashboard_is_read_by_the_library_of_grafana():
    board = Dashboard.from_json(BOARD)
    assert (board.uid, board.title) == ("dnworker", "dnworker")
    assert "style" not in BOARD, "light or dark is the reader's choice"
    variables = [one["name"] for one in BOARD["templating"]["list"]]
    assert variables == ["datasource", "job", "instance", "capability", "worker"]


def test_each_panel_has_an_id_a_place_of_its_own_and_says_what_it_shows():
    panels = BOARD["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    taken: dict[tuple[int, int], str] = {}
    for panel in panels:
        place = panel["gridPos"]
        assert place["x"] + place["w"] <= 24
        for x in range(place["x"], place["x"] + place["w"]):
            for y in range(place["y"], place["y"] + place["h"]):
                assert taken.setdefault((x, y), panel["title"]) == panel["title"]
        if panel["type"] != "row":
            assert panel["description"].endswith(".")
            assert panel["fieldConfig"]["defaults"]["unit"]
            assert panel["targets"]


def test_each_alert_waits_has_a_weight_says_the_next_step_and_leads_to_a_page_that_is_there():
    assert len({rule["alert"] for rule in ALERTS}) == len(ALERTS) > 15
    for rule in ALERTS:
        assert set(rule) == {"alert", "expr", "for", "labels", "annotations"}
        assert re.fullmatch(r"\d+m", rule["for"])
        assert rule["labels"]["severity"] in ("critical", "warning")
        notes = rule["annotations"]
        assert set(notes) == {"summary", "description", "runbook_url"}
        page = notes["runbook_url"].removeprefix(SITE).rstrip("/")
        assert (PROJECT / "docs" / f"{page}.md").is_file(), notes["runbook_url"]


def test_promtool_finds_nothing_in_the_rules(tmp_path):
    promtool = shutil.which("promtool")
    if promtool is None:
        pytest.skip("promtool is not installed; on Debian it is in the package prometheus")
    for name, text in FILES.items():
        (tmp_path / name).write_text(text)
    words = [promtool, "check", "rules", str(tmp_path / "dnworker-rules.yml")]
    done = subprocess.run(words, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def written(*words: str) -> int:
    parser = argparse.ArgumentParser()
    parser.set_defaults(json=False)
    deploy.add_arguments(parser)
    options = parser.parse_args(["monitoring", *words])
    return options.command(options)


def test_the_command_writes_the_files_and_again_where_they_are_as_they_were(tmp_path, capsys):
    for _ in range(2):
        assert written("-o", str(tmp_path / "made")) == 0
    assert {file.name: file.read_text() for file in (tmp_path / "made").iterdir()} == FILES
    assert "dnworker-rules.yml is written" in capsys.readouterr().out


def test_a_file_that_was_edited_stays_unless_it_is_forced(tmp_path):
    edited = tmp_path / "dnworker-rules.yml"
    for mine in (b"mine\n", b"\xff\xfe"):
        edited.write_bytes(mine)
        with pytest.raises(UsageError, match="give --force"):
            written("-o", str(tmp_path))
        assert [file.name for file in tmp_path.iterdir()] == [edited.name]
        assert edited.read_bytes() == mine
    assert written("-o", str(tmp_path), "--force") == 0
    assert edited.read_text() == FILES[edited.name]


def test_a_directory_that_is_a_file_is_said_in_one_line(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(UsageError, match="cannot be written"):
        written("-o", str(tmp_path / "file"))
