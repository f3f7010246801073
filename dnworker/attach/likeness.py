"""Whether two values are the same but for times and ids, which differ in each run of the same code."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from dnworker.core.text import shorten
from dnworker.workers.effects import json_text

_TIME = r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d(?::\d\d(?:[.,]\d+)?)?(?:Z|[+-]\d\d:?\d\d)?"
_ID = (
    r"(?<![0-9A-Za-z])(?:[a-z]{1,16}[-_])?"
    r"(?:[0-9a-f]{8}-(?:[0-9a-f]{4}-){3}[0-9a-f]{12}|[0-9a-f]{32})(?![0-9A-Za-z])"
)
_IDS = re.compile(_ID, re.IGNORECASE)
_VARYING = re.compile(f"({_TIME})|({_ID})", re.IGNORECASE)

_TIME_FIELD = re.compile(
    r"(?:^|_)(?:at|time|timestamp|ts|date|now|epoch|duration|elapsed|took)(?:_(?:ms|s|sec|us|ns))?$",
    re.IGNORECASE,
)
"""Names of fields whose numbers are times."""

OWN_FIELDS = frozenset({"event_id", "turn_id", "connection_id", "seq", "timestamp"})
"""Fields of an envelope that each runtime gives."""

LONGEST_SHOWN = 60

LONGEST_MASKED = 50_000
"""Characters of a text in which times and ids are looked for; a longer one is compared as it is."""


def ids_in(value: Any) -> set[str]:
    """Return the texts in a value that look like ids: where both sides name one, it must be the same."""
    texts = (text for text in _texts(value) if len(text) <= LONGEST_MASKED)
    return {found[0].lower() for text in texts for found in _IDS.finditer(text)}


def known_in(value: Any) -> set[str]:
    """Return the ids and times in the payload of an event: where one side has one of them, both must."""
    known = ids_in(value)
    for text in _texts(value):
        if len(text) <= LONGEST_MASKED:
            known.update(found[1] for found in _VARYING.finditer(text) if found[1] is not None)
    return known | {_epoch(number) for number in _numbers(value) if _is_epoch(number)}


def _is_epoch(number: float) -> bool:
    """Return whether it may be a moment; a small number in an event equals a duration by chance."""
    return not isinstance(number, bool) and 1e8 <= abs(number) <= 1e19


def _epoch(number: float) -> str:
    return f"number {float(number)!r}"


def _numbers(value: Any) -> Iterator[float]:
    waiting = [value]
    while waiting:
        match waiting.pop():
            case int() | float() as number:
                yield number
            case dict() as fields:
                waiting += fields.values()
            case list() as items:
                waiting += items


def _texts(value: Any) -> Iterator[str]:
    waiting = [value]
    while waiting:
        match waiting.pop():
            case str() as text:
                yield text
            case dict() as fields:
                waiting += [*fields.keys(), *fields.values()]
            case list() as items:
                waiting += items


def masked(text: str, known: set[str]) -> str:
    """Return a text with marks in place of times and ids, but for those that are known."""

    def mark(found: re.Match[str]) -> str:
        if found[1] is not None:
            return found[0] if found[0] in known else "(time)"
        return found[0] if found[0].lower() in known else "(id)"

    return _VARYING.sub(mark, text)


def difference(there: Any, here: Any, known: set[str], path: str = "") -> str | None:
    """Return where two values differ first and how, in words; None where they are the same.

    Args:
        there: the value of the deployed worker.
        here: that of the notebook's.
        known: ids and times that mean something: those of the event that both handled.
        path: where the values are, such as `items[0].id`.
    """
    if isinstance(there, dict) and isinstance(here, dict):
        return _of_fields(there, here, known, path)
    if isinstance(there, list) and isinstance(here, list):
        if len(there) != len(here):
            return f"{path or 'the list'} has {len(here)} items, and {len(there)} there"
        each = zip(there, here, strict=True)
        found = (difference(a, b, known, f"{path}[{n}]") for n, (a, b) in enumerate(each))
        return next((one for one in found if one is not None), None)
    if isinstance(there, str) and isinstance(here, str):
        is_same = there == here or _is_like_text(there, here, known)
    else:
        is_same = _is_same_number_or_none(there, here, path, known)
    return None if is_same else f"{path or 'the value'} is {_shown(here)}, and {_shown(there)} there"


def _is_like_text(there: str, here: str, known: set[str]) -> bool:
    if max(len(there), len(here)) > LONGEST_MASKED:
        return False
    return masked(there, known) == masked(here, known)


def _is_same_number_or_none(there: Any, here: Any, path: str, known: set[str]) -> bool:
    if isinstance(there, bool) or isinstance(here, bool) or there is None or here is None:
        return there is here
    if isinstance(there, int | float) and isinstance(here, int | float):
        name = path.rpartition(".")[2].partition("[")[0]
        if there == here or name in OWN_FIELDS:
            return True
        is_known = any(_is_epoch(one) and _epoch(one) in known for one in (there, here))
        return _TIME_FIELD.search(name) is not None and not is_known
    return type(there) is type(here) and bool(there == here)


def _of_fields(there: dict[str, Any], here: dict[str, Any], known: set[str], path: str) -> str | None:
    for name in {**there, **here}:
        below = f"{path}.{name}" if path else str(name)
        if name not in here:
            return f"{below} is missing, and {_shown(there[name])} there"
        if name not in there:
            return f"{below} is {_shown(here[name])}, and missing there"
        if (found := difference(there[name], here[name], known, below)) is not None:
            return found
    return None


def _shown(value: Any) -> str:
    return shorten(json_text(value), LONGEST_SHOWN)
