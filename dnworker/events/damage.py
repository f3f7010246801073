"""What is wrong with a journal's file, and how it is set aside; used by `journal.py` and its writer."""

from __future__ import annotations

import contextlib
import sqlite3
from datetime import datetime
from pathlib import Path

from dnworker.core.errors import JournalError
from dnworker.events.companions import COMPANIONS

_CODES = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)

_NAMES = frozenset((".db", ".sqlite", ".sqlite3", ".journal"))
"""Endings of files that are there to be journals, whatever is in them."""


class JournalDamaged(JournalError):
    """The file is a journal that cannot be read any more, or only in part."""

    code = "DN703"


def is_damage(exc: sqlite3.Error) -> bool:
    """Return whether an error says that the file is damaged, not that it is locked, full or out of reach."""
    return getattr(exc, "sqlite_errorcode", 0) & 0xFF in _CODES


def is_of_others(path: Path, *, may_be_open: bool) -> bool:
    """Return whether a file that is no database is text of somebody, by its name and content.

    Only by its name where this process may have it open: the end of any other access to it would take away
    the locks that SQLite has on it.
    """
    if path.suffix in _NAMES or may_be_open:
        return path.suffix not in _NAMES
    try:
        with path.open("rb") as file:
            beginning = file.read(4096)
        text = beginning.decode()
    except UnicodeDecodeError as exc:
        return exc.start >= 4_000 and b"\0" not in beginning  # a character that was cut
    except OSError:
        return True
    return "\0" not in text


def set_aside(path: Path) -> Path:
    """Rename a journal, and what SQLite keeps beside it, to a name with the date; returns that.

    Raises:
        JournalError: it cannot be renamed.
    """
    stamp = f"{datetime.now():%Y%m%d-%H%M%S}"
    aside, count = path.with_name(f"{path.stem}.damaged-{stamp}{path.suffix}"), 2
    while aside.exists():
        aside, count = path.with_name(f"{path.stem}.damaged-{stamp}-{count}{path.suffix}"), count + 1
    try:
        path.rename(aside)
    except OSError as exc:
        raise JournalError(
            f"journal {path} is damaged, and cannot be moved aside: {exc.strerror}", code="DN703"
        ) from exc
    for companion in COMPANIONS:
        with contextlib.suppress(OSError):  # it may have none
            path.with_name(path.name + companion).rename(aside.with_name(aside.name + companion))
    return aside
