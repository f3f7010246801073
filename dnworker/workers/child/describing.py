"""Makes data of an exception for `observe.py`, in the form of `dnworker.core.handler_error.HandlerError`.

It keeps the bounds of that module and of `short_values`, and like these calls nothing of the objects that it
finds but an exception's own `__str__`. It uses the standard library only: the environment is not ours.
"""

from __future__ import annotations

import linecache
import os
import re
import sysconfig
import types
from typing import Any

LONGEST_MESSAGE, LONGEST_LINE, LONGEST_NAME, LONGEST_VALUE = 10_000, 500, 200, 200
FRAMES_KEPT, OUTERMOST_KEPT = 100, 20
CHAIN_KEPT, NOTES_KEPT, MEMBERS_KEPT, EXCEPTIONS_KEPT, CLASSES_KEPT = 10, 20, 20, 50, 50
LOCALS_KEPT, FRAMES_WITH_LOCALS, ITEMS_SHOWN, DEPTH = 20, 10, 8, 4
WALKED = 20_000
SHOWN_BEFORE_FOLD = 3

NOT_THEIRS = ("dreadnode", "asyncio", "contextlib", "importlib", "_dnworker_observe", "_dnworker_schedules")
"""Modules that run what the user wrote: how they came to do so is not told."""

SECRET = re.compile(
    r"pass(word|wd|phrase)|secret|token|api[_-]?key|credential|authorization|private[_-]?key", re.I
)
MASK = "***"

_PACKAGES = tuple(f"{os.sep}{name}{os.sep}" for name in ("site-packages", "dist-packages"))
_STDLIB = tuple(
    {f"{path.rstrip(os.sep)}{os.sep}" for path in map(sysconfig.get_path, ("stdlib", "platstdlib")) if path}
)
_CODE = (types.FunctionType, types.BuiltinFunctionType, types.ModuleType, type)
_CLASS_NAME: Any = type.__dict__["__name__"]
_QUALIFIED_NAME: Any = type.__dict__["__qualname__"]
_CLASSES: Any = type.__dict__["__mro__"]
_MODULE: Any = type.__dict__["__module__"]
_TRACEBACK: Any = BaseException.__dict__["__traceback__"]
_CAUSE: Any = BaseException.__dict__["__cause__"]
_CONTEXT: Any = BaseException.__dict__["__context__"]
_IS_SUPPRESSED: Any = BaseException.__dict__["__suppress_context__"]


def describe(exc: BaseException, *, with_locals: bool) -> dict[str, Any]:
    """Return an exception, what it came of and its members, as data for JSON; never raises."""
    return _Description(with_locals=with_locals).of(exc) | {"classes": _classes(exc)}


class _Description:
    """Describes one exception and all that belong to it, as far as there is room."""

    def __init__(self, *, with_locals: bool) -> None:
        self._with_locals = with_locals
        self._seen: list[BaseException] = []

    def of(self, exc: BaseException, chain: int = CHAIN_KEPT) -> dict[str, Any]:
        self._seen.append(exc)
        frames, after, hidden = _frames(_TRACEBACK.__get__(exc), with_locals=self._with_locals)
        made: dict[str, Any] = {
            "type": _type_name(exc),
            "message": _message(exc),
            "frames": frames,
            "notes": _notes(exc),
            "after": after,
            "hidden": hidden,
        }
        cause = _CAUSE.__get__(exc)
        before = cause
        if cause is None and not _IS_SUPPRESSED.__get__(exc):
            before = _CONTEXT.__get__(exc)
        if before is not None:
            if chain > 1 and self._has_room_for(before):
                made["context" if cause is None else "cause"] = self.of(before, chain - 1)
            else:
                made["is_cut"] = True
        if isinstance(exc, BaseExceptionGroup):
            members = BaseExceptionGroup.__dict__["exceptions"].__get__(exc)
            shown = []
            for member in members[:MEMBERS_KEPT]:
                if not self._has_room_for(member):
                    break
                shown.append(self.of(member, chain - 1))
            made |= {"members": shown, "more_members": len(members) - len(shown)}
        return made

    def _has_room_for(self, exc: BaseException) -> bool:
        return len(self._seen) < EXCEPTIONS_KEPT and not any(exc is one for one in self._seen)


def _type_name(exc: BaseException) -> str:
    return _valid(_CLASS_NAME.__get__(type(exc)), LONGEST_NAME)


