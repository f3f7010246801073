"""Exceptions whose every part misbehaves: they are described, and do nothing else."""

from __future__ import annotations

import asyncio
import os
import types

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from dnworker.core.handler_error import LONGEST_MESSAGE, describe, message_of, type_name, within_bounds

RAISES = [ValueError, SystemExit, KeyboardInterrupt, asyncio.CancelledError, GeneratorExit, MemoryError]


class OddText(str):
    """Text whose methods raise."""

    __slots__ = ()
    isascii = __len__ = __getitem__ = __format__ = encode = property(lambda self: 1 / 0)


class OddMeta(type):
    """A class of classes without a name."""

    __name__ = property(lambda cls: 1 / 0)


ANSWERS = [
    *(kind("no") for kind in RAISES),
    5,
    None,
    b"x",
    "text",
    "\ud800",
    "x" * 20_000,
    OddText("odd"),
    "loop",
]
PARTS = [
    "__str__",
    "__repr__",
    "__class__",
    "__traceback__",
    "__notes__",
    "__cause__",
    "__context__",
    "__dict__",
]
PARTS += ["filename", "lineno", "text", "msg", "exceptions", "code", "args"]
BASES = [
    Exception,
    SystemExit,
    KeyboardInterrupt,
    asyncio.CancelledError,
    SyntaxError,
    OSError,
    BaseExceptionGroup,
]


def made(base, parts):
    """Return an exception that was raised, and whose parts answer as said."""

    def answering(answer):
        def part(self):
            if isinstance(answer, BaseException):
                raise answer
            return str(self) if isinstance(answer, str) and answer == "loop" else answer

        return part

    body = {
        name: answering(answer) if name in ("__str__", "__repr__") else property(answering(answer))
        for name, answer in parts.items()
    }
    kind = type("Odd", (base,), body)
    exc = kind("a group", [ValueError("member")]) if base is BaseExceptionGroup else kind("said")
    try:
        raise exc
    except BaseException as raised:
        return raised


@given(st.sampled_from(BASES), st.dictionaries(st.sampled_from(PARTS), st.sampled_from(ANSWERS)))
def test_an_exception_is_described_whatever_its_class_does(base, parts):
    error = describe(made(base, parts), with_locals=True)
    assert error.type == "Odd"
    assert len(error.message) < LONGEST_MESSAGE + 100
    assert any(frame.function == "made" for frame in error.frames)
    for text in (str(error), *error.lines()):
        assert type(text) is str
        text.encode()


def test_the_name_of_a_class_is_had_without_its_metaclass():
    class Odd(Exception, metaclass=OddMeta):
        pass

    assert type_name(Odd()) == "Odd"
    assert "Odd" in str(describe(Odd()))
    name = f"{__name__}.test_the_name_of_a_class_is_had_without_its_metaclass.<locals>.Odd"
    assert describe(Odd()).classes == (
        name,
        "builtins.Exception",
        "builtins.BaseException",
        "builtins.object",
    )


def test_names_of_classes_are_text_of_bounded_length_and_number():
    kind = Exception
    for n in range(100):
        kind = type(f"K{n}", (kind,), {"__module__": n if n % 2 else "m" * 1_000})
        kind.__qualname__ = "\ud800"
    classes = describe(kind()).classes
    assert len(classes) == 50
    assert max(map(len, classes)) == 200
    assert "".join(classes).encode()
    assert (
        within_bounds(replace(describe(kind()), classes=("x" * 300,) * 60)).classes
        == (f"{'x' * 197}...",) * 50
    )


def test_a_group_says_what_its_members_are_and_where_they_were_raised():
    def member(exc):
        try:
            raise exc
        except BaseException as raised:
            return raised

    inner = BaseExceptionGroup("inner", [member(SystemExit(3)), member(KeyError("k"))])
    message = message_of(ExceptionGroup("outer", [member(ValueError("v"))])) + message_of(inner)
    for part in (f"ValueError: v ({__file__}, line ", "SystemExit: 3 (", "KeyError: 'k' ("):
        assert part in message


def test_a_group_of_very_many_groups_is_cut():
    exc: BaseException = ValueError("deep")
    for _ in range(100_000):
        exc = ExceptionGroup("g", [exc])
    wide = ExceptionGroup("wide", [ValueError(n) for n in range(1_000)])
    assert message_of(wide).count("ValueError") == 5
    assert message_of(exc) == "g (1 sub-exception): "
    while isinstance(exc, ExceptionGroup):  # else its deallocation recurses
        exc = exc.exceptions[0]


@pytest.mark.parametrize("path", ["/dev/zero", "/dev/tty", "fifo"])
def test_a_line_of_a_device_or_pipe_is_not_read(path, tmp_path):
    if path == "fifo":
        os.mkfifo(tmp_path / path)
        path = str(tmp_path / path)
    namespace: dict[str, object] = {"__name__": "theirs"}
    code = compile("def fails():\n    raise ValueError('x')", path, "exec")
    exec(code, namespace)
    fails = namespace["fails"]
    assert isinstance(fails, types.FunctionType)
    try:
        fails()
    except ValueError as exc:
        error = describe(exc)
    assert (error.frames[-1].source, error.place) == ("", f"{path}, line 2")
