"""The wheel of this framework in an export."""

from __future__ import annotations

import importlib.resources
import zipfile

from dnworker_jupyter.export.planning.wheel import build_wheel
from tests.unit.export.builders import handler, plan


def test_the_dnworker_target_carries_a_wheel(tmp_path):
    files = plan(handler("pass"), target="dnworker").files
    (wheel,) = [name for name in files if name.endswith(".whl")]
    assert f'# dnworker = {{ path = "../{wheel}" }}' in files["workers/bridge.py"].decode()
    (tmp_path / "w.whl").write_bytes(files[wheel])
    names = zipfile.ZipFile(tmp_path / "w.whl").namelist()
    assert "dnworker/workers/worker.py" in names
    assert any(name.endswith("RECORD") for name in names)


def test_the_wheel_stays_the_same_where_the_package_changes_on_disk_meanwhile(tmp_path, monkeypatch):
    (tmp_path / "code.py").write_text("one = 1")
    monkeypatch.setattr(importlib.resources, "files", lambda package: tmp_path)
    build_wheel.cache_clear()
    try:
        first = plan(handler("pass"), target="dnworker").files
        (tmp_path / "code.py").write_text("two = 2")
        assert plan(handler("pass"), target="dnworker").files == first
    finally:
        build_wheel.cache_clear()