def _classes(exc: BaseException) -> list[str]:
    """Return the qualified names of an exception's classes, its own first."""
    found: list[str] = []
    for one in _CLASSES.__get__(type(exc))[:CLASSES_KEPT]:
        module, name = _module(one), _QUALIFIED_NAME.__get__(one)
        parts = (module, name) if issubclass(type(module), str) else (name,)
        found.append(".".join(_valid(part, LONGEST_NAME) for part in parts)[:LONGEST_NAME])
    return found


def _module(class_: type) -> Any:
    try:
        return _MODULE.__get__(class_)
    except AttributeError:  # made where no module is known
        return None


def _message(exc: BaseException) -> str:
    try:
        return _valid(str(exc), LONGEST_MESSAGE)
    except BaseException as broken:  # somebody else's __str__: it may even say sys.exit()
        return f"<{_type_name(exc)}.__str__ raised {_type_name(broken)}>"


def _notes(exc: BaseException) -> list[str]:
    try:
        notes = BaseException.__dict__["__dict__"].__get__(exc).get("__notes__")
    except Exception:  # a key that is like this name only by its own __eq__
        return []
    if type(notes) is not list:
        return []
    return [_valid(note, LONGEST_LINE) for note in notes[:NOTES_KEPT] if type(note) is str]


def _valid(text: Any, longest: int) -> str:
    """Return text that can be encoded, cut, with a note of that."""
    cut = str.__len__(text) - longest
    plain = str.__getitem__(text, slice(longest)).encode("utf-8", "replace").decode()
    return plain if cut <= 0 else f"{plain} [cut: {cut:,} more characters]"


# -- frames --------------------------------------------------------------------------------------------


def _frames(traceback: Any, *, with_locals: bool) -> tuple[list[dict[str, Any]], list[str], int]:
    """Return the user's frames, what is not shown after them, and how many frames are not shown."""
    steps: list[tuple[Any, int, str | None]] = []
    while traceback is not None and len(steps) < WALKED:
        frame = traceback.tb_frame
        module = frame.f_globals.get("__name__")
        top = module.partition(".")[0] if type(module) is str else ""
        if top not in NOT_THEIRS:
            steps.append((frame, traceback.tb_lineno, _library(frame.f_code.co_filename)))
        traceback = traceback.tb_next
    is_nobodys = all(library is not None for _, _, library in steps)
    shown: list[tuple[Any, int, list[str]]] = []
    before: list[str] = []
    libraries: dict[str, int] = {}
    hidden = repeats = 0
    last = None
    for frame, line, library in steps:
        if library is not None and not is_nobodys:
            libraries[library] = libraries.get(library, 0) + 1
            hidden += 1
            continue
        repeats = repeats + 1 if (frame.f_code, line) == last else 0
        last = (frame.f_code, line)
        if repeats >= SHOWN_BEFORE_FOLD:
            hidden += 1
            before[:] = [f"... {repeats + 1 - SHOWN_BEFORE_FOLD:,} more of {_place(frame, line)}"]
            continue
        _note(libraries, before)
        shown.append((frame, line, before))
        before = []
    _note(libraries, before)
    if (more := len(shown) - FRAMES_KEPT) > 0:
        hidden += more
        first = shown[OUTERMOST_KEPT + more]
        first[2].insert(0, f"... {more:,} more frames")
        del shown[OUTERMOST_KEPT : OUTERMOST_KEPT + more]
    count = len(shown)
    frames = [
        _frame(frame, line, texts, has_values=with_locals and count - n <= FRAMES_WITH_LOCALS)
        for n, (frame, line, texts) in enumerate(shown)
    ]
    return frames, before, hidden


def _note(libraries: dict[str, int], before: list[str]) -> None:
    """Say how many frames of libraries stood here."""
    if libraries:
        count, names = sum(libraries.values()), ", ".join([*libraries][:3])
        before.append(
            f"({count:,} frame{'s' if count > 1 else ''} of {names} {'are' if count > 1 else 'is'} not shown)"
        )
        libraries.clear()


def _library(file: str) -> str | None:
    """Return the name of the library that a file belongs to; None for the user's."""
    if file.startswith("<frozen "):
        return file[8:-1].partition(".")[0]
    for name in _PACKAGES:
        if name in file:
            return file.rpartition(name)[2].partition(os.sep)[0].partition(".")[0]
    for path in _STDLIB:
        if file.startswith(path):
            return file[len(path) :].partition(os.sep)[0].partition(".")[0]
    return None


def _place(frame: Any, line: int) -> str:
    return _valid(f"{frame.f_code.co_filename}, line {line}", LONGEST_LINE)


