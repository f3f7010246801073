"""`Setting`: an option of a parser as a key of a file and a variable; its value of a text or of TOML."""

from __future__ import annotations

import argparse
import datetime
import math
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Literal

import msgspec

from dnworker.capability.reading import shown

Shape = Literal["flag", "one", "list", "table"]
"""True or false; one value; several; several of the form `NAME=VALUE`."""

NO_KEYS = {
    "help": "it is for the command line alone",
    "json": "it says how one command answers; give --json on the command line",
    "config": "a file names no other; give --config or DNWORKER_CONFIG",
}
"""Options that are no settings, and why."""

RENAMED = {"path": "capabilities"}
"""What an argument without `--` is called, by its name in the parser."""

TAKEN = frozenset(
    (
        *("JOURNAL", "MODEL", "REPORTS", "LOCALS", "OBSERVE", "OUTPUT", "RUN", "RUN_SCHEDULES"),
        *("KEEP_STATE", "FENCE", "MEMBER", "DEBUG", "CONFIG"),
    )
)
"""Variables `DNWORKER_...` that mean something else, of the notebook and of worker processes."""

_WORDS = {
    "true": True,
    "1": True,
    "yes": True,
    "on": True,
    "false": False,
    "0": False,
    "no": False,
    "off": False,
}
_LONGEST = 80


class Setting(msgspec.Struct, frozen=True):
    """One option.

    Attributes: `key`, of a file; `dest`, of the parsed options; `option`, as it is written on a command line;
    `variable`, of the environment; `shape`; `type`, what makes a value of a text; `choices`; `default`;
    `const`, what the option means without its value, where it may stand so; `metavar`; `help`.
    """

    key: str
    dest: str
    option: str
    variable: str
    shape: Shape
    type: Callable[[str], Any]
    choices: tuple[Any, ...]
    default: Any
    const: Any
    metavar: str
    help: str

    @property
    def is_path(self) -> bool:
        """Whether its values are paths."""
        return self.type is Path

    def of_text(self, text: str) -> Any:
        """Return the value that a variable's text stands for.

        Raises:
            ValueError: it stands for none; the message says what is wanted.
        """
        word = _WORDS.get(text.strip().lower())
        if self.shape == "flag":
            if word is None:
                raise ValueError(
                    f"{_quoted(text)} is neither true nor false; write one of {', '.join(_WORDS)}"
                )
            return word
        if self.shape == "one":
            return self._optional(word) if self.const is not None and word is not None else self._made(text)
        parts = text.split(os.pathsep) if self.is_path else text.split()
        return [self._made(part) for part in parts if part]

    def of_toml(self, value: Any, directory: Path) -> Any:
        """Return the value that a value of a file stands for; paths are relative to `directory`.

        Raises:
            ValueError: it is of another type, or stands for none; the message says what is wanted.
        """
        if self.shape == "flag":
            if not isinstance(value, bool):
                raise ValueError(f"it is {kind_of(value)}, and true or false is wanted")
            return value
        if self.shape == "one":
            if isinstance(value, bool) and self.const is not None:
                return self._optional(value)
            return self._of_scalar(value, directory)
        if self.shape == "table" and isinstance(value, dict):
            return [f"{name}={text}" for name, text in _pairs(value)]
        if not isinstance(value, list):
            table = " or a table" if self.shape == "table" else ""
            more = f', such as ["{shown(value, 40)}"]' if isinstance(value, str) else ""
            raise ValueError(f"it is {kind_of(value)}, and a list{table} is wanted{more}")
        return [self._of_scalar(one, directory) for one in value]

    def _optional(self, is_on: bool) -> Any:
        return self.const if is_on else self.default

    def _of_scalar(self, value: Any, directory: Path) -> Any:
        wanted = "a whole number" if self.type is int else "a number" if self.type is float else "text"
        is_number = isinstance(value, int | float) and not isinstance(value, bool)
        fits = {
            "a whole number": is_number and isinstance(value, int),
            "a number": is_number,
            "text": isinstance(value, str) or (is_number and not self.is_path),
        }[wanted]
        if not fits:
            choices = f": {self._choices()}" if self.choices else ""
            raise ValueError(f"it is {kind_of(value)}, and {wanted} is wanted{choices}")
        if isinstance(value, float) and not math.isfinite(value):
            raise ValueError(f"{value} is no number to count with")
        made = self._made(_as_text(value))
        return directory / made if self.is_path else made

    def _made(self, text: str) -> Any:
        if "\0" in text:
            raise ValueError("it has a NUL character, which no command line can have")
        try:
            made = self.type(text)
        except (TypeError, ValueError, argparse.ArgumentTypeError) as exc:
            why = f": {exc}" if isinstance(exc, argparse.ArgumentTypeError) else ""
            wanted = {int: "; a whole number is wanted", float: "; a number is wanted"}.get(self.type, "")  # type: ignore[call-overload]
            raise ValueError(f"{_quoted(text)} is no value of {self.option}{wanted}{why}") from exc
        if isinstance(made, float) and not math.isfinite(made):
            raise ValueError(f"{made} is no number to count with")
        if self.choices and made not in self.choices:
            raise ValueError(f"{_quoted(text)} is none of {self._choices()}")
        return made

    def _choices(self) -> str:
        return ", ".join(str(one) for one in self.choices)


