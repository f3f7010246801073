"""Listeners are called in order, until they are removed."""

from __future__ import annotations

from dnworker.core.listeners import Listeners


def test_listeners_are_called_in_the_order_in_which_they_were_added():
    listeners, calls = Listeners(), []
    listeners.add(lambda n: calls.append(("a", n)))
    listeners.add(lambda n: calls.append(("b", n)))
    listeners.notify(1)
    assert calls == [("a", 1), ("b", 1)]


def test_a_removed_listener_is_called_no_more_and_may_be_removed_twice():
    listeners, calls = Listeners(), []
    remove = listeners.add(calls.append)
    assert listeners
    remove()
    remove()
    listeners.notify(1)
    assert (bool(listeners), calls) == (False, [])


def test_a_listener_that_removes_itself_does_not_keep_the_next_from_being_called():
    listeners, calls = Listeners(), []
    remove = listeners.add(lambda: (calls.append("a"), remove()))
    listeners.add(lambda: calls.append("b"))
    listeners.notify()
    listeners.notify()
    assert calls == ["a", "b", "b"]
