"""Listeners are called in order, may come and go while they are called, and can be counted."""

from __future__ import annotations

from dnworker.core.listeners import Listeners


def test_all_are_called_in_the_order_in_which_they_were_added():
    said = []
    listeners: Listeners[[int]] = Listeners()
    listeners.add(lambda n: said.append(("first", n)))
    listeners.add(lambda n: said.append(("second", n)))
    listeners.notify(7)
    assert said == [("first", 7), ("second", 7)]


def test_what_add_returned_ends_it_and_may_be_called_again():
    said = []
    listeners: Listeners[[]] = Listeners()
    end = listeners.add(lambda: said.append(1))
    end()
    end()
    listeners.notify()
    assert (said, len(listeners)) == ([], 0)


def test_one_that_ends_itself_does_not_keep_the_next_from_being_called():
    said = []
    listeners: Listeners[[]] = Listeners()
    end = listeners.add(lambda: end())
    listeners.add(lambda: said.append("next"))
    listeners.notify()
    assert said == ["next"]


def test_one_that_was_added_twice_is_ended_once_by_each():
    said = []
    listeners: Listeners[[]] = Listeners()

    def listener():
        said.append(1)

    first, second = listeners.add(listener), listeners.add(listener)
    first()
    first()
    listeners.notify()
    assert said == [1]
    second()
    listeners.notify()
    assert said == [1]
