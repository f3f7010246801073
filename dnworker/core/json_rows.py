"""`rows_of`: a difference of two JSON values as rows of text, equal parts folded; panel and traces use it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import takewhile
from typing import Any, Literal

import msgspec

from dnworker.core.json_diff import Added, Changed, Inside, Part, Path, Removed, Same, diff, places
from dnworker.core.masking import MASK
from dnworker.core.text import valid_text
from dnworker.core.value_tree import hides

ROWS = 200
"""Rows of one difference."""

LONGEST_TEXT = 200
_AROUND = 40  # characters before the first difference of two long texts
_SHOWN_OF_MANY = 20  # values that were added or removed in a row
_MEMBERS_SHOWN = 3  # equal members that are shown and not folded

_NOUNS = {dict: "object", list: "list", str: "text", bool: "value", int: "number", float: "number"}


class Fold(msgspec.Struct, frozen=True, gc=False):
    """What a row stands for instead of showing it: parts of the right value, `count` from `start` on."""

    text: str
    path: Path
    start: int
    count: int


class DiffRow(msgspec.Struct, frozen=True, omit_defaults=True):
    """One row: JSON text; a fold, and `after` it the rest of the text.

    `mark` is the side it is on: `left`, `right`, or none where both have it.
    """

    depth: int
    text: str = ""
    mark: Literal["", "left", "right"] = ""
    fold: Fold | None = None
    after: str = ""


class Difference(msgspec.Struct, frozen=True):
    """Two values, shown: the rows, how many differences there are, and where in words."""

    rows: list[DiffRow]
    changes: int
    where: str
    """`no difference`, a path such as `rows[317].price`, or `3 places`."""

    def lines(self, marks: tuple[str, str] = ("-", "+")) -> list[str]:
        """Return it as text, a mark before each row: that of the left value, that of the right."""
        signs = {"": " ", "left": marks[0], "right": marks[1]}
        return [f"{signs[row.mark]} {text_of(row)}" for row in self.rows]


def difference(left: Any, right: Any, most: int = ROWS) -> Difference:
    """Return two JSON values, compared and shown in at most `most` rows."""
    part = diff(left, right)
    found = [*places(part)]
    return Difference(rows_of(part, most), len(found), _where([place.path for place in found]))


def text_of(row: DiffRow) -> str:
    """Return a row as one line of text."""
    fold = f"▸ {row.fold.text}" if row.fold is not None else ""
    return f"{'  ' * row.depth}{row.text}{fold}{row.after}"


def path_text(path: Path) -> str:
    """Return a path as text: `rows[317].price`."""
    text = ""
    for part in path:
        if isinstance(part, int):
            text += f"[{part}]"
        elif part.isidentifier():
            text += f".{part}" if text else part
        else:
            text += f"[{_json(part)}]"
    return text


def _where(paths: Sequence[Path]) -> str:
    if not paths:
        return "no difference"
    shared = _shared(paths)
    if shared and (len(paths) == 1 or isinstance(shared[-1], int)):
        return path_text(shared)
    return "everything" if paths == [()] else f"{len(paths):,} place{'s' if len(paths) > 1 else ''}"


def _shared(paths: Sequence[Path]) -> Path:
    """Return what all paths begin with."""
    shared = paths[0]
    for path in paths[1:]:
        both = zip(shared, path, strict=False)
        shared = shared[: sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], both))]
    return shared


def rows_of(part: Part, most: int = ROWS) -> list[DiffRow]:
    """Return a difference as rows, at most `most`; braces around the whole are left out."""
    if isinstance(part, Inside):
        found = _Rows().inside(part, 0, ())
    else:
        found = _Rows().part(part, 0, (), is_last=True)
    rows: list[DiffRow] = []
    more = 0
    for row in found:
        if len(rows) < most:
            rows.append(row)
        elif row.mark:
            more += 1
    if more:
        text = f"{more:,} more row{'s' if more > 1 else ''} differ{'' if more > 1 else 's'}"
        rows[-1:] = [DiffRow(0, fold=Fold(text, (), 0, 0))]
    return rows


class _Rows:
    """Makes rows of the parts of a difference."""

    def inside(self, inside: Inside, depth: int, path: Path) -> Iterator[DiffRow]:
        """Yield the rows of an object's or list's parts."""
        at = 0
        for number, part in enumerate(inside.parts):
            is_last = number == len(inside.parts) - 1
            yield from self.part(part, depth, path, is_last=is_last, at=at if inside.is_list else None)
            match part:
                case Same(values) | Added(values):
                    at += len(values)
                case Changed() | Inside():
                    at += 1

    def part(
        self, part: Part, depth: int, path: Path, *, is_last: bool, at: int | None = None
    ) -> Iterator[DiffRow]:
        """Yield the rows of one part; `at` is its place in a list."""
        comma = "" if is_last else ","
        match part:
            case Same(values, keys):
                yield from _same(values, keys, depth, path, at or 0, comma)
            case Removed(values, keys):
                yield from _many(values, keys, depth, "left", comma)
            case Added(values, keys):
                yield from _many(values, keys, depth, "right", comma)
            case Changed(left, right, key):
                old, new = _pair(left, right, key)
                yield DiffRow(depth, f"{_prefix(key)}{old}{comma}", "left")
                yield DiffRow(depth, f"{_prefix(key)}{new}{comma}", "right")
            case Inside(key=key):
                below = (*path, at if at is not None else key or "")
                yield from self._nested(part, depth, below, comma)

    def _nested(self, inside: Inside, depth: int, path: Path, comma: str) -> Iterator[DiffRow]:
        """Yield an object or list with its brackets, which stand on the rows of its parts where they can."""
        opens, closes = ("[", f" ]{comma}") if inside.is_list else ("{", f" }}{comma}")
        rows = [*self.inside(inside, depth + 1, path)]
        first, is_short = rows[0], inside.key is None and not inside.is_list
        if is_short or (first.fold is not None and not first.text):
            rows[0] = replace_row(first, depth=depth, text=f"{_prefix(inside.key)}{opens} {first.text}")
        else:
            yield DiffRow(depth, f"{_prefix(inside.key)}{opens}")
        ends = 2 if isinstance(inside.parts[-1], Changed) else 1
        for n in range(1, ends + 1):
            rows[-n] = _closed(rows[-n], closes)
        yield from rows


def replace_row(row: DiffRow, **changes: Any) -> DiffRow:
    """Return a row with other fields."""
    return msgspec.structs.replace(row, **changes)


def _closed(row: DiffRow, closes: str) -> DiffRow:
    if row.fold is None:
        return replace_row(row, text=f"{row.text}{closes}")
    return replace_row(row, after=f"{row.after}{closes}")


def _same(
    values: list[Any], keys: list[str] | None, depth: int, path: Path, at: int, comma: str
) -> Iterator[DiffRow]:
    """Yield equal parts: a few members of an object as they are, all else folded."""
    count = len(values)
    if keys is None:
        if count == 1 and not isinstance(values[0], dict | list):
            yield DiffRow(depth, f"{_short(values[0], None)}{comma}")
        else:
            yield DiffRow(depth, fold=Fold(_counted(values, "equal "), path, at, count))
        return
    shown = count if count <= _MEMBERS_SHOWN else 1
    for n in range(shown):
        yield _member(keys[n], values[n], depth, path, comma if n == count - 1 else ",")
    if shown < count:
        text = f"{count - shown} equal fields"
        yield DiffRow(depth, fold=Fold(text, path, -1, count - shown))


def _member(key: str, value: Any, depth: int, path: Path, comma: str) -> DiffRow:
    """Return an equal member of an object; what is in an object or list is folded."""
    if not isinstance(value, dict | list) or not value or hides(key, value):
        return DiffRow(depth, f"{_prefix(key)}{_short(value, key)}{comma}")
    below = (*path, key)
    if isinstance(value, list):
        fold = Fold(_counted(value, "equal "), below, 0, len(value))
        return DiffRow(depth, f"{_prefix(key)}[ ", fold=fold, after=f" ]{comma}")
    text = f"{len(value):,} equal field{'s' if len(value) > 1 else ''}"
    return DiffRow(depth, f"{_prefix(key)}{{ ", fold=Fold(text, below, 0, len(value)), after=f" }}{comma}")


def _many(
    values: list[Any], keys: list[str] | None, depth: int, mark: Literal["left", "right"], comma: str
) -> Iterator[DiffRow]:
    """Yield what one side has and the other has not; of many, the first."""
    shown = len(values) if len(values) <= _SHOWN_OF_MANY + 1 else _SHOWN_OF_MANY
    for n in range(shown):
        key = None if keys is None else keys[n]
        end = comma if n == len(values) - 1 else ","
        yield DiffRow(depth, f"{_prefix(key)}{_short(values[n], key)}{end}", mark)
    if shown < len(values):
        text = _counted(values[shown:], "more ")
        yield DiffRow(depth, mark=mark, fold=Fold(text, (), 0, 0), after=comma)


def _counted(values: Sequence[Any], word: str) -> str:
    nouns = {_NOUNS.get(type(value), "value") for value in values[:1000]}
    noun = nouns.pop() if len(nouns) == 1 else "value"
    return f"{len(values):,} {word}{noun}{'' if len(values) == 1 else 's'}"


# -- values as text ------------------------------------------------------------------------------------

_encode = msgspec.json.Encoder().encode


def _json(value: Any) -> str:
    return valid_text(_encode(value).decode())


def _prefix(key: str | None) -> str:
    return "" if key is None else f"{_json(key if len(key) <= LONGEST_TEXT else key[:LONGEST_TEXT] + '…')}: "


def _short(value: Any, key: str | None) -> str:
    if key is not None and hides(key, value):
        return _json(MASK)
    return _cut(masked(value))


def _cut(value: Any, start: int = 0) -> str:
    """Return a value as JSON on one line, cut where it is long; of a long text, from `start` on."""
    if isinstance(value, str):
        before, after = "…" if start else "", "…" if len(value) > start + LONGEST_TEXT else ""
        return _json(f"{before}{value[start : start + LONGEST_TEXT]}{after}")
    text = _json(value)
    before, after = "…" if start else "", "…" if len(text) > start + LONGEST_TEXT else ""
    return f"{before}{text[start : start + LONGEST_TEXT]}{after}"


def masked(value: Any, levels: int = 20) -> Any:
    """Return a value without secrets; what is nested deeper than `levels` is left out."""
    if isinstance(value, dict):
        if not levels:
            return "…"
        return {k: MASK if hides(k, v) else masked(v, levels - 1) for k, v in value.items()}
    if isinstance(value, list):
        return [masked(one, levels - 1) for one in value[:LONGEST_TEXT]] if levels else "…"
    return value


def _pair(left: Any, right: Any, key: str | None) -> tuple[str, str]:
    """Return two values as text; of long ones, from shortly before their first difference on."""
    if key is not None and (hides(key, left) or hides(key, right)):
        return _json(MASK), _json(MASK)
    old, new = masked(left), masked(right)
    one, other = (old, new) if isinstance(old, str) and isinstance(new, str) else (_json(old), _json(new))
    least = min(len(one), len(other), 100_000)
    first = next((n for n in range(least) if one[n] != other[n]), least)
    start = max(0, first - _AROUND) if first > LONGEST_TEXT - _AROUND else 0
    return _cut(old, start), _cut(new, start)
