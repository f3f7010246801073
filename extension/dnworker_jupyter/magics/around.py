"""`%%time` and `%%capture` around our magics: run here, awaited, as IPython's own would run them.

IPython runs the body of a magic to its end without ever letting the loop go on, so ours would show their
result after it: `%%time` would measure nothing, and `%%capture` would capture nothing. `transform` calls what
is here instead.
"""

from __future__ import annotations

import ast
import inspect
import linecache
import sys
import time
from types import SimpleNamespace
from typing import Any

from IPython.core.displayhook import DisplayHook
from IPython.core.interactiveshell import ExecutionResult
from IPython.core.magic_arguments import parse_argstring
from IPython.core.magics.execution import ExecutionMagics
from IPython.utils.capture import capture_output
from IPython.utils.timing import clock2

from dnworker.core.errors import UsageError
from dnworker_jupyter.syntax.transform import body_is_awaited

_OUR_CALL = "await __import__('dnworker_jupyter')._around("

KEEP_GOING = "--no-raise-error"
"""The option of `%%time`."""


async def run_around(shell: Any, magic: str, line: str, body: str | None) -> object:
    """Run `%time`, `%%time` or `%%capture` and await what it is around; returns its value.

    Raises:
        UsageError: the line is wrong.
        BaseException: whatever the timed code raises.
    """
    __tracebackhide__ = True  # people want to see their own lines
    _show_as_written(magic, line)
    if not _is_ipythons(shell, magic, is_cell=body is not None):
        return _run_as_it_is(shell, magic, line, body)
    if magic == "time":
        return await _time(shell, line, body)
    await _capture(shell, line, body or "")
    return None


def refuse_around(magic: str) -> None:
    """Refuse a magic that runs code many times, and cannot wait.

    Raises:
        UsageError: always.
    """
    raise UsageError(
        f"%{magic} cannot wait for magics of dnworker, so it would measure nothing; "
        "%%time waits, and %fire KIND --times N fires often",
        code="DN116",
    )


def _is_ipythons(shell: Any, magic: str, *, is_cell: bool) -> bool:
    """Return whether a magic is IPython's, and not another of its name."""
    found = shell.find_cell_magic(magic) if is_cell else shell.find_line_magic(magic)
    return isinstance(getattr(found, "__self__", None), ExecutionMagics)


def _run_as_it_is(shell: Any, magic: str, line: str, body: str | None) -> object:
    if body is None:
        return shell.run_line_magic(magic, line)
    return shell.run_cell_magic(magic, line, body)


def _show_as_written(magic: str, line: str) -> None:
    """Let tracebacks show the magic that the user wrote in the place of the call that it became."""
    for name in reversed([*linecache.cache]):
        entry = linecache.cache[name]
        lines = entry[2] if len(entry) == 4 else []
        for number, text in enumerate(lines):
            if _OUR_CALL in text:
                lines[number] = f"# %%{magic} {line}".rstrip() + "\n"  # a comment: tracebacks parse it
                return


def _transformed(shell: Any, text: str) -> str:
    token = body_is_awaited.set(True)
    try:
        return str(shell.transform_cell(text))
    finally:
        body_is_awaited.reset(token)


async def _capture(shell: Any, line: str, body: str) -> None:
    options = parse_argstring(ExecutionMagics.capture, line)
    wanted = (not options.no_stdout, not options.no_stderr, not options.no_display)
    with capture_output(*wanted) as captured:
        await _run_cell(shell, body)
    if DisplayHook.semicolon_at_end_of_expression(body):
        shell.user_ns.pop(options.output, None)
    elif options.output:
        shell.user_ns[options.output] = captured


async def _run_cell(shell: Any, body: str) -> None:
    """Run code as a cell, with the calls of hooks that belong to one."""
    failure, result = None, ExecutionResult(SimpleNamespace(raw_cell=body))
    try:
        code = _transformed(shell, body)
    except Exception:  # IPython reports it where the cell would run
        code, failure = body, sys.exc_info()
    try:
        result = await shell.run_cell_async(body, transformed_cell=code, preprocessing_exc_tuple=failure)
    except BaseException as exc:
        result.error_in_exec = exc
        raise
    finally:
        shell.events.trigger("post_execute")
        shell.events.trigger("post_run_cell", result)


async def _time(shell: Any, line: str, body: str | None) -> object:
    __tracebackhide__ = True
    first, _, rest = line.strip().partition(" ")
    keeps_going, statement = (True, rest) if first == KEEP_GOING else (False, line)
    if body is not None and statement.strip():
        raise UsageError(
            f"%%time takes no statement beside its body; put {statement.strip()!r} into the cell",
            code="DN116",
        )
    try:
        text = _transformed(shell, statement if body is None else body)
        tree = shell.transform_ast(shell.compile.ast_parse(text))
    except SyntaxError as exc:
        where = f"line {(exc.lineno or 1) + 1} of the cell" if body is not None else "the statement"
        raise UsageError(f"%%time: {where}: {exc.msg}: {(exc.text or '').strip()!r}", code="DN116") from None
    has_value = bool(tree.body) and isinstance(tree.body[-1], ast.Expr)
    source = "<timed eval>" if has_value and len(tree.body) == 1 else "<timed exec>"
    last = ast.Expression(tree.body.pop().value) if has_value else None
    begun, wall = clock2(), time.time()
    try:
        if tree.body:
            await _run(shell, tree, source, "exec")
        return await _run(shell, last, source, "eval") if last is not None else None
    except Exception:
        if not keeps_going:
            raise
        return None
    finally:
        _print_times(begun, clock2(), time.time() - wall)


async def _run(shell: Any, tree: ast.AST, source: str, mode: str) -> object:
    __tracebackhide__ = True
    with shell.compile.extra_flags(ast.PyCF_ALLOW_TOP_LEVEL_AWAIT):
        code = shell.compile(tree, source, mode)
    value = eval(code, shell.user_ns)  # noqa: S307  that is what a notebook does
    return await value if code.co_flags & inspect.CO_COROUTINE else value


def _print_times(begun: tuple[float, float], ended: tuple[float, float], wall: float) -> None:
    user, system = ended[0] - begun[0], ended[1] - begun[1]
    shown = [_duration(seconds) for seconds in (user, system, user + system)]
    print("CPU times: user {}, sys: {}, total: {}".format(*shown))  # noqa: T201  as IPython prints it
    print(f"Wall time: {_duration(wall)}")  # noqa: T201


def _duration(seconds: float) -> str:
    """Return a duration as IPython shows it: three digits and a unit."""
    if seconds >= 60:
        minutes, rest = divmod(seconds, 60)
        return f"{minutes:.0f}min {rest:.0f}s"
    for unit, factor in (("s", 1), ("ms", 1e3), ("μs", 1e6)):
        if seconds * factor >= 1:
            return f"{seconds * factor:.3g} {unit}"
    return f"{seconds * 1e9:.3g} ns"
