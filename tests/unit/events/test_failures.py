"""The newest exceptions are kept where somebody asks for them, and nowhere else."""

from __future__ import annotations

from dnworker.core.invocation import Invocation
from dnworker.events.history import History


def failed(history: History, text: str) -> Invocation:
    invocation = Invocation("cap:bridge", "on_turn", "event")
    history.begin(invocation)
    history.end(invocation, ValueError(text))
    return invocation


def test_nothing_is_kept_unless_somebody_asks():
    history = History()
    assert history.failures.exception_of(failed(history, "no")) is None


def test_the_newest_exceptions_are_kept():
    history = History()
    history.failures.keep(2)
    first, second, third = (failed(history, text) for text in ("1", "2", "3"))
    assert history.failures.exception_of(first) is None
    assert str(history.failures.exception_of(second)) == "2"
    assert [invocation for invocation, _ in history.failures.newest()] == [third, second]


def test_what_is_kept_can_be_let_go():
    history = History()
    history.failures.keep(2)
    invocation = failed(history, "1")
    history.failures.forget()
    assert history.failures.exception_of(invocation) is None


def test_what_is_named_can_be_let_go_alone_and_each_failure_is_told():
    history = History()
    history.failures.keep(3)
    told = []
    history.failures.noted.add(told.append)
    first, second = failed(history, "1"), failed(history, "2")
    assert [failure.invocation for failure in told] == [first, second]
    gone = history.failures.forget(lambda failure: failure.invocation is first)
    assert [failure.invocation for failure in gone] == [first]
    assert [failure.invocation for failure in history.failures.entries()] == [second]
    assert len(history.failures) == 1


def test_who_is_told_of_a_failure_and_raises_does_not_keep_the_run_from_ending():
    history = History()

    def raising(failure):
        raise SystemExit

    history.failures.noted.add(raising)
    assert failed(history, "1").outcome == "error"
    assert history.is_idle()
