"""Two files never have one path."""

from __future__ import annotations

import pytest

from dnworker_jupyter.export.slicing.problems import NotExportable
from tests.unit.export.builders import handler, plan


def test_a_worker_is_not_written_over_a_module_beside_the_notebook(tmp_path):
    (tmp_path / "helper.py").write_text("def f(): return 1\n")
    cell = handler("helper.f()").replace("%%worker bridge", "%%worker bridge --file workers/helper.py")
    with pytest.raises(
        NotExportable, match="workers/helper.py: a module beside the notebook would be written over"
    ):
        plan("import helper", cell, beside=tmp_path)
