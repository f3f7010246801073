"""Pieces of Markdown that several generated pages have."""

from __future__ import annotations

import argparse
import re
from collections.abc import Iterable
from typing import Any

_AS_CODE = re.compile(
    r"(?<![\w`/-])(--[a-z][a-z-]+|[a-z]+://[^\s,;)]*[^\s,;).]|[A-Z]+_[A-Z_]+|%[a-z]+)(?![\w`])"
)
"""What is set as code within a sentence: options, addresses, variables, magics."""


def page(source: str, title: str, *parts: str) -> str:
    """Return a page: the comment that says what it is made of, its title, its parts with empty lines between."""
    head = f"<!-- Generated from {source} by `python -m scripts.reference`; change that, not this page. -->"
    return "\n\n".join([head, f"# {title}", *(part.strip("\n") for part in parts if part.strip())]) + "\n"


def fence(language: str, code: str) -> str:
    """Return a code block."""
    return f"```{language}\n{code.rstrip()}\n```"


def items(lines: Iterable[str]) -> str:
    """Return a list."""
    return "\n".join(f"- {line}" for line in lines)


def sentence(text: str) -> str:
    """Return a text that begins with a capital letter, unless that is code, and ends with a stop."""
    text = text.strip()
    if not text:
        return ""
    begins_with_name = any(not c.islower() for c in text.split()[0].rstrip(",;:"))
    head = text if begins_with_name else text[0].upper() + text[1:]
    return head if head.endswith((".", "?", "!")) else f"{head}."


def argument(action: argparse.Action) -> str:
    """Return one argument or option of a parser as an entry of a list."""
    return f"`{names(action)}`: {' '.join(filter(None, [_help(action), _choices(action), _default(action)]))}"


def names(action: argparse.Action) -> str:
    """Return how an argument is written, such as `-o FILE, --output FILE`."""
    if not action.option_strings:
        return _metavar(action)
    value = "" if action.nargs == 0 else f" {_value(action)}"
    return ", ".join(f"{option}{value}" for option in action.option_strings)


def _value(action: argparse.Action) -> str:
    return f"[{_metavar(action)}]" if action.nargs == "?" else _metavar(action)


def _metavar(action: argparse.Action) -> str:
    if isinstance(action.metavar, str):
        return action.metavar
    if action.choices is not None:
        return "|".join(str(choice) for choice in action.choices)
    return action.dest.upper() if action.option_strings else action.dest


def _help(action: argparse.Action) -> str:
    if action.help is None:
        return ""
    values: dict[str, Any] = {**vars(action), "prog": ""}
    return _AS_CODE.sub(r"`\1`", sentence(action.help % values if "%" in action.help else action.help))


def _choices(action: argparse.Action) -> str:
    if action.choices is None or action.metavar is None:
        return ""
    return f"One of {', '.join(f'`{choice}`' for choice in action.choices)}."


def _default(action: argparse.Action) -> str:
    is_said = "default" in (action.help or "")
    if action.default in (None, False, [], "", argparse.SUPPRESS) or is_said or not action.option_strings:
        is_new = isinstance(action, argparse._AppendAction) and "repeated" not in (action.help or "")
        return "May be repeated." if is_new else ""
    return f"Default: `{action.default}`."
