"""A recorded event as text: a cell that fires it again, or a pytest test that does."""

from __future__ import annotations

import json
import pprint
import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dnworker.trace import Trace

_BARE = re.compile(r"[A-Za-z_][\w./:-]*")
_KEY = re.compile(r"[A-Za-z_]\w*")
_WORDS = frozenset({"true", "false", "null", "True", "False", "None", "NaN", "Infinity"})
LONGEST_LINE = 100


def as_cell(kind: str, payload: Mapping[str, Any], session: str | None) -> str:
    """Return the cell that fires this event: a line where that reads well, else `%%fire` with a body."""
    scope = f" --session {_word(session)}" if session else ""
    fields = [_field(key, value) for key, value in payload.items()]
    line = " ".join([f"%fire {_word(kind)}", *(field or "" for field in fields)]) + scope
    if payload and all(fields) and len(line) <= LONGEST_LINE:
        return line
    return f"%%fire {_word(kind)}{scope}\n{json.dumps(payload, indent=2, ensure_ascii=False)}"


def _word(text: str | None) -> str:
    return text if text and _BARE.fullmatch(text) else json.dumps(text, ensure_ascii=False)


def _field(key: str, value: object) -> str | None:
    """Return `key=value` as `%fire` reads it; None for what reads better in a body."""
    if not _KEY.fullmatch(key):
        return None
    match value:
        case bool() | int() | None:
            return f"{key}={json.dumps(value)}"
        case str() if _BARE.fullmatch(value) and value not in _WORDS:
            return f"{key}={value}"
    return None


def as_test(trace: Trace, worker: str, script: str) -> str:
    """Return a pytest module that fires the event at the worker of a script, and expects what became of it.

    A run that failed is expected to succeed: the test is red until the handler is mended.

    Args:
        trace: what became of the event.
        worker: the worker's name, without its capability.
        script: its path in the capability.
    """
    event = trace.event
    runs = [run for run in trace.invocations if run.worker.rpartition(":")[2] == worker]
    published = [below.event.kind for run in runs for below in run.events]
    path = "".join(f" / {json.dumps(part)}" for part in script.split("/"))
    arguments = [repr(event.kind), "PAYLOAD", f"only={worker!r}"]
    if event.session_id is not None:
        arguments.append(f"session_id={event.session_id!r}")
    name = re.sub(r"\W+", "_", event.kind).strip("_") or "event"
    lines = [
        f'"""An event that was recorded, fired at worker {worker!r} again."""',
        "",
        "from pathlib import Path",
        "",
        "import pytest",
        "",
        "from dnworker.testing import load_worker",
        "",
        f"# Event #{event.seq}, {event.kind!a}.",
        "# This file belongs into tests/ of the capability.",
        "# It needs: pip install 'dnworker[runtime]' pytest pytest-asyncio",
        f"SCRIPT = Path(__file__).parents[1]{path}",
        "",
        f"PAYLOAD = {pprint.pformat(dict(event.payload), width=100, sort_dicts=False)}",
        "",
        "",
        "@pytest.mark.asyncio",
        f"async def test_{name}_{event.seq}(runtime):",
        f"    await runtime.add(load_worker(SCRIPT, {worker!r}))",
        f"    trace = await runtime.fire({', '.join(arguments)})",
        "    assert trace.invocations, 'no handler ran'",
        "    assert trace.ok, str(trace)",
    ]
    if all(run.outcome == "ok" for run in runs):
        lines += [
            "    published = [below.event.kind for run in trace.invocations for below in run.events]",
            f"    assert published == {published!r}",
        ]
    return "\n".join(lines) + "\n"
