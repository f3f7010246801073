"""Changes of a state as text, such as `count 1 -> 2` and `users + "ada"`; `state_steps` and magics use it."""

from __future__ import annotations

from collections.abc import Iterator

from dnworker.core import values
from dnworker.core.masking import MASK
from dnworker.core.text import shorten
from dnworker.core.value_tree import hides
from dnworker.workers.state_frozen import ABSENT, Frozen, Thing, is_same

LONGEST_TEXT = 60
LONGEST_CHANGE = 200
SHOWN_INSIDE = 3
"""Characters of one value and of one change; changes shown within one key."""


def text_of(key: object, before: Frozen, after: Frozen) -> str:
    """Return one change as text: `count 1 -> 2`, `users + "ada"`, `config["host"] "a" -> "b"`."""
    is_word = type(key) is str and key.isidentifier()
    name = shorten(str(key), LONGEST_TEXT) if is_word else brief(_unkeyed(key))
    if hides(key if type(key) is str else "", _value(after if before is ABSENT else before)):
        return f"{name} {_marks(before, after)}"
    return shorten(_change(name, before, after), LONGEST_CHANGE)


def _unkeyed(key: object) -> Frozen:
    return key[1] if type(key) is tuple else key


def _value(frozen: Frozen) -> object:
    """Return what a frozen value stands for, as far as `hides` asks: None, a bool, a number."""
    return frozen.own if type(frozen) is Thing and frozen.kind in ("bool", "float") else frozen


def _marks(before: Frozen, after: Frozen) -> str:
    if before is ABSENT:
        return f"= {MASK}"
    return "removed" if after is ABSENT else f"{MASK} -> {MASK}"


def _change(name: str, before: Frozen, after: Frozen) -> str:
    if before is ABSENT:
        return f"{name} = {brief(after)}"
    if after is ABSENT:
        return f"{name} removed"
    inside = _inside(name, before, after)
    if inside:
        return inside
    old, new = brief(before), brief(after)
    if old == new:
        same = "another one of the same size" if _is_large(after) else "another one"
        return f"{name} {new}: {same}"
    return f"{name} {old} -> {new}"


def _is_large(frozen: Frozen) -> bool:
    return type(frozen) is Thing and frozen.kind == "large"


def _inside(name: str, before: Frozen, after: Frozen) -> str:
    """Return what changed within a container, where that is shorter than all of it; else nothing."""
    if type(before) is not Thing or type(after) is not Thing or before.cls != after.cls:
        return ""
    if before.kind != after.kind:
        return ""
    match before.kind:
        case "list" | "tuple" | "deque":
            return _in_sequence(name, before, after)
        case "set" | "frozenset":
            gone, new = set(before.parts) - set(after.parts), set(after.parts) - set(before.parts)
            order = [("-", part) for part in before.parts if part in gone]
            order += [("+", part) for part in after.parts if part in new]
            return _listed(name, order)
        case "dict" | "object":
            return "; ".join(_in_mapping(name, before, after))
    return ""


def _in_sequence(name: str, before: Thing, after: Thing) -> str:
    old, new = before.parts, after.parts
    if len(new) > len(old) and all(map(is_same, old, new)):
        return _listed(name, [("+", part) for part in new[len(old) :]])
    if len(new) < len(old) and all(map(is_same, old, new)):
        return _listed(name, [("-", part) for part in old[len(new) :]])
    if len(new) < len(old) and all(map(is_same, old[len(old) - len(new) :], new)):
        return _listed(name, [("-", part) for part in old[: len(old) - len(new)]])
    if len(new) == len(old):
        wrong = [n for n in range(len(new)) if not is_same(old[n], new[n])]
        shown = [_change(f"{name}[{n}]", old[n], new[n]) for n in wrong[:SHOWN_INSIDE]]
        return "; ".join([*shown, *_rest(len(wrong))])
    return f"{name} {_count(len(old))} -> {_count(len(new))}"


def _in_mapping(name: str, before: Thing, after: Thing) -> Iterator[str]:
    old = dict(zip(before.labels, before.parts, strict=True))
    new = dict(zip(after.labels, after.parts, strict=True))
    changed = [k for k in (*old, *(k for k in new if k not in old)) if not _is_same_at(k, old, new)]
    for key in changed[:SHOWN_INSIDE]:
        was, is_now = old.get(key, ABSENT), new.get(key, ABSENT)
        inner = f"{name}.{key}" if before.kind == "object" else f"{name}[{brief(key)}]"
        if type(key) is str and hides(key, _value(is_now if was is ABSENT else was)):
            yield f"{inner} {_marks(was, is_now)}"
        else:
            yield _change(inner, was, is_now)
    yield from _rest(len(changed))


def _is_same_at(key: Frozen, old: dict[Frozen, Frozen], new: dict[Frozen, Frozen]) -> bool:
    return key in old and key in new and is_same(old[key], new[key])


def _listed(name: str, changes: list[tuple[str, Frozen]]) -> str:
    shown = [f"{sign} {brief(part)}" for sign, part in changes[:SHOWN_INSIDE]]
    return ", ".join([f"{name} {shown[0]}", *shown[1:], *_rest(len(changes))]) if shown else ""


def _rest(count: int) -> list[str]:
    return [f"and {count - SHOWN_INSIDE:,} more"] if count > SHOWN_INSIDE else []


def _count(number: int) -> str:
    return f"{number:,} item{'' if number == 1 else 's'}"


def brief(frozen: Frozen, longest: int = LONGEST_TEXT) -> str:
    """Return a frozen value as short text."""
    return shorten("".join(_pieces(frozen, longest, 0)), longest)


def _pieces(frozen: Frozen, room: int, depth: int) -> Iterator[str]:
    if type(frozen) is not Thing:
        yield values.text_of(frozen, values.kind_of(frozen), room)
        return
    match frozen.kind:
        case "list" | "tuple" | "deque" | "set" | "frozenset":
            brackets = {"tuple": "()", "set": "{}"}.get(frozen.type, "[]")
            yield "" if frozen.type in ("list", "tuple", "set") else frozen.type
            yield from _joined(frozen.parts, (), brackets, room, depth)
        case "dict":
            yield "" if frozen.type == "dict" else frozen.type
            yield from _joined(frozen.parts, frozen.labels, "{}", room, depth)
        case "object":
            yield frozen.type
            yield from _joined(frozen.parts, frozen.labels, "()", room, depth)
        case "large":
            yield ", ".join(filter(None, [frozen.type, str(frozen.own)]))
        case "array" | "frame":
            yield f"{frozen.type}, {frozen.labels[0]}"
        case "known":
            yield str(frozen.own)
        case "itself":
            yield "(itself)"
        case "opaque":
            yield f"<{frozen.type}>"
        case "float" | "complex":
            yield str(frozen.own)
        case kind:
            yield values.text_of(frozen.own, "bytes" if kind == "bytearray" else kind, room)


def _joined(
    parts: tuple[Frozen, ...], labels: tuple[Frozen, ...], brackets: str, room: int, depth: int
) -> Iterator[str]:
    yield brackets[0]
    used = 0
    for number, part in enumerate(parts):
        if number:
            yield ", "
        if used > room or depth > SHOWN_INSIDE:
            yield "…"
            break
        label = labels[number] if labels else None
        shown = (
            MASK
            if type(label) is str and hides(label, _value(part))
            else "".join(_pieces(part, room, depth + 1))
        )
        name = (f"{label}=" if brackets == "()" else f"{brief(label)}: ") if labels else ""
        used += len(name) + len(shown) + 2
        yield name + shown
    yield brackets[1]
