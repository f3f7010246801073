"""The wheel of this framework in an export."""

from __future__ import annotations

import zipfile

from tests.unit.export.builders import handler, plan


def test_the_dnworker_target_carries_a_wheel(tmp_path):
    files = plan(handler("pass"), target="dnworker").files
    (wheel,) = [name for name in files if name.endswith(".whl")]
    assert f'# dnworker = {{ path = "../{wheel}" }}' in files["workers/bridge.py"].decode()
    (tmp_path / "w.whl").write_bytes(files[wheel])
    names = zipfile.ZipFile(tmp_path / "w.whl").namelist()
    assert "dnworker/workers/worker.py" in names
    assert any(name.endswith("RECORD") for name in names)
