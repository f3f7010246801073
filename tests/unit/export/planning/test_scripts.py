"""Paths of scripts: they hide no module."""

from __future__ import annotations

import pytest

from tests.unit.export.builders import handler, plan


def test_a_script_never_shadows_a_module():
    cell = "import queue", handler("print(queue)").replace("bridge", "queue")
    assert "workers/queue-worker.py" in plan(*cell).files


@pytest.mark.parametrize("name", ["dnworker", "dreadnode", "msgspec", "json", "httpx"])
def test_a_script_hides_no_module_that_its_sdk_imports(name):
    cell = handler("pass").replace("%%worker bridge", f"%%worker {name}")
    assert f"workers/{name}-worker.py" in plan(cell).files
