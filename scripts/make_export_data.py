"""Writes the expected scripts of tests/data/export again; look at the difference before you commit it."""

from __future__ import annotations

from pathlib import Path

from dnworker_jupyter.cells import Cell
from dnworker_jupyter.export.plan import plan_export

DATA = Path(__file__).parent.parent / "tests" / "data" / "export"

if __name__ == "__main__":
    for file in sorted(DATA.glob("*.txt")):
        texts = file.read_text(encoding="utf-8").split("\n# ---- next cell ----\n")
        cells = [Cell(number, text.strip("\n")) for number, text in enumerate(texts, 1)]
        script = plan_export(cells, default_name="demo").files["workers/bridge.py"]
        file.with_suffix(".expected.py").write_bytes(script)
        print(file.stem)
