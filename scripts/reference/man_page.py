"""The manual page `man/dnworker.1`, from the parser of the command line and its notes."""

from __future__ import annotations

import argparse
import re
from collections.abc import Iterator
from pathlib import Path

from dnworker.cli.main import make_parser

from .command_line import commands_of, usage
from .command_notes import NOTES
from .markdown import names, sentence

FILE = Path(__file__).parents[2] / "man" / "dnworker.1"

LINKS = "https://dnworker.github.io/dnworker/"

FILES = {
    "~/.dreadnode/dnworker": "The list of runtimes that run here, tokens that they made, logs of workers and journals of notebooks.",
    "capability.yaml": "The manifest of a capability, in its directory.",
}

EXITS = {
    "0": "It is done.",
    "1": "It failed; standard error says why, in one line.",
    "2": "Wrong use of the command line.",
    "130": "It was interrupted by Ctrl-C.",
}

VARIABLES = {
    "DREADNODE_RUNTIME_URL": "The runtime that commands talk to, if it is not the one that runs here.",
    "DREADNODE_RUNTIME_TOKEN_FILE": "The file with its bearer token.",
    "DREADNODE_RUNTIME_TOKEN": "The token itself.",
    "NO_COLOR": "Output has no colours.",
    "FORCE_COLOR": "Tables and traces have colours where they are piped, too.",
    "COLUMNS": "How wide the terminal is, where it does not say so itself, or is to be taken as narrower.",
}


def man_page() -> str:
    """Return the page, in the macros of man(7)."""
    parser = make_parser()
    commands = commands_of(parser)
    lines = [
        '.\\" Generated from the parser of dnworker.cli by `python -m scripts.reference`; change that, not this page.',
        '.TH DNWORKER 1 "" dnworker "User Commands"',
        ".SH NAME",
        "dnworker \\- " + _text(_plain(parser.description or "").rstrip(".")),
        ".SH SYNOPSIS",
        ".B dnworker",
        ".I COMMAND",
        "[\\fIOPTIONS\\fR]",
        ".br",
        ".B dnworker \\-\\-version",
        ".SH DESCRIPTION",
        "Workers are Python functions that run for long: on events, on schedules, or all the time. A capability is a "
        "directory that declares workers, agents and skills. dnworker runs and checks capabilities, and makes them "
        "of notebooks.",
        ".PP",
        "Every command takes \\fB\\-\\-json\\fR: standard output is JSON alone then, one value a line.",
        ".PP",
        "A message ends in a code, such as (DN104); \\fBdnworker explain DN104\\fR says what it means.",
        ".SH COMMANDS",
    ]
    for name in NOTES:
        lines += _command(name, *commands[name])
    lines += [".SH EXIT STATUS", *_terms(EXITS)]
    lines += [".SH ENVIRONMENT", *_terms(VARIABLES)]
    lines += [".SH FILES", *_terms(FILES)]
    lines += [".SH SEE ALSO", _text(f"{LINKS} has tutorials and a reference.")]
    return "\n".join(lines) + "\n"


def _terms(about: dict[str, str]) -> Iterator[str]:
    for term, text in about.items():
        yield from (".TP", f"\\fB{_text(term)}\\fR", _text(text))


def _command(name: str, purpose: str, parser: argparse.ArgumentParser) -> Iterator[str]:
    actions = [
        one for one in parser._actions if one.dest not in ("help", "json") and one.help != argparse.SUPPRESS
    ]
    given = [one for one in actions if not one.option_strings]
    options = [one for one in actions if one.option_strings]
    yield f".SS {_text(usage(name, given, options))}"
    yield _sentence(purpose)
    for action in [*given, *options]:
        text = _help(action)
        yield from (".TP", f"\\fB{_text(names(action))}\\fR")
        yield _sentence(text) if text else "\\&"
    if NOTES[name].exit_codes:
        yield from (".PP", _text(f"Exit status: {_plain(NOTES[name].exit_codes)}"))


def _help(action: argparse.Action) -> str:
    if action.help is None:
        return ""
    return action.help % {**vars(action), "prog": ""} if "%" in action.help else action.help


def _sentence(text: str) -> str:
    return _text(sentence(_plain(text)))


def _plain(markdown: str) -> str:
    """Return text without the marks of Markdown, in one line."""
    text = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", " ".join(markdown.split()))
    return text.replace("`", "")


def _text(text: str) -> str:
    """Return text that no macro and no escape of roff is made of."""
    text = text.replace("\\", "\\e").replace("-", "\\-").replace("'", "\\(aq")
    text = text.encode("ascii", "namereplace").decode() if not text.isascii() else text
    return f"\\&{text}" if text.startswith((".", "'")) else text
