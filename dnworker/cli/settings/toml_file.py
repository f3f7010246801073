"""Reads a configuration file: TOML of bounded size, with the line of each key."""

from __future__ import annotations

import re
import stat
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dnworker.capability.reading import UnreadableFile, read_text, shown
from dnworker.core.errors import UsageError

LONGEST_CONFIG = 100_000
"""Bytes of a configuration file."""

LONGEST_STATEMENT = 500
"""Lines of one value; the lines of keys after a longer one are not known."""

DEEPEST = 20
"""Levels of tables within tables."""

_WHERE = re.compile(r" \(at (?:line (\d+), column (\d+)|end of document)\)$")
_TRIES = 5


@dataclass(frozen=True)
class ConfigFile:
    """What a file says: its values by key, and the line on which each key first stands."""

    path: Path
    values: dict[str, Any]
    lines: dict[str, int]

    def place(self, key: str | None = None) -> str:
        """Return where a key stands, such as `serve.toml:12`."""
        line = self.lines.get(key) if key is not None else None
        name = shown(self.path.name, 120)
        return name if line is None else f"{name}:{line}"


def read_config(path: Path) -> ConfigFile:
    """Read a configuration file.

    Raises:
        UsageError: there is none, others may write it, it is too large, or no TOML.
    """
    text = f"{_read(path)}\n"  # so that a mistake on the last line has a line, too
    try:
        values = tomllib.loads(text)
        _refuse_deep(values)
        lines = dict(_lines(text))
    except tomllib.TOMLDecodeError as exc:
        raise _not_toml(path, str(exc)) from None
    except RecursionError:
        raise _not_toml(path, "it is nested too deep") from None
    except ValueError as exc:  # such as an integer of more digits than Python converts
        raise _not_toml(path, str(exc)) from None
    return ConfigFile(path, values, lines)


def _read(path: Path) -> str:
    """Return the text of a file, the same in two readings: it may be written meanwhile."""
    try:
        mode = path.stat().st_mode
        if stat.S_ISREG(mode) and mode & stat.S_IWOTH:
            raise UsageError(
                f"--config {shown(str(path))}: everybody may write it, and it says what is run: "
                f"`chmod o-w {shown(str(path))}` closes it",
                code="DN920",
            )
        before = None
        for _ in range(_TRIES):
            text = read_text(path, LONGEST_CONFIG, encoding="utf-8-sig")
            if text == before:
                return text
            before = text
    except UnreadableFile as exc:
        raise UsageError(f"--config {exc}", code="DN920") from exc
    except OSError as exc:
        raise UsageError(
            f"--config {shown(str(path))}: cannot be read: {exc.strerror or exc}", code="DN920"
        ) from exc
    except ValueError as exc:
        raise UsageError(f"--config {shown(str(path))}: no file has such a name", code="DN920") from exc
    raise UsageError(f"--config {shown(str(path))}: it changes while it is read; try again", code="DN920")


def _not_toml(path: Path, said: str) -> UsageError:
    where = _WHERE.search(said)
    text = said[: where.start()] if where else said
    text = f"{text[:1].lower()}{text[1:]}"
    place = shown(path.name, 120)
    if where and where[1]:
        place = f"{place}:{where[1]}:{where[2]}"
    elif where:
        text = f"{text} at the end"
    if text.startswith(("cannot overwrite", "cannot declare", "cannot mutate", "duplicate")):
        text = f"{text}; each key and each table stands there once"
    return UsageError(f"{place}: this is no TOML: {shown(text)}", code="DN920")


def _refuse_deep(value: Any) -> None:
    level = [value]
    for _ in range(DEEPEST):
        level = [
            part
            for one in level
            if isinstance(one, dict | list)
            for part in (one.values() if isinstance(one, dict) else one)
        ]
        if not level:
            return
    raise ValueError("it is nested too deep")


def _lines(text: str) -> Iterator[tuple[str, int]]:
    """Go through the top-level keys and their lines, the last first: a dict keeps the first lines."""
    return reversed(list(_statements(text)))


def _statements(text: str) -> Iterator[tuple[str, int]]:
    """Go through the top-level key of each statement, and the line where it begins."""
    waiting: list[str] = []
    table: str | None = None
    start = 1
    for number, line in enumerate(text.split("\n"), 1):
        start = start if waiting else number
        waiting.append(line)
        try:
            parsed = tomllib.loads("\n".join(waiting))
        except ValueError:  # the statement goes on
            if len(waiting) > LONGEST_STATEMENT:
                return
            continue
        is_header = waiting[0].lstrip().startswith("[")
        waiting = []
        for key in parsed:
            if is_header:
                table = key
            if is_header or table is None:
                yield key, start
