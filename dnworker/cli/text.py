"""Text for a terminal, and a parser that suggests the nearest word; used by all commands."""

from __future__ import annotations

import argparse
import json
import logging
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NoReturn

from dnworker.core.errors import DnworkerError, with_code
from dnworker.core.text import closest


def printable(text: str) -> str:
    """Return text that cannot control the terminal: control characters but line breaks are escaped."""
    return "".join(c if c.isprintable() or c == "\n" else f"\\x{ord(c):02x}" for c in text)


class ErrorCodes(logging.Filter):
    """Lets what is logged of an error of ours end in its code, where people read the log."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Replace the errors among the values of a record by their texts with codes; every record passes."""
        if isinstance(record.args, tuple):
            record.args = tuple(
                with_code(value) if isinstance(value, DnworkerError) else value for value in record.args
            )
        return True


_write_json: Callable[[str], object] | None = None
"""Writes the lines of `print_json`; None for standard output."""


def print_json(value: object) -> None:
    """Print a value as one line of JSON, where `--json` wants it."""
    line = json.dumps(value)
    if _write_json is None:
        print(line, flush=True)
    else:
        _write_json(line)


@contextmanager
def json_goes_to(write: Callable[[str], object]) -> Iterator[None]:
    """Have `print_json` hand its lines to `write` while the block runs."""
    global _write_json
    before, _write_json = _write_json, write
    try:
        yield
    finally:
        _write_json = before


class _Unset:
    """Stands for what a command line does not say."""


def _unset(action: argparse.Action) -> _Unset | None:
    """Return what stands for an option until it is parsed; None where an action adds to what is there."""
    return None if action.default is None or isinstance(action.default, list) else _Unset()


LONGEST_USAGE = 6
"""Lines of usage that are printed above what is wrong with a command line."""


class NearParser(argparse.ArgumentParser):
    """A parser that names the nearest known word with a mistake; its subcommands do so, too."""

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        """Parse, and refuse what is not known here, where the known options and the usage are at hand.

        What was parsed has `given`: by `dest`, what the command line says itself, without defaults.
        """
        namespace = argparse.Namespace() if namespace is None else namespace
        own = {action.dest: action for action in self._actions if action.dest != argparse.SUPPRESS}
        own = {name: action for name, action in own.items() if action.default != argparse.SUPPRESS}
        unset = {name: _unset(action) for name, action in own.items() if not hasattr(namespace, name)}
        for name, value in unset.items():
            setattr(namespace, name, value)
        found, rest = super().parse_known_args(args, namespace)
        rest = self._take_later(found, rest)
        given = {}
        for name, sign in unset.items():
            value, action = getattr(found, name), own[name]
            if value is sign or (value == [] and not action.option_strings):
                is_text = isinstance(action.default, str)
                default = self._get_value(action, action.default) if is_text else action.default
                setattr(found, name, [] if default is None and value == [] else default)
            else:
                given[name] = value
        if not hasattr(found, "given"):  # a subcommand has its own
            found.given = given
        if rest:
            self.error(f"unrecognized arguments: {' '.join(rest)}")
        return found, rest

    def _take_later(self, found: argparse.Namespace, rest: list[str]) -> list[str]:
        """Give words behind an option to the last argument, where it takes several; returns the others.

        argparse gives it those before the option only, and refuses `fire KIND --url URL KEY=VALUE`.
        """
        several = [one for one in self._actions if not one.option_strings][-1:]
        if not rest or any(word.startswith("-") for word in rest) or not several:
            return rest
        (action,) = several
        if action.nargs not in ("*", "+"):
            return rest
        before, later = getattr(found, action.dest), self._get_values(action, rest)
        setattr(found, action.dest, [*(before if isinstance(before, list) else []), *later])
        return []

    def error(self, message: str) -> NoReturn:
        """Print the message on stderr and end the process with code 2."""
        choice = re.search(r"invalid choice: '([^']*)' \(choose from (.*)\)", message)
        if choice is not None:
            message += _near(choice[1], re.findall(r"[\w-]+", choice[2]))
        elif message.startswith("unrecognized arguments: "):
            word = next((w for w in message.split()[2:] if w.startswith("-")), "")
            known = [option for action in self._actions for option in action.option_strings]
            message += _near(word.partition("=")[0], known)
        usage = self.format_usage()
        if usage.count("\n") > LONGEST_USAGE:  # nobody finds the message below it
            usage = f"`{self.prog} --help` lists the options\n"
        self.exit(2, f"{usage}{self.prog}: {message} (DN901)\n")


MEANT = {
    "help": "--help",
    "version": "--version",
    "start": "serve",
    "run": "serve",
    "list": "ps",
    "log": "logs",
    "status": "ps",
    "publish": "fire",
    "emit": "fire",
    "send": "fire",
    "check": "validate",
    "lint": "validate",
    "diagnose": "doctor",
    "jupyter": "lab",
    "new": "init",
}
"""Words of other command lines for what is called otherwise here."""


def _near(word: str, known: list[str]) -> str:
    meant = MEANT.get(word)
    near = meant if meant in known or (meant or "").startswith("--") else closest(word, known)
    return f"; did you mean {near}?" if near else ""
