"""Writes a recorded event as a cell or a pytest test that fires it; used by magics, panel and export."""

from __future__ import annotations

import ast
import json
import pprint
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import msgspec

from dnworker.core.parsing import parse

if TYPE_CHECKING:
    from dnworker.events.trace import Trace

_TITLE = re.compile(r"Events that were recorded, fired at worker '([a-z0-9-]+)' again\.")
_BARE = re.compile(r"[A-Za-z_][\w./:-]*")
_KEY = re.compile(r"[A-Za-z_]\w*")
_WORDS = frozenset({"true", "false", "null", "True", "False", "None", "NaN", "Infinity"})
LONGEST_LINE = 100


def as_cell(kind: str, payload: Mapping[str, Any], session: str | None) -> str:
    """Return the cell that fires this event: one line if it is short and plain, else `%%fire` with a body."""
    scope = f" --session {_word(session)}" if session else ""
    fields = [_field(key, value) for key, value in payload.items()]
    line = " ".join([f"%fire {_word(kind)}", *(field or "" for field in fields)]) + scope
    if payload and all(fields) and len(line) <= LONGEST_LINE:
        return line
    return f"%%fire {_word(kind)}{scope}\n{json.dumps(payload, indent=2, ensure_ascii=False)}"


def _word(text: str | None) -> str:
    return text if text and _BARE.fullmatch(text) else json.dumps(text, ensure_ascii=False)


def _field(key: str, value: object) -> str | None:
    """Return `key=value` as `%fire` reads it; None for a value that needs a body."""
    if not _KEY.fullmatch(key):
        return None
    match value:
        case bool() | int() | None:
            return f"{key}={json.dumps(value)}"
        case str() if _BARE.fullmatch(value) and value not in _WORDS:
            return f"{key}={value}"
    return None


class Case(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """An event, and what its handlers should do with it; the body of a `%%worker NAME --test` cell.

    `publishes` are the kinds that they publish, in order; None where it is enough that they succeed.
    """

    event: str
    payload: dict[str, Any] = {}
    session: str | None = None
    publishes: list[str] | None = None


def case_of(trace: Trace, worker: str) -> Case:
    """Return the case that expects of a worker what it did with an event.

    `worker` is a name without the capability. A run that failed is expected to succeed: its test fails until
    the handler is corrected.
    """
    runs = [run for run in trace.invocations if run.worker.rpartition(":")[2] == worker]
    went_well = all(run.outcome == "ok" for run in runs)
    published = [below.event.kind for run in runs for below in run.events] if went_well else None
    event = trace.event
    return Case(event.kind, dict(event.payload), event.session_id, published)


def as_test_cell(case: Case, worker: str) -> str:
    """Return the cell that keeps a case in a notebook."""
    body = {k: v for k, v in msgspec.to_builtins(case).items() if v is not None}
    return f"%%worker {worker} --test\n{json.dumps(body, indent=2, ensure_ascii=False)}"


def as_module(cases: Sequence[Case], worker: str, script: str) -> str:
    """Return a pytest module that fires each case's event at the worker of a script.

    Args:
        cases: one test is made of each.
        worker: the worker's name.
        script: its path in the capability.
    """
    path = "".join(f" / {json.dumps(part)}" for part in script.split("/"))
    lines = [
        f'"""Events that were recorded, fired at worker {worker!r} again."""',
        "",
        "from pathlib import Path",
        "",
        "import pytest",
        "",
        "from dnworker.testing import load_worker",
        "",
        "# This file belongs into tests/ of the capability.",
        "# It needs: pip install 'dnworker[runtime]' pytest pytest-asyncio",
        f"SCRIPT = Path(__file__).parents[1]{path}",
    ]
    names: set[str] = set()
    for case in cases:
        stem = name = re.sub(r"[^A-Za-z0-9_]+", "_", case.event).strip("_") or "event"
        number = 2
        while name in names:
            name, number = f"{stem}_{number}", number + 1
        names.add(name)
        lines += ["", "", *_function(case, worker, name)]
    return "\n".join(lines) + "\n"


def cases_of(module: str) -> tuple[str, list[Case]] | None:
    """Return the worker and the cases of a module that `as_module` wrote; None for any other module.

    A module that was changed by hand is any other module.
    """
    try:
        tree = parse(module)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return None
    match = _TITLE.fullmatch(ast.get_docstring(tree) or "")
    script = re.search(r"^SCRIPT = Path\(__file__\)\.parents\[1\](.*)$", module, re.MULTILINE)
    if match is None or script is None:
        return None
    worker = match[1]
    try:
        cases = [case for node in tree.body if (case := _case_in(node)) is not None]
        path = "/".join(json.loads(part) for part in script[1].split(" / ")[1:])
    except (ValueError, RecursionError):
        return None
    return (worker, cases) if as_module(cases, worker, path) == module else None


def _case_in(node: ast.stmt) -> Case | None:
    if not isinstance(node, ast.AsyncFunctionDef):
        return None
    event, payload, session, publishes = "", {}, None, None
    for inner in ast.walk(node):
        match inner:
            case ast.Assign(targets=[ast.Name(id="payload")], value=value):
                payload = ast.literal_eval(value)
            case ast.Call(func=ast.Attribute(attr="fire"), args=[ast.Constant(value=str() as event), *_]):
                session = next(
                    (ast.literal_eval(k.value) for k in inner.keywords if k.arg == "session_id"), None
                )
            case ast.Compare(left=ast.Name(id="published"), comparators=[kinds]):
                publishes = ast.literal_eval(kinds)
    return Case(event, payload, session, publishes)


def _function(case: Case, worker: str, name: str) -> Iterator[str]:
    payload = pprint.pformat(case.payload, width=90, sort_dicts=False).replace("\n", f"\n{' ' * 14}")
    arguments = [repr(case.event), "payload", f"only={worker!r}"]
    if case.session is not None:
        arguments.append(f"session_id={case.session!r}")
    yield "@pytest.mark.asyncio"
    yield f"async def test_{name}(runtime):"
    yield f"    payload = {payload}"
    yield f"    await runtime.add(load_worker(SCRIPT, {worker!r}))"
    yield f"    trace = await runtime.fire({', '.join(arguments)})"
    yield "    assert trace.invocations, 'no handler ran'"
    yield "    assert trace.ok, str(trace)"
    if case.publishes is not None:
        yield "    published = [below.event.kind for run in trace.invocations for below in run.events]"
        yield f"    assert published == {case.publishes!r}"
