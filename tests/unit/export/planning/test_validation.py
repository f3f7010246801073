"""Problems of an export as a whole."""

from __future__ import annotations

import pytest

from dnworker_jupyter.export.slicing.problems import NotExportable
from tests.unit.export.builders import handler, plan, problems


@pytest.mark.parametrize(
    ("cells", "message"),
    [
        (["x = 1"], "there is no worker"),
        (["%%worker bridge\nx = 1"], "worker 'bridge': has no handlers"),
        (["%%worker bridge\nx = ("], r"cell \[1\], line 2, column \d+: the cell: is no Python"),
        (
            ["import no_such_module", handler("no_such_module.f()")],
            r"cell \[1\], line 1: module 'no_such_module': is not installed here",
        ),
    ],
)
def test_a_notebook_without_a_whole_worker_is_refused(cells, message):
    with pytest.raises(NotExportable, match=message):
        plan(*cells)


def test_a_module_that_only_a_value_names_is_warned_of():
    made = plan("import importlib", handler("importlib.import_module(event.kind)"))
    (warning,) = made.warnings
    assert "`importlib.import_module(event.kind)`" in str(warning)


@pytest.mark.parametrize(
    "cells",
    [
        ["%%worker a --file workers/s.py\n{}", "%%worker b --file workers/s.py\n{}"],
        ["%%worker a\n{}", "%%worker b --command sh --file workers/a.py\necho 1"],
        ["%%worker a --command sh --file capability.yaml\necho 1", "%%worker b\n{}"],
        ["%%worker json\n{}", "%%worker json-worker\n{}"],
        ["%%worker json\n{}", "%%worker p --command sh --file workers/json-worker.py\necho 1"],
        ["%%worker a --file tests/test_a.py\n{}", "%%worker a --test --file tests/test_a.py\nevent: k"],
        ["%%worker a --command sh --file workers\necho 1", "%%worker b\n{}"],
        ["%%worker a --file json.py\n{}"],
    ],
)
def test_two_workers_are_not_written_to_one_file(cells):
    body = "@worker.task\nasync def t(client):\n    pass"
    cells = [cell.replace("--test --file tests/test_a.py", "--test") for cell in cells]
    told = problems(*(cell.format(body) for cell in cells))
    assert all("--file" in one for one in told)


def test_a_test_that_is_no_json_is_refused():
    for value in ("2024-01-01", ".inf"):
        told = problems(handler("pass"), f"%%worker bridge --test\nevent: a\npayload: {{when: {value}}}")
        assert "an event carries JSON, and this is none" in told[0]


def test_two_names_for_one_worker_are_refused_where_the_reference_would_count_two():
    cells = [
        "bridge = dn.worker('bridge')\n@bridge.on_event('a')\nasync def on_a(e, c):\n    print(bridge.state)",
        "@bridge.on_event('b')\nasync def on_b(e, c):\n    print(worker.state)",
    ]
    text = plan(*cells[:1], topology="in-process").files["workers/bridge.py"].decode()
    assert 'bridge = Worker(name="bridge")' in text
    assert text.endswith("bridge.run()\n")
    with pytest.raises(NotExportable, match="takes two names for two workers"):
        plan(*cells, topology="in-process")
    assert plan(*cells, topology="in-process", target="dnworker").files


def test_a_handler_that_runs_live_and_is_not_found_is_refused():
    with pytest.raises(NotExportable, match="handler 'on_b' runs here"):
        plan(handler("pass"), registered={"bridge": ["on_a", "on_b"]})


def test_a_live_worker_that_no_cell_shows_is_refused():
    with pytest.raises(
        NotExportable, match="worker 'hidden': runs here, and no cell that can be read defines it"
    ):
        plan(handler("pass"), registered={"hidden": ["h"]})


def test_what_one_worker_changes_and_another_uses_is_refused_for_processes_only():
    cells = [
        "seen = []",
        handler("seen.append(1)"),
        handler("print(seen)").replace("bridge", "relay"),
    ]
    (problem,) = problems(*cells)
    assert "'seen': handlers of bridge change it, and relay uses it too" in problem
    assert plan(*cells, topology="in-process").files
    assert plan(*(c.replace("seen", "seen_cache") for c in cells)).files
