"""Text for a terminal, and the word that was meant."""

from __future__ import annotations

import pytest

from dnworker.cli.text import NearParser, printable


def test_control_characters_are_shown_and_do_nothing():
    assert printable("a\x1b[31mb\r\nc\td") == "a\\x1b[31mb\\x0d\nc\\x09d"


def parser():
    made = NearParser(prog="demo")
    commands = made.add_subparsers(metavar="COMMAND")
    commands.add_parser("restart").add_argument("--force", action="store_true")
    return made


@pytest.mark.parametrize(
    ("words", "hint"),
    [(["restrat"], "did you mean restart?"), (["restart", "--farce"], "did you mean --force?")],
    ids=["command", "option"],
)
def test_a_mistake_names_the_word_that_was_meant(words, hint, capsys):
    with pytest.raises(SystemExit) as ended:
        parser().parse_args(words)
    assert ended.value.code == 2
    assert hint in capsys.readouterr().err


def test_a_mistake_that_is_near_to_nothing_gets_no_hint(capsys):
    with pytest.raises(SystemExit):
        parser().parse_args(["x"])
    assert "did you mean" not in capsys.readouterr().err


@pytest.mark.parametrize("several", ["*", "+"])
@pytest.mark.parametrize(
    "words",
    [
        ["k", "a=1", "b=2", "--url", "u"],
        ["k", "--url", "u", "a=1", "b=2"],
        ["k", "a=1", "--url", "u", "b=2"],
        ["--url", "u", "k", "a=1", "b=2"],
    ],
)
def test_words_behind_an_option_are_taken_as_those_before_it(words, several):
    made = NearParser(prog="demo")
    made.add_argument("kind")
    made.add_argument("field", nargs=several)
    made.add_argument("--url")
    found = made.parse_args(words)
    assert (found.kind, found.field, found.url) == ("k", ["a=1", "b=2"], "u")
    assert found.given == {"kind": "k", "field": ["a=1", "b=2"], "url": "u"}


def test_a_word_too_much_is_refused(capsys):
    made = NearParser(prog="demo")
    made.add_argument("kind")
    made.add_argument("--url")
    with pytest.raises(SystemExit):
        made.parse_args(["k", "--url", "u", "k2"])
    assert "unrecognized arguments: k2" in capsys.readouterr().err
