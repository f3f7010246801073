"""Writes bytecode as text that is the same for the same source, however much is compiled at once; for definitions.

Python 3.11 and later compile `module.function()` in another way where the same compilation has the `import`, as a
script has and a cell has not (`is_import_originated` of CPython's compiler): with `PUSH_NULL` and `LOAD_ATTR` in the
place of `LOAD_METHOD`, which moves all offsets.
"""

from __future__ import annotations

import bisect
import dis
from types import CodeType

_LEFT_OUT = frozenset({"PUSH_NULL", "NOP", "EXTENDED_ARG", "CACHE", "PRECALL"})
_SAME = {"LOAD_METHOD": "LOAD_ATTR", "CALL_METHOD": "CALL", "CALL_FUNCTION": "CALL"}
_BY_NAME = frozenset({*dis.hasname, *dis.haslocal, *dis.hasfree, *dis.hascompare})


def text_of(code: CodeType) -> str:
    """Return the instructions of code, and where it catches exceptions; constants by their index only."""
    kept = [one for one in dis.get_instructions(code) if one.opname not in _LEFT_OUT]
    offsets = [one.offset for one in kept]
    lines = []
    for one in kept:
        argument: object = one.arg
        if one.opcode in dis.hasjrel or one.opcode in dis.hasjabs:
            argument = bisect.bisect_left(offsets, one.argval)
        elif one.opcode in _BY_NAME:
            argument = one.argval
        lines.append(f"{_SAME.get(one.opname, one.opname)} {argument}")
    for entry in getattr(dis.Bytecode(code), "exception_entries", ()):
        places = (bisect.bisect_left(offsets, place) for place in (entry.start, entry.end, entry.target))
        lines.append(f"{' '.join(map(str, places))} {entry.depth} {entry.lasti}")
    return "\n".join(lines)
