"""Reads `--test` cells: an event and what a worker should do with it; used by planning and magics."""

from __future__ import annotations

import json
import re

import msgspec

from dnworker.core.errors import UsageError
from dnworker.events.cases import Case
from dnworker_jupyter.syntax.options import nearest, read_body, read_worker_line

_FIELDS = ("event", "payload", "session", "publishes")


def read_case(body: str) -> Case:
    """Read the body of a test cell: `event`, and if need be `payload`, `session`, `publishes`.

    Raises:
        UsageError: it is no such object; names the field.
    """
    try:
        case = msgspec.convert(read_body(body, "test"), Case)
    except msgspec.ValidationError as exc:
        raise UsageError(
            f"a test has the fields {', '.join(_FIELDS)}: {_plainly(str(exc))}", code="DN117"
        ) from None
    try:
        json.dumps(case.payload, allow_nan=False)
    except (TypeError, ValueError) as exc:
        raise UsageError(
            f"payload: an event carries JSON, and this is none: {exc}; quote it if it is text", code="DN117"
        ) from None
    if not case.event:
        raise UsageError("a test needs the kind of its event: event: turn.completed", code="DN117")
    return case


def _plainly(problem: str) -> str:
    """Return a problem of msgspec in the words of the cell."""
    if (unknown := re.fullmatch(r"Object contains unknown field `(.*)`", problem)) is not None:
        return f"there is no {unknown[1]!r}{nearest(unknown[1], _FIELDS)}"
    wrong = re.fullmatch(r"Expected `(.*)`, got `(.*)` - at `\$\.?(.*)`", problem)
    if wrong is None:
        return problem
    kinds = {"str": "text", "object": "an object", "array": "a list", "null": "nothing", "int": "a number"}
    wanted, got = (
        " or ".join(kinds.get(part, part) for part in text.split(" | ")) for text in wrong.groups()[:2]
    )
    return f"{wrong[3]} is {got}, and should be {wanted}"


def is_test(source: str, *, readable: bool = False) -> bool:
    """Return whether a cell is a test; if `readable`, one whose body is one."""
    lines = source.split("\n")
    first = next((n for n, line in enumerate(lines) if line.strip() and not line.lstrip().startswith("#")), 0)
    if not lines[first].startswith("%%worker "):
        return False
    try:
        found = read_worker_line(lines[first].removeprefix("%%worker ")).test
        if found and readable:
            read_case("\n".join(lines[first + 1 :]))
    except UsageError:
        return False
    return found
