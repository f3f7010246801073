"""Problems as people and tools get them."""

from __future__ import annotations

import pytest

from dnworker_jupyter.export.planning.plan import plan_export
from dnworker_jupyter.export.slicing.problems import NotExportable, ProblemReport
from dnworker_jupyter.kernel.cells import Cell
from tests.unit.export.builders import handler


def test_every_reason_is_told_in_one_report_with_its_place_for_tools_and_for_people():
    cells = [
        "a = input()",
        "import no_such_module",
        handler("print(a, no_such_module)"),
        "%%worker empty\nx = 1",
    ]
    sources = [Cell(n, text.strip(), id=f"id-{n}") for n, text in enumerate(cells, 1)]
    with pytest.raises(NotExportable) as refused:
        plan_export(sources, default_name="demo")
    told = refused.value.as_json()
    assert told["error"] == "3 things cannot be exported; nothing was written"
    assert [(r["cell"], r["cell_id"], r["line"], r["name"]) for r in told["refusals"]] == [
        (2, "id-2", 1, "module 'no_such_module'"),
        (3, "id-3", 4, "'a'"),
        (4, "id-4", None, "worker 'empty'"),
    ]
    assert all(r["why"] and r["remedy"] for r in told["refusals"])
    html = ProblemReport(refused.value.title, refused.value.problems)._repr_html_()
    assert '<a href="#cell-id=id-3">cell [3], line 4, column 11</a>: &#x27;a&#x27;: cell [1], line 1' in html
