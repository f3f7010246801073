"""Writes the expected trees of tests/data/export again; look at the difference before you commit it."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))

from tests.golden import DATA, made, names

if __name__ == "__main__":
    for name in names():
        shutil.rmtree(DATA / name, ignore_errors=True)
        for path, text in made(name).items():
            file = DATA / name / path
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(text, encoding="utf-8")
        print(name, "is refused" if (DATA / name / "refused.txt").exists() else "")
