"""Settings as text for people, as JSON, and as a file that says the same; passwords are never in it."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from dnworker.cli.settings.resolving import Resolved, Value
from dnworker.core.errors import UsageError
from dnworker.core.text import is_valid_text

_BARE = re.compile(r"[A-Za-z0-9_-]+")


def masked(text: str) -> str:
    """Return text with stars for what stands before the `@` of each address."""
    return _without_secrets(text, "***@")


def _without_secrets(text: str, instead: str) -> str:
    if "://" not in text:
        return text
    parts = []
    for part in text.split(","):
        scheme, separator, rest = part.rpartition("://")
        _, at, host = rest.rpartition("@")
        parts.append(f"{scheme}{separator}{instead if at else ''}{host}")
    return ",".join(parts)


def to_json(value: Value) -> dict[str, Any]:
    """Return a setting's key, value, source, and whether it is another than the default."""
    return {
        "key": value.setting.key,
        "value": _plain(value.value),
        "source": value.source,
        "changed": value.is_changed,
        "variable": value.setting.variable,
        "option": value.setting.option,
    }


def shown_value(value: Any) -> str:
    """Return a value as a line of a table has it: as TOML has it, and `-` for none."""
    plain = _plain(value)
    return "-" if plain is None or plain == [] else _as_toml(plain)


def to_toml(resolved: Resolved) -> str:
    """Return a file with which all settings have these values.

    Raises:
        UsageError: a value is no text that a file can hold.
    """
    changed = [one for one in resolved.values.values() if one.is_changed]
    lines, tables = [], []
    for one in changed:
        pairs = _pairs(one)
        if pairs is None:
            lines += _statement(one)
        else:
            tables += ["", f"[{one.setting.key}]", *(f"{_key(name)} = {_text(text)}" for name, text in pairs)]
    return "".join(f"{line}\n" for line in (*lines, *tables)).removeprefix("\n")


def _statement(one: Value) -> list[str]:
    key, value = one.setting.key, one.value
    if isinstance(value, str) and masked(value) != value:
        left = _without_secrets(value, "")
        note = f"# {key}: what signs in is left out; give NATS_USER and NATS_PASSWORD, or creds"
        return [note, f"{key} = {_text(left)}"]
    if one.setting.is_path:
        value = [_absolute(p) for p in value] if isinstance(value, list) else _absolute(value)
    return [f"{key} = {_as_toml(value)}"]


def _absolute(path: Path) -> str:
    return os.path.abspath(path)  # noqa: PTH100  links stay


def _pairs(one: Value) -> list[tuple[str, str]] | None:
    """Return the names and texts of a table; None for what no table can say."""
    if one.setting.shape != "table":
        return None
    pairs = [text.partition("=")[::2] for text in one.value]
    names = [name for name, _ in pairs]
    is_table = all("=" in text for text in one.value) and all(names) and len(set(names)) == len(names)
    return pairs if is_table else None


def _plain(value: Any) -> Any:
    if isinstance(value, list | tuple):
        return [_plain(one) for one in value]
    if isinstance(value, os.PathLike | str):
        return masked(os.fspath(value))
    return value


def _as_toml(value: Any) -> str:
    if isinstance(value, list):
        return f"[{', '.join(_as_toml(one) for one in value)}]"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        return repr(value)
    return _text(str(value))


def _key(name: str) -> str:
    return name if _BARE.fullmatch(name) else _text(name)


def _text(text: str) -> str:
    if not is_valid_text(text):
        raise UsageError(f"{ascii(text)[:160]} is no text that a file can hold", code="DN922")
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")


def aligned(rows: Iterable[tuple[str, str, str]]) -> list[str]:
    """Return three columns as lines."""
    rows = list(rows)
    widths = [max((min(len(row[n]), 48) for row in rows), default=0) for n in range(2)]
    return [f"{row[0]:<{widths[0]}}  {row[1]:<{widths[1]}}  {row[2]}".rstrip() for row in rows]
