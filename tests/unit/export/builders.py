"""Cells and plans for tests of the exporter: workers as text, and what their export is."""

from __future__ import annotations

from textwrap import dedent

import pytest

from dnworker_jupyter.export.planning.plan import Plan, plan_export
from dnworker_jupyter.export.slicing.problems import NotExportable
from dnworker_jupyter.kernel.cells import Cell

HANDLER = """
%%worker bridge
@worker.on_event("a")
async def on_a(event: EventEnvelope, client: RuntimeClient) -> None:
    {body}
"""


def plan(*cells: str, **options) -> Plan:
    sources = [Cell(number, dedent(text).strip("\n")) for number, text in enumerate(cells, 1)]
    return plan_export(sources, default_name="demo", **options)


def script(*cells: str, **options) -> str:
    return plan(*cells, **options).files["workers/bridge.py"].decode()


def problems(*cells: str) -> list[str]:
    with pytest.raises(NotExportable) as refused:
        plan(*cells)
    return [str(r) for r in refused.value.problems]


def handler(body: str) -> str:
    return HANDLER.format(body=body)
