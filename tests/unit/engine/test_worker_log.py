"""Lines of workers: how they are tagged, and where those of a muted invocation go."""

from __future__ import annotations

import pytest

from dnworker.core.handler_error import describe
from dnworker.core.invocation import Invocation, current_invocation
from dnworker.core.logs import LogBook
from dnworker.engine.worker_log import WorkerLog
from dnworker.testing import make_envelope


@pytest.fixture
def book():
    return LogBook()


def test_a_line_outside_of_handlers_has_no_tags(book):
    WorkerLog(book).add("cap:w", "hello")
    (line,) = book.tail()
    assert (line.worker, line.text, line.source) == ("cap:w", "hello", "stdout")
    assert (line.invocation_id, line.event_id) == (None, None)


def test_a_line_is_tagged_with_the_invocation_that_runs_here_and_its_event(book):
    event = make_envelope("a")
    invocation = Invocation("cap:w", "on_a", "event", event)
    token = current_invocation.set(invocation)
    try:
        WorkerLog(book).add("cap:w", "hello")
    finally:
        current_invocation.reset(token)
    (line,) = book.tail()
    assert (line.invocation_id, line.event_id) == (invocation.id, event.event_id)
    assert [one.text for one in invocation.logs] == ["hello"]


def test_a_line_of_a_muted_invocation_stays_with_it(book):
    invocation = Invocation("cap:w", "on_a", "event", muted=True)
    WorkerLog(book).add("cap:w", "hello", invocation=invocation)
    assert (book.tail(), [one.text for one in invocation.logs]) == ([], ["hello"])


def test_a_failure_is_an_error_below_the_handlers_name(book):
    invocation = Invocation("cap:w", "on_a", "event")
    invocation.end("error", describe(ValueError("no door")))
    WorkerLog(book).add_failure(invocation)
    title, *lines = book.tail()
    assert title.text == "on_a failed (event):"
    assert lines[-1].text.endswith("ValueError: no door")
    assert {line.level for line in (title, *lines)} == {"error"}


def test_a_failure_names_the_event_by_its_number_and_its_kind(book):
    invocation = Invocation("cap:w", "on_a", "event", make_envelope("shop.sold", seq=59))
    invocation.end("error", describe(ValueError("no door")))
    WorkerLog(book).add_failure(invocation)
    assert book.tail()[0].text == "on_a failed (event #59 shop.sold):"


def test_what_did_not_fail_adds_nothing(book):
    WorkerLog(book).add_failure(Invocation("cap:w", "on_a", "event"))
    assert book.tail() == []
