"""Lines that say what a handler does through its client; shadows write them down in place of doing it."""

from __future__ import annotations

from typing import Any


def effect_line(what: str, *args: Any, **fields: Any) -> str:
    """Return one call as a line: what it does, and what it was given; fields that are None are left out."""
    shown = [repr(arg) if not isinstance(arg, str) else arg for arg in args]
    shown += [f"{name}={value!r}" for name, value in fields.items() if value is not None]
    return f"{what} {' '.join(shown)}".rstrip()


def published_line(
    kind: str, payload: dict[str, Any], session_id: str | None = None, dedupe: str | None = None
) -> str:
    """Return the line of a published event; a notification is called one."""
    what = "publishes" if kind != "notify" else "notifies"
    return effect_line(what, kind, payload, session_id=session_id, dedupe=dedupe)
