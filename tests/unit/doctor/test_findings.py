"""What is found is said in one line without secrets, and no check holds up the others."""

from __future__ import annotations

import threading

import pytest

from dnworker.doctor.findings import examine, ok, problem, shown, warning


def test_a_check_that_hangs_is_said_and_the_others_are_there():
    hangs = threading.Event()

    def slow():
        hangs.wait(30)
        yield ok("slow", "done")

    try:
        found = examine({"slow": slow, "fast": lambda: [ok("fast", "done")]}, within=1)
    finally:
        hangs.set()
    assert [(one.subject, one.mark) for one in found] == [("slow", "warning"), ("fast", "ok")]
    assert "no answer within 1 s" in found[0].text


def test_a_check_that_fails_is_said_with_what_it_raised():
    def broken():
        raise KeyError("x")

    (found,) = examine({"broken": broken}, within=5)
    assert (found.mark, found.text) == ("warning", "could not be looked at: KeyError: 'x'")


def test_a_check_may_find_nothing_to_say():
    assert examine({"quiet": lambda: []}, within=5) == []


def test_a_finding_is_one_line_with_its_mark_first_and_its_way_out_last():
    assert str(ok("disk", "much room")) == "OK       disk: much room"
    assert str(warning("disk", "little\nroom", "make room")) == "warning  disk: little room; make room"
    assert str(problem("disk", "full", "make room")) == "problem  disk: full; make room"


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("a /home/ada/x b", "a ~/x b"),
        ("/home/ada", "~"),
        ("chmod 600 /home/ada/t; then", "chmod 600 ~/t; then"),
        ("/home/adam/x", "/home/adam/x"),
        ("/mnt/home/ada/x", "/mnt/home/ada/x"),
        ("nats://ada:secret@h:4222", "nats://***@h:4222"),
        ("http://secret@h, https://a:b@c", "http://***@h, https://***@c"),
    ],
)
def test_homes_are_shortened_and_passwords_left_out(text, told, monkeypatch):
    monkeypatch.setenv("HOME", "/home/ada")
    assert shown(text) == told


def test_a_home_that_is_the_root_shortens_nothing(monkeypatch):
    monkeypatch.setenv("HOME", "/")
    assert shown("/etc/x") == "/etc/x"
