"""Exports the running kernel for `dnworker export --execute`, which waits for the answer: a file of JSON."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from IPython.display import display

from dnworker.core.errors import DnworkerError, code_of
from dnworker_jupyter.export.answers import PROGRESS
from dnworker_jupyter.magics.context import MagicContext


async def answer(context: MagicContext, text: str) -> None:
    """Export, or compare, as a request says, and write what became of it to the file that it names.

    Args:
        context: of the notebook.
        text: the request in JSON: `answer` is the file, `directory` the capability's, and the others are the
            options of `%capability`.
    """
    request: dict[str, Any] = json.loads(text)
    await context.transactions.ready()
    found = await context.loop.enter(lambda: _export(context, request))
    Path(request["answer"]).write_text(json.dumps(found), encoding="utf-8")


async def _export(context: MagicContext, request: dict[str, Any]) -> dict[str, Any]:
    from dnworker_jupyter.magics.live_export import LiveExport  # the exporter is imported when it is needed

    try:
        directory = Path(request["directory"])
        export = LiveExport(context, directory, target=request["target"], topology=request["topology"])
        if request["diff"]:
            found = await export.diff()
            changes = [str(change) for change in found.changes]
            report = {"ok": True, "step": found.step, "suggested": found.suggested, "changes": changes}
            return {"ok": True, "text": str(found), "data": report}
        summary = await export.write(
            _show_progress,
            force=request["force"],
            lock=request["lock"],
            checked=request["check"],
            events=None if request["events"] is None else Path(request["events"]),
            sdk=request["sdk"],
        )
    except (DnworkerError, OSError) as exc:
        as_json = getattr(exc, "as_json", None)  # a refused export has a list of reasons
        data = as_json() if as_json else {"error": str(exc)}
        return {"ok": False, "text": str(exc), "data": data | {"code": code_of(exc)}}
    return {"ok": True, "text": summary, "data": {"ok": True}}


def _show_progress(waits_for: str, done: int, total: int) -> None:
    display({PROGRESS: {"text": waits_for, "done": done, "total": total}}, raw=True)
