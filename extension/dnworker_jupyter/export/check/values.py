"""Compares values that vary from run to run, and shows them shortly; used by compare.

Times and ids differ between two runs of the same code, and nobody can know beforehand which fields those are.
`blend` finds them: where two runs differ, a `Varies` takes the place of the value.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

ABSENT = "absent"
"""The type of a field that only one of two runs has."""


class _AnyKey:
    """Stands for the fields whose names differ in each run."""

    def __str__(self) -> str:
        return "(varies)"


ANY_KEY = _AnyKey()

LONGEST = 160
"""Characters of a value that a report shows."""

_SPACES = re.compile(r"(\s+)")


@dataclass(frozen=True)
class Varies:
    """Stands for a value that differs between two runs of the same code.

    `types` are those that it had. Of a text of several words, `words` has those that stayed the same, with
    None for the others.
    """

    types: frozenset[str]
    words: tuple[str | None, ...] | None = None

    def __str__(self) -> str:
        if self.words is None:
            return "(varies)"
        return "".join("(varies)" if word is None else word for word in self.words)


@dataclass(frozen=True)
class Shuffled:
    """Stands for a list that has the same items in each run, in another order."""

    items: tuple[Any, ...]


def type_of(value: Any) -> str:
    """Return what JSON calls the type of a value."""
    match value:
        case Shuffled():
            return "list"
        case None:
            return "null"
        case bool():
            return "boolean"
        case int() | float():
            return "number"
        case str():
            return "text"
        case list() | tuple():
            return "list"
        case _:
            return "object"


def is_same(one: Any, other: Any) -> bool:
    """Return whether two values are the same JSON: 1 is not true, and 1 is 1.0; NaN is NaN."""
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(is_same(one[key], other[key]) for key in one)
    if isinstance(one, list | tuple) and isinstance(other, list | tuple):
        return len(one) == len(other) and all(map(is_same, one, other))
    if type_of(one) != type_of(other):
        return False
    return bool(one == other) or (one != one and other != other)


def blend(pattern: Any, value: Any) -> Any:
    """Return what a pattern, or the value of one run, has in common with the value of another run."""
    if isinstance(pattern, Varies):
        return _widen(pattern, value)
    if isinstance(pattern, dict) and isinstance(value, dict):
        return _blend_fields(pattern, value)
    if isinstance(pattern, Shuffled) and isinstance(value, list) and agrees(pattern, value):
        return pattern
    if isinstance(pattern, list) and isinstance(value, list) and len(pattern) == len(value):
        if not all(map(agrees, pattern, value)) and not [*varying(pattern)] and _has_all(pattern, value):
            return Shuffled(tuple(pattern))
        return [blend(a, b) for a, b in zip(pattern, value, strict=True)]
    if not isinstance(pattern, Shuffled) and is_same(pattern, value):
        return pattern
    words = None
    if isinstance(pattern, str) and isinstance(value, str):
        words = _common_words(tuple(_SPACES.split(pattern)), value)
    return Varies(frozenset({type_of(pattern), type_of(value)}), words)


def _blend_fields(pattern: dict[Any, Any], value: dict[Any, Any]) -> dict[Any, Any]:
    """Return the fields in common; where each has names of its own, names vary."""
    here = [key for key in pattern if key not in value and key is not ANY_KEY]
    there = [key for key in value if key not in pattern]
    if not (ANY_KEY in pattern or (here and there)):
        return {key: _blend_field(pattern, value, key) for key in {**pattern, **value}}
    blended = {key: blend(part, value[key]) for key, part in pattern.items() if key in value}
    parts = [*([pattern[ANY_KEY]] if ANY_KEY in pattern else []), *(pattern[key] for key in here)]
    for part in (value[key] for key in there):
        parts = [blend(parts[0], part), *parts[1:]] if parts else [part]
    return blended | {
        ANY_KEY: parts[0] if len(parts) == 1 else Varies(frozenset().union(*map(_types, parts)))
    }


def _blend_field(pattern: dict[str, Any], value: dict[str, Any], key: str) -> Any:
    if key not in value:
        return Varies(_types(pattern[key]) | {ABSENT})
    if key not in pattern:
        return Varies(frozenset({ABSENT, type_of(value[key])}))
    return blend(pattern[key], value[key])


def _types(pattern: Any) -> frozenset[str]:
    """Return the types that a pattern, or a value, stands for."""
    return pattern.types if isinstance(pattern, Varies) else frozenset({type_of(pattern)})


def _widen(pattern: Varies, value: Any) -> Varies:
    words = None
    if pattern.words is not None and isinstance(value, str):
        words = _common_words(pattern.words, value)
    return Varies(pattern.types | {type_of(value)}, words)


def _common_words(words: tuple[str | None, ...], text: str) -> tuple[str | None, ...] | None:
    """Return the words that a text has at the same places; None where it has none of them."""
    others = _SPACES.split(text)
    if len(words) != len(others):
        return None
    common = tuple(a if a == b else None for a, b in zip(words, others, strict=True))
    return common if any(word and not word.isspace() for word in common) else None


def agrees(pattern: Any, value: Any) -> bool:
    """Return whether a value is what `blend` says it is; the value may be a pattern, too, of other runs."""
    if isinstance(value, Varies) and isinstance(pattern, Varies):
        return bool(pattern.types & value.types) and _words_agree(pattern.words, value.words)
    if isinstance(value, Varies | Shuffled) and not isinstance(pattern, Varies | Shuffled):
        return agrees(value, pattern)
    if isinstance(pattern, Shuffled) or isinstance(value, Shuffled):
        return _is_shuffled(pattern, value)
    if isinstance(pattern, Varies):
        return _is_one_of(pattern, value)
    if isinstance(pattern, dict) and isinstance(value, dict):
        return _fields_agree(pattern, value)
    if isinstance(pattern, list) and isinstance(value, list | tuple):
        return len(pattern) == len(value) and all(map(agrees, pattern, value))
    return is_same(pattern, value)


def _words_agree(here: tuple[str | None, ...] | None, there: tuple[str | None, ...] | None) -> bool:
    if here is None or there is None:
        return True
    return len(here) == len(there) and all(
        one == other or one is None or other is None for one, other in zip(here, there, strict=True)
    )


def _is_shuffled(pattern: Any, value: Any) -> bool:
    for side in (pattern, value):
        if isinstance(side, Varies):
            return "list" in side.types
    here, there = (side.items if isinstance(side, Shuffled) else side for side in (pattern, value))
    return isinstance(there, list | tuple) and isinstance(here, list | tuple) and _has_all(here, there)


def _has_all(pattern: Sequence[Any], value: Sequence[Any]) -> bool:
    """Return whether two lists have the same items, in whatever order."""
    left = [*value]
    for part in pattern:
        found = next((n for n, other in enumerate(left) if agrees(part, other)), None)
        if found is None:
            return False
        del left[found]
    return not left


def _is_one_of(pattern: Varies, value: Any) -> bool:
    if type_of(value) not in pattern.types:
        return False
    if pattern.words is None or not isinstance(value, str):
        return True
    others = _SPACES.split(value)
    return len(others) == len(pattern.words) and all(
        word in (None, other) for word, other in zip(pattern.words, others, strict=True)
    )


def _fields_agree(pattern: dict[Any, Any], value: dict[Any, Any]) -> bool:
    if not all(agrees(pattern[key], part) for key, part in value.items() if key in pattern):
        return False
    if ANY_KEY in pattern and ANY_KEY in value:
        return True
    missing = [key for key, part in pattern.items() if key not in value and not may_be_absent(part)]
    extra = [key for key, part in value.items() if key not in pattern and not may_be_absent(part)]
    if ANY_KEY in value:
        return not [key for key in extra if key is not ANY_KEY]
    if ANY_KEY in pattern:
        return missing in ([], [ANY_KEY]) and all(agrees(pattern[ANY_KEY], value[key]) for key in extra)
    return not missing and not extra


def may_be_absent(pattern: Any) -> bool:
    """Return whether a run lacked the field."""
    return isinstance(pattern, Varies) and ABSENT in pattern.types


def varying(pattern: Any, path: str = "") -> Iterator[str]:
    """Yield the paths of what varies in a pattern, such as `at` and `items[0].id`; `` for all of it."""
    if isinstance(pattern, Varies | Shuffled):
        yield path
    elif isinstance(pattern, dict):
        if ANY_KEY in pattern:
            yield path
        for key, part in pattern.items():
            if key is not ANY_KEY:
                yield from varying(part, f"{path}.{key}" if path else str(key))
    elif isinstance(pattern, list):
        for number, part in enumerate(pattern):
            yield from varying(part, f"{path}[{number}]")


def is_reordered(pattern: Any, value: Any) -> bool:
    """Return whether a value agrees with a pattern but for the order of lists."""
    if isinstance(pattern, dict) and isinstance(value, dict):
        return pattern.keys() == value.keys() and all(
            is_reordered(part, value[key]) for key, part in pattern.items()
        )
    if isinstance(pattern, list) and isinstance(value, list) and len(pattern) == len(value):
        if all(map(is_reordered, pattern, value)):
            return True
        return _has_all(pattern, value)
    return agrees(pattern, value)


# -- showing -------------------------------------------------------------------------------------------


def shown(value: Any, longest: int = LONGEST) -> str:
    """Return a value as one line of text, shortened in its middle."""
    if isinstance(value, Varies):
        text = str(value)
    elif isinstance(value, str):
        text = value
    else:
        text = json.dumps(_plain(value), ensure_ascii=False, sort_keys=True)
        text = _VARYING.sub(lambda found: str(found[1]), text)
    text = " ".join(text.splitlines()) if "\n" in text else text
    if len(text) <= longest:
        return text
    half = (longest - 5) // 2
    return f"{text[:half]} ... {text[-half:]}"


_VARYING = re.compile(r'"\\u0000(.*?)\\u0000"')


def _plain(value: Any) -> Any:
    if isinstance(value, Varies):
        return f"\0{value}\0"
    if isinstance(value, Shuffled):
        return [*map(_plain, value.items), "\0(in any order)\0"]
    if isinstance(value, dict):
        return {str(key): _plain(part) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(part) for part in value]
    return value


def shown_apart(pattern: Any, value: Any) -> tuple[str, str]:
    """Return two values that differ as text: only what differs of them, where they are long."""
    texts = shown(pattern, 10**6), shown(value, 10**6)
    if max(map(len, texts)) <= LONGEST:
        return texts
    if isinstance(pattern, dict) and isinstance(value, dict):
        keys = [
            key
            for key in {**pattern, **value}
            if not (
                (key in pattern or key not in value)
                and (agrees(pattern[key], value[key]) if key in value and key in pattern else False)
            )
            and not (key not in value and may_be_absent(pattern[key]))
        ]
        if len(keys) == 1 and keys[0] in pattern and keys[0] in value:
            one, other = shown_apart(pattern[keys[0]], value[keys[0]])
            return f"{keys[0]}: {one}", f"{keys[0]}: {other}"
        if len(keys) < len({**pattern, **value}):
            return (
                shown({key: pattern[key] for key in keys if key in pattern}),
                shown({key: value[key] for key in keys if key in value}),
            )
    return _around_difference(*texts)


def _around_difference(one: str, other: str) -> tuple[str, str]:
    """Return two long texts from a little before where they begin to differ."""
    first = next((n for n, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), 0)
    start = max(0, first - LONGEST // 4)
    cut = "... " if start else ""
    return tuple(  # type: ignore[return-value]
        f"{cut}{text[start : start + LONGEST]}{' ...' if len(text) > start + LONGEST else ''}"
        for text in (one, other)
    )
