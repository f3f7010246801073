"""Runs a notebook in a real kernel, as `jobs.live` does in the shell of one: slower, and the truth."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tests.kernel.session import KernelSession

from .jobs import EXPORT

RECORD = """
def _():
    import json, runpy
    global _record, _fires
    _record, _fires = runpy.run_path({path!r}), json.loads({fires!r})
_()
await dn.settle()
__import__("builtins").print("ANSWER" + __import__("json").dumps({{
    "handlers": _record["handlers_of"](dn.runtime()),
    "effects": await _record["record"](dn.runtime(), _fires),
}}) + "END")
"""


def run_in_kernel(
    directory: Path, steps: Sequence[tuple[str, str, bool]], fires: list[list[Any]], export: str | None
) -> dict[str, Any]:
    """Do what `jobs.live` does, in a kernel of the nursery."""
    before = dict(os.environ)
    os.environ |= {
        "HOME": str(directory),
        "IPYTHONDIR": str(directory),
        "DNWORKER_JOURNAL": "off",
        "PYTHONHASHSEED": "0",
    }
    try:
        with contextlib.chdir(directory):
            session = KernelSession()
    finally:
        os.environ.clear()
        os.environ.update(before)
    try:
        return _run(session, steps, fires, export)
    finally:
        session.close()


def _run(
    session: KernelSession,
    steps: Sequence[tuple[str, str, bool]],
    fires: list[list[Any]],
    export: str | None,
) -> dict[str, Any]:
    session.run("%load_ext dnworker")
    answer: dict[str, Any] = {"failed": []}
    for number, (source, cell_id, fails) in enumerate(steps, 1):
        reply = session.run(source, cell_id)
        if (reply.status == "ok") == fails:
            answer["failed"].append([number, source, reply.error or "it does not fail"])
    if export is not None:
        reply = session.run(f"%capability export {export} {EXPORT}", "export")
        answer["refused"] = None if reply.status == "ok" else reply.error
    path = str(Path(__file__).with_name("record.py"))
    reply = session.run(RECORD.format(path=path, fires=json.dumps(fires)), "record")
    text = reply.streams.get("stdout", "")
    if reply.status != "ok" or "ANSWER" not in text:
        return {"crash": f"the kernel answers {reply.status}: {reply.text}"}
    return answer | json.loads(text[text.index("ANSWER") + 6 : text.rindex("END")])