def settings_of(parser: argparse.ArgumentParser) -> dict[str, Setting]:
    """Return the settings of a parser by key, in its order."""
    found = [_setting(action) for action in parser._actions if action.dest not in NO_KEYS]
    return {setting.key: setting for setting in found}


def variable_of(key: str) -> str:
    """Return the variable of a key: `DNWORKER_` and its capitals; `DNWORKER_SERVE_` where that is taken."""
    word = key.upper().replace("-", "_")
    return f"DNWORKER_SERVE_{word}" if word in TAKEN else f"DNWORKER_{word}"


def kind_of(value: Any) -> str:
    """Return what a value of TOML is, in words."""
    kinds: list[tuple[type | tuple[type, ...], str]] = [
        (bool, "true or false"),
        (str, "text"),
        (int, "a whole number"),
        (float, "a number"),
        (list, "a list"),
        (dict, "a table"),
        ((datetime.date, datetime.time), "a date or time"),
    ]
    return next(words for kind, words in kinds if isinstance(value, kind))


def _setting(action: argparse.Action) -> Setting:
    long = next((one for one in action.option_strings if one.startswith("--")), None)
    key = RENAMED.get(action.dest, action.dest) if long is None else long[2:]
    metavar = action.metavar if isinstance(action.metavar, str) else ""
    is_list = isinstance(action.default, list) or action.nargs in ("*", "+")
    shape: Shape = "flag" if action.nargs == 0 else "one"
    if is_list:
        shape = "table" if "=" in metavar else "list"
    if shape == "flag" and not isinstance(action.default, bool):
        raise TypeError(f"{long}: an option without a value is True or False, or a file cannot say it")
    return Setting(
        key=key,
        dest=action.dest,
        option=long or f"the argument {key.upper()}",
        variable=variable_of(key),
        shape=shape,
        type=action.type if callable(action.type) else str,
        choices=tuple(action.choices or ()),
        default=[] if is_list and action.default is None else action.default,
        const=action.const if shape == "one" else None,
        metavar=metavar,
        help=action.help or "",
    )


def _pairs(table: dict[str, Any], before: str = "") -> Iterator[tuple[str, str]]:
    """Go through the names and texts of a table; a table within it continues a name after a dot."""
    for name, value in table.items():
        whole = f"{before}{name}"
        if isinstance(value, dict):
            if len(whole) > _LONGEST * 10:
                raise ValueError("its tables are nested too deep")
            yield from _pairs(value, f"{whole}.")
        elif not name or "=" in name:
            raise ValueError(f"{_quoted(whole)} is no name; a name has no =")
        else:
            yield whole, _table_text(whole, value)


def _table_text(name: str, value: Any) -> str:
    if isinstance(value, list) and value and all(isinstance(one, str) for one in value):
        return ",".join(value)
    if not isinstance(value, bool | int | float | str) or (
        isinstance(value, float) and not math.isfinite(value)
    ):
        raise ValueError(f"{_quoted(name)} is {kind_of(value)}, and text or a finite number is wanted")
    text = _as_text(value)
    if "\0" in text:
        raise ValueError(f"{_quoted(name)} has a NUL character, which no command line can have")
    return text


def _as_text(value: Any) -> str:
    if isinstance(value, bool):
        return "on" if value else "off"
    return value if isinstance(value, str) else repr(value)


def _quoted(text: str) -> str:
    return f"'{shown(text, _LONGEST)}'"
