"""Lines that say what a handler does through its client; shadows write them down in place of doing it."""

from __future__ import annotations

import json
from typing import Any


def json_text(value: object) -> str:
    """Return a value as JSON on one line, as payloads are shown; as Python writes it where it is none.

    What has no form of its own in a terminal or turns text around is escaped.
    """
    try:
        text = json.dumps(value, ensure_ascii=False, default=repr)
    except (TypeError, ValueError, RecursionError):  # its keys are no text, or it is in itself
        text = repr(value)
    return text if text.isprintable() else "".join(map(_escaped, text))


def _escaped(character: str) -> str:
    return character if character.isprintable() else json.dumps(character)[1:-1]


def effect_line(what: str, *args: Any, **fields: Any) -> str:
    """Return a call as a line: what it does, and what it was given as JSON but for fields that are None."""
    shown = [json_text(arg) if not isinstance(arg, str) else arg for arg in args]
    shown += [f"{name}={json_text(value)}" for name, value in fields.items() if value is not None]
    return f"{what} {' '.join(shown)}".rstrip()


def published_line(
    kind: str, payload: dict[str, Any], session_id: str | None = None, dedupe: str | None = None
) -> str:
    """Return the line of a published event; a notification is called one."""
    what = "publishes" if kind != "notify" else "notifies"
    return effect_line(what, kind, payload, session_id=session_id, dedupe=dedupe)
