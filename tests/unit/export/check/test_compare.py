"""What a check notes of two sides, without running either."""

from __future__ import annotations

import pytest

from dnworker.core.handlers import HandlerKey
from dnworker.testing import make_envelope
from dnworker_jupyter.export.check.compare import note_differences, note_failures, note_worker
from dnworker_jupyter.export.check.observe import CheckRun
from dnworker_jupyter.export.check.report import CheckReport

EVENT = make_envelope("demo.asked", {}, seq=7)
DONE = ("w.h", "publishes demo.answered", {"n": 1})
FAILED = ("w.h", "raises KeyError", "'n'")


def compared(first, second, export, held=()) -> CheckReport:
    report = CheckReport("demo")
    runs = CheckRun([first], []), CheckRun([second], [])
    note_differences(report, [EVENT], CheckRun([export], []), runs, held)
    return report


def test_sides_that_do_the_same_pass():
    report = compared([DONE], [DONE], [DONE])
    assert report.ok
    assert "1 event fired: notebook and export do the same" in str(report)


def test_a_difference_fails_and_names_the_event():
    report = compared([DONE], [DONE], [FAILED])
    assert not report.ok
    assert report.findings[0].details[0] == "#7 demo.asked"


def test_what_the_notebook_began_with_is_named_where_sides_differ():
    assert "by now: COUNT" in compared([DONE], [DONE], [], held=["COUNT"]).findings[0].details[-1]


def test_an_event_that_differs_in_each_run_is_not_compared():
    report = compared([DONE], [DONE, DONE], [])
    assert report.ok
    assert "nothing could be compared" in str(report)


def test_without_a_notebook_only_errors_fail():
    report = CheckReport("demo")
    note_failures(report, [EVENT, EVENT], CheckRun([[DONE], [FAILED]], []))
    assert report.findings[0].details == ("#7 demo.asked: w.h raises KeyError: 'n'",)


@pytest.mark.parametrize(("exact", "ok"), [(True, False), (False, True)])
def test_a_trigger_that_cells_do_not_spell_out_is_taken_from_the_running_worker(exact, ok):
    report = CheckReport("demo")
    there = [["on_event", "demo.a", "h"]]
    worker = {
        "state": "running",
        "up": True,
        "error": None,
        "topology": "uv",
        "output": [],
        "handlers": there,
    }
    note_worker(report, "w", worker, [HandlerKey("on_event", "KIND", "h")], exact=exact)
    assert report.ok is ok
