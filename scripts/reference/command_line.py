"""The page of the command line, from its parser."""

from __future__ import annotations

import argparse
import re

from dnworker.cli.main import make_parser

from .command_notes import NOTES, SETUP, Note
from .markdown import argument, fence, items, names, page, sentence

ABOUT = """
`dnworker COMMAND` runs, checks, controls and exports workers. `dnworker COMMAND --help` says the same as this page.

Commands that talk to a runtime find the one that runs on this machine; `--url` and `--token-file` name another.

Every command takes `--json`: standard output is JSON alone then, one value a line. A command that fails prints `{"ok": false, "error": ...}`.

At a terminal, tables have colours and fit its width: a narrow one lacks some columns. Piped, they are plain text. `NO_COLOR`, `FORCE_COLOR` and `COLUMNS` count.

Exit codes of all commands: 0 done, 1 failed, 2 wrong use, 130 interrupted.
"""


def command_line() -> str:
    """Return the page."""
    commands = commands_of(make_parser())
    if commands.keys() != NOTES.keys():
        raise ValueError(
            f"command_notes has not the commands that there are: {commands.keys() ^ NOTES.keys()}"
        )
    sections = [_section(name, *commands[name], NOTES[name]) for name in NOTES]
    return page("the parser of `dnworker.cli`", "Command line", ABOUT, SETUP, *sections)


def commands_of(parser: argparse.ArgumentParser) -> dict[str, tuple[str, argparse.ArgumentParser]]:
    """Return each command's purpose and parser."""
    below = next(one for one in parser._actions if isinstance(one, argparse._SubParsersAction))
    purposes = {one.dest: one.help or "" for one in below._choices_actions}
    return {name: (purposes.get(name, ""), one) for name, one in below.choices.items()}


def _section(name: str, purpose: str, parser: argparse.ArgumentParser, note: Note) -> str:
    actions = [one for one in parser._actions if one.dest not in ("help", "json")]
    given = [one for one in actions if not one.option_strings]
    options = [one for one in actions if one.option_strings]
    parts = [f"## dnworker {name}", sentence(purpose), fence("", usage(name, given, options))]
    parts += [items(argument(one) for one in [*given, *options])] if actions else []
    if note.exit_codes:
        parts.append(f"Exit codes: {note.exit_codes}")
    return "\n\n".join([*parts, note.example.strip()])


def usage(name: str, given: list[argparse.Action], options: list[argparse.Action]) -> str:
    """Return how a command is written, in one line."""
    required = [names(one).partition(",")[0] for one in options if one.required]
    words = [_word(one) for one in given]
    return " ".join(["dnworker", name, *words, *required, *(["[options]"] if options else [])])


def _word(action: argparse.Action) -> str:
    text = re.sub(r"^(\w+)$", lambda found: found[1].upper(), names(action))
    if action.choices is not None:
        return text
    return {"+": f"{text}...", "*": f"[{text}...]", "?": f"[{text}]"}.get(str(action.nargs), text)
