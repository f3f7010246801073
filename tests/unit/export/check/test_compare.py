"""What a comparison of two sides finds, without running either."""

from __future__ import annotations

import pytest

from dnworker.core.handlers import HandlerKey
from dnworker.testing import make_envelope
from dnworker_jupyter.export.check.compare import judge
from dnworker_jupyter.export.check.findings import note_failures, note_verdict, note_worker, remarks_on
from dnworker_jupyter.export.check.record import Answer, CheckRun, HandlerRun, WorkerStart
from dnworker_jupyter.export.check.report import CheckReport

EVENT = make_envelope("demo.asked", {}, seq=7)
DONE = ("publishes demo.answered", {"n": 1})
FAILED = ("raises KeyError", "'n'")


def ran(*effects, who="w.h", root="event", event=0, lanes=(), ended=True) -> HandlerRun:
    return HandlerRun(who, root, event, [*effects], [*lanes], ended)


def side(*runs: HandlerRun, **more) -> CheckRun:
    return CheckRun([*runs], fired=1, **more)


def compared(*runs: CheckRun) -> CheckReport:
    """Return the report of some runs of the notebook, and at last one of the export."""
    report = CheckReport("demo")
    verdict = judge(runs[:-1], runs[-1:])
    note_verdict(report, [EVENT], verdict, remarks_on(runs[:-1], runs[-1], verdict, [EVENT]))
    return report


def test_sides_that_do_the_same_pass():
    report = compared(*[side(ran(DONE))] * 3)
    assert report.ok
    assert "1 event fired: notebook and export do the same" in str(report)


def test_a_difference_fails_and_names_the_event():
    report = compared(side(ran(DONE)), side(ran(DONE)), side(ran(FAILED)))
    assert not report.ok
    assert report.findings[0].details[:3] == (
        "#7 demo.asked",
        '  - w.h publishes demo.answered {"n": 1}',
        "  + w.h raises KeyError: 'n'",
    )


def test_what_is_done_twice_is_not_the_same_as_once():
    assert not compared(side(ran(DONE)), side(ran(DONE)), side(ran(DONE, DONE))).ok


def test_an_event_that_differs_in_each_run_is_not_compared_by_value():
    report = compared(side(ran(DONE)), side(ran(DONE, DONE)), side(ran(DONE, DONE, DONE)))
    assert report.ok
    assert "nothing could be compared by value" in str(report)


def test_what_varies_hides_neither_an_error_of_the_export_nor_that_it_does_nothing():
    twice = side(ran(DONE)), side(ran(DONE, DONE))
    assert "+ w.h raises KeyError: 'n'" in str(compared(*twice, side(ran(FAILED))))
    assert "- w.h publishes demo.answered" in str(compared(*twice, side(ran())))


def test_random_ids_hide_nothing_beside_them():
    first = side(ran(("publishes k", {"id": "a1", "n": 1}), ("publishes k", {"id": "b2", "n": 2})))
    second = side(ran(("publishes k", {"id": "d4", "n": 1}), ("publishes k", {"id": "c3", "n": 2})))
    export = side(ran(*[("publishes k", {"id": "x", "n": 700})] * 2))
    assert not compared(first, second, export).ok
    assert compared(first, second, first).ok


def test_the_order_within_one_task_counts_and_that_of_two_tasks_does_not():
    one, other = ("publishes a", {}), ("publishes b", {})
    for lanes, ok in (([0, 0], False), ([0, 1], True)):
        here = side(ran(one, other, lanes=lanes))
        assert compared(here, here, side(ran(other, one))).ok is ok


def test_an_order_that_changes_in_the_notebook_is_no_order():
    one, other = ("publishes a", {}), ("publishes b", {})
    assert compared(side(ran(one, other)), side(ran(other, one)), side(ran(other, one))).ok


def test_runs_of_two_handlers_may_come_in_any_order():
    one, other = ran(DONE, who="w.one"), ran(DONE, who="w.two")
    assert compared(side(one, other), side(one, other), side(other, one)).ok


def test_what_says_nothing_of_who_did_it_is_taken_for_whoever_did_it_here():
    here = side(ran(DONE, ("asks triage", {"message": "m"})))
    there = side(ran(DONE), ran(("asks triage", {"message": "m"}), who=""))
    assert compared(here, here, there).ok
    assert not compared(here, here, side(ran(DONE), ran(("asks triage", {"message": "x"}), who=""))).ok


def test_tasks_are_compared_as_far_as_both_came():
    tick = [("publishes tick", {"n": n}) for n in range(9)]
    here = side(ran(*tick[:2], root="task", event=-1))
    assert compared(here, here, side(ran(*tick, root="task", event=-1))).ok
    assert not compared(here, here, side(ran(*tick[1:], root="task", event=-1))).ok
    assert not compared(here, here, side()).ok


def test_lists_in_another_order_are_known_as_such():
    def with_list(*items):
        return side(ran(("publishes b", {"v": [*items]})))

    assert judge([with_list("a", "b")], [with_list("b", "a")]).is_reordered
    assert not judge([with_list("a", "b")], [with_list("b", "c")]).is_reordered


def test_failures_of_both_sides_are_said_first():
    report = compared(*[side(ran(FAILED), ran(DONE, who="w.other"))] * 3)
    assert not report.ok
    assert "fails in the notebook and in the export alike" in report.findings[0].text
    assert report.findings[0].details[:2] == (
        "#7 demo.asked: w.h raises KeyError: 'n', in the notebook",
        "    and KeyError: 'n', in the export",
    )


def test_a_stand_in_is_named():
    here = side(ran(DONE), answers=[Answer("triage", "m", 0, stand_in=True)])
    assert "a stand-in answered for triage" in str(compared(here, here, here))


def test_without_a_notebook_only_errors_fail():
    report = CheckReport("demo")
    export = CheckRun([ran(DONE), ran(FAILED, event=1), ran(FAILED, root="schedule", event=-1)])
    note_failures(report, [EVENT, EVENT], export)
    assert report.findings[0].details == (
        "#7 demo.asked: w.h raises KeyError: 'n'",
        "w.h raises KeyError: 'n', as schedule",
    )


WORKER = {
    "state": "running",
    "up": True,
    "error": None,
    "topology": "uv",
    "output": [],
    "handlers": [["on_event", "demo.a", "h"]],
}


@pytest.mark.parametrize(("exact", "ok"), [(True, False), (False, True)])
def test_a_trigger_that_cells_do_not_spell_out_is_taken_from_the_running_worker(exact, ok):
    report = CheckReport("demo")
    note_worker(report, "w", WORKER, [HandlerKey("on_event", "KIND", "h")], exact=exact)
    assert report.ok is ok


def test_a_worker_that_comes_up_in_the_export_alone_is_no_success():
    report = CheckReport("demo")
    here = WorkerStart("error", "OSError: address already in use")
    note_worker(report, "w", WORKER, [HandlerKey("on_event", "demo.a", "h")], exact=True, here=here)
    assert not report.ok
    assert "the export comes up; in the notebook, started once more, it does not" in str(report)
    assert "%worker stop NAME" in str(report)
