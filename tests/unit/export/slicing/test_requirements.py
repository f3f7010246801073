"""Imports become requirements, with bounds and extras."""

from __future__ import annotations

import sys

import msgspec
import pytest

from dnworker_jupyter.export.slicing.requirements import bounds, resolve, wanted_extras
from tests.unit.export.builders import handler, plan, script


def test_every_script_declares_only_what_it_imports():
    text = script("import msgspec, yaml\nimport json", handler("print(json.dumps({}), msgspec)"))
    header = text.partition('# ///\n"""')[0]
    assert f'"msgspec>={msgspec.__version__}"' in header
    assert "yaml" not in text


def test_imports_become_distributions_with_bounds():
    needs = resolve(["yaml", "json", "dnworker"])
    assert [str(r) for r in needs.requirements.values()] == [
        f"pyyaml{bounds(sys.modules['yaml'].__version__)}"
    ]


@pytest.mark.parametrize(
    ("version", "expected"),
    [
        ("2.31.0", ">=2.31.0,<3"),
        ("1.2.3+local", ">=1.2.3,<2"),
        ("3.0.0rc1", ">=3.0.0rc1,<4"),
        ("0.28.1", ">=0.28.1"),
        ("24.8.0", ">=24.8.0"),  # a date, as black's
        ("2026.10.19", ">=2026.10.19"),
        ("17.4", ">=17.4"),
    ],
)
def test_the_next_major_is_the_upper_bound_where_the_project_counts_that_way(version, expected):
    assert bounds(version) == expected


def test_extras_that_were_asked_for_are_kept():
    cells = ["%pip install 'httpx[http2]' pandas  # both\n!uv pip install 'Ruamel.YAML[x]'", "x = '%pip'"]
    assert wanted_extras(cells, ["anyio[trio]>=4"]) == {
        "httpx": {"http2"},
        "ruamel-yaml": {"x"},
        "anyio": {"trio"},
    }
    text = script("%pip install -q 'httpx[http2,cli]'", "import httpx", handler("print(httpx)"))
    assert '"httpx[cli,http2]>=' in text


def test_a_module_beside_the_notebook_comes_before_an_installed_one(tmp_path):
    (tmp_path / "yaml.py").write_text("X = 1\n")
    assert "workers/yaml.py" in plan("import yaml", handler("yaml.X"), beside=tmp_path).files