def _frame(frame: Any, line: int, before: list[str], *, has_values: bool) -> dict[str, Any]:
    file = frame.f_code.co_filename
    source = linecache.getline(file, line).strip() if os.path.isfile(file) else ""  # noqa: PTH113
    return {
        "place": _place(frame, line),
        "function": _valid(frame.f_code.co_name, LONGEST_NAME),
        "source": _valid(source, LONGEST_LINE),
        "before": before,
        "locals": _locals(frame) if has_values and _library(file) is None else [],
    }


def _locals(frame: Any) -> list[tuple[str, str]]:
    code, held = frame.f_code, frame.f_locals
    is_module = held is frame.f_globals
    names = code.co_names if is_module else (*code.co_varnames, *code.co_cellvars, *code.co_freevars)
    shown: list[tuple[str, str]] = []
    for name in dict.fromkeys(names):
        if len(shown) == LOCALS_KEPT:
            break
        try:
            value = held[name]
        except Exception:  # noqa: S112  it has no value yet, or is a builtin
            continue
        if not (is_module and issubclass(type(value), _CODE)):
            shown.append((_valid(name, LONGEST_NAME), short_value(value, name)))
    return shown


# -- values --------------------------------------------------------------------------------------------

_BRACKETS: dict[type, tuple[str, str]] = {
    list: ("[", "]"),
    tuple: ("(", ")"),
    set: ("{", "}"),
    frozenset: ("frozenset({", "})"),
}


def short_value(value: object, name: str = "") -> str:
    """Return a value as text of at most 200 characters; one whose name is that of a secret is masked."""
    if SECRET.search(name) and value is not None:
        return MASK
    try:
        text = _text(value, DEPTH).encode("utf-8", "replace").decode()
    except Exception as exc:  # a container that another thread changes meanwhile
        return f"<{_kind(value)}: {_CLASS_NAME.__get__(type(exc))}>"
    return text if len(text) <= LONGEST_VALUE else f"{text[: LONGEST_VALUE - 3]}..."


def _kind(value: object) -> str:
    name: str = _CLASS_NAME.__get__(type(value))
    return name[:60]


def _text(value: Any, depth: int) -> str:
    kind = type(value)
    if kind in (bool, float, complex, type(None), type(...), range):
        return repr(value)
    if kind is int:
        return repr(value) if value.bit_length() <= 180 else f"<int of {value.bit_length():,} bits>"
    if kind in (str, bytes):
        if len(value) <= LONGEST_VALUE - 2:
            return repr(value)
        return f"{value[: LONGEST_VALUE // 2]!r}... {len(value):,} {'characters' if kind is str else 'bytes'}"
    if kind in _BRACKETS:
        opening, closing = _BRACKETS[kind]
        if not value:
            return "set()" if kind is set else f"{opening}{closing}"
        if depth == 0:
            return f"{opening}...{closing}"
        shown = _listed([_text(item, depth - 1) for item in _first(value)], len(value))
        return f"{opening}{shown}{',' if kind is tuple and len(value) == 1 else ''}{closing}"
    if kind is dict:
        if depth == 0 or not value:
            return "{...}" if value else "{}"
        return f"{{{_listed([_pair(key, value[key], depth) for key in _first(value)], len(value))}}}"
    return _opaque(value)


def _pair(key: Any, held: Any, depth: int) -> str:
    is_masked = type(key) is str and held is not None and SECRET.search(key[:LONGEST_VALUE])
    return f"{_text(key, depth - 1)}: {MASK if is_masked else _text(held, depth - 1)}"


def _first(items: Any) -> list[Any]:
    return [item for item, _ in zip(items, range(ITEMS_SHOWN), strict=False)]


def _listed(shown: list[str], count: int) -> str:
    return ", ".join([*shown, *([f"... {count - len(shown):,} more"] if count > len(shown) else [])])


def _opaque(value: object) -> str:
    kind = type(value)
    if issubclass(kind, types.FunctionType):
        return f"<function {value.__name__[:60]}>"  # type: ignore[attr-defined]
    if issubclass(kind, types.ModuleType):
        return "<module>"
    if issubclass(kind, type):
        return f"<class {_CLASS_NAME.__get__(value)[:60]}>"
    for base in (list, tuple, dict, set, frozenset, str, bytes):
        if issubclass(kind, base):
            return f"<{_kind(value)} of {base.__len__(value):,}>"  # type: ignore[arg-type]
    return f"<{_kind(value)}>"
