"""Imports become requirements, with bounds and extras."""

from __future__ import annotations

import sys

import msgspec
import pytest

from dnworker_jupyter.export.slicing.asked import read_asked
from dnworker_jupyter.export.slicing.requirements import (
    bounds,
    places_named,
    resolve,
    share_asked,
    wanted_extras,
)
from dnworker_jupyter.syntax.cell import Cell
from tests.unit.export.builders import handler, plan, script
from tests.unit.export.sites import in_place, install, project


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


@pytest.fixture
def site(tmp_path, monkeypatch):
    site = tmp_path / "site"
    install(site, "frames", "frames/__init__.py", version="2.5.1")
    install(site, "drawing", "drawing/__init__.py")
    install(site, "sheet-driver", "sheet_driver/__init__.py", version="3.1")
    install(site, "acme-storage", "acme/storage.py")
    install(site, "acme-queue", "acme/queue.py")
    monkeypatch.setattr(
        "sys.path", [str(site)]
    )  # reading the metadata of all that is installed takes a while
    return site


def asked(*cells):
    return read_asked([Cell(number, text) for number, text in enumerate(cells, 1)])


def shared(wanted, *imports, notebook=()):
    """What each script requires that imports these modules, in a notebook that also imports `notebook`."""
    needs = [resolve([module] if module else [], asked=wanted) for module in imports]
    share_asked(needs, wanted, [*filter(None, imports), *notebook])
    return [sorted(map(str, one.requirements.values())) for one in needs]


def test_what_was_asked_for_and_nothing_imports_goes_to_every_script_that_imports_of_third_parties(site):
    assert shared(asked("%pip install frames sheet-driver"), "frames", "json", "drawing") == [
        ["frames>=2.5.1,<3", "sheet-driver>=3.1"],
        [],
        ["drawing>=1.0.0,<2", "sheet-driver>=3.1"],
    ]


def test_what_was_asked_for_goes_to_the_only_script_in_any_case(site):
    assert shared(asked("%pip install 'sheet-driver<4'"), None) == [["sheet-driver>=3.1,<4"]]


def test_what_an_import_anywhere_explains_goes_to_the_scripts_that_import_it(site):
    wanted = asked("%pip install frames drawing")
    assert shared(wanted, "frames", notebook=["drawing"]) == [["frames>=2.5.1,<3"]]


def test_what_no_script_can_need_is_said(site):
    wanted = asked("%pip install sheet-driver")
    assert shared(wanted, None, None) == [[], []]
    assert list(wanted.notes) == [
        "cell [1] installs sheet-driver, and no worker imports what could need it: no script requires it"
    ]


def test_what_a_marker_excludes_here_is_required_as_it_was_asked_for(site):
    wanted = asked("%pip install \"gone[x]>=1; sys_platform == 'nowhere'\"")
    assert shared(wanted, "frames") == [["frames>=2.5.1,<3", 'gone[x]>=1; sys_platform == "nowhere"']]


def test_a_namespace_that_is_imported_alone_may_mean_all_that_is_below_it(site):
    assert sorted(resolve(["acme"]).requirements) == ["acme-queue", "acme-storage"]
    assert sorted(resolve(["acme", "acme.queue.put"]).requirements) == ["acme-queue"]


def test_a_part_of_a_namespace_that_nobody_has_is_unknown_by_its_whole_name(site):
    needs = resolve(["acme.queue", "acme.tables.Client", "none.at.all"])
    assert needs.unknown == {"acme.tables.Client", "none"}
    assert sorted(needs.requirements) == ["acme-queue"]


def test_a_directory_of_this_machine_is_said_with_who_needs_it(site, tmp_path, monkeypatch):
    root = project(tmp_path / "tool", "src/own_tool/__init__.py")
    install(site, "own-tool", "_own.pth", url=in_place(root))
    monkeypatch.setattr("sys.path", [str(site), str(root / "src")])
    needs = {name: resolve(["own_tool.part"]) for name in ("first", "second")}
    assert places_named(needs) == [
        f"first, second require own-tool from {root}: where the capability runs it must be there too; a release or a "
        "git URL of it would do everywhere"
    ]
