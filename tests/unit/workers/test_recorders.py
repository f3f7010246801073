"""The recorder of workers that run by themselves logs what fails."""

from __future__ import annotations

import logging

from dnworker.core.invocation import Invocation
from dnworker.workers.recorders import LoggingRecorder


def test_a_failure_is_logged_with_its_handler(caplog):
    invocation = Invocation("cap:w", "on_a", "event")
    with caplog.at_level(logging.ERROR, "dnworker.runner"):
        LoggingRecorder().end(invocation, ValueError("no door"))
    assert "on_a (event) failed:" in caplog.text
    assert "ValueError: no door" in caplog.text
    assert invocation.outcome == "error"


def test_what_ends_well_or_is_cancelled_is_not_logged(caplog):
    recorder = LoggingRecorder()
    well, cancelled = (Invocation("cap:w", "on_a", "event") for _ in range(2))
    recorder.end(well)
    recorder.end(cancelled, cancelled=True)
    assert (well.outcome, cancelled.outcome, caplog.text) == ("ok", "cancelled", "")
