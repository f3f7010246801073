"""The report of a check, as text and as JSON."""

from __future__ import annotations

from dnworker_jupyter.export.check.report import CheckFailed, CheckReport


def report() -> CheckReport:
    made = CheckReport("demo")
    made.note(True, "manifest: 1 worker")
    made.note(False, "w is error", ["KeyError: 'n'"])
    return made


def test_a_report_lists_its_findings_and_counts_those_that_failed():
    assert str(report()).splitlines() == [
        "check of demo: 1 of 2 failed",
        "  + manifest: 1 worker",
        "  x w is error",
        "      KeyError: 'n'",
    ]


def test_a_failed_check_is_an_error_with_its_findings():
    assert CheckFailed(report()).as_json() == {
        "error": "the check of demo failed; nothing was written",
        "ok": False,
        "capability": "demo",
        "findings": [
            {"ok": True, "text": "manifest: 1 worker", "details": []},
            {"ok": False, "text": "w is error", "details": ["KeyError: 'n'"]},
        ],
    }
