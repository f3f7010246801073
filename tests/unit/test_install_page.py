"""The page on installation says what pyproject.toml says: each extra, and the versions of Python."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs/start/install.md").read_text(encoding="utf-8")
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]


def test_the_page_has_a_row_for_each_extra():
    assert set(re.findall(r"^\| `dnworker\[(\w+)\]`", PAGE, re.MULTILINE)) == {
        *PROJECT["optional-dependencies"]
    }


def test_the_page_names_the_versions_of_python_that_the_package_is_for():
    tried = re.findall(r":: Python :: (3\.\d+)", "\n".join(PROJECT["classifiers"]))
    assert f"You need Python {tried[0]} to {tried[-1]}, " in PAGE
