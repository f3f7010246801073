"""What a notebook asked installers for, against what is installed."""

from __future__ import annotations

import pytest

from dnworker_jupyter.export.slicing.asked import read_asked
from dnworker_jupyter.export.slicing.requirements import requirement_of
from dnworker_jupyter.syntax.cell import Cell
from tests.unit.export.sites import in_place, install, project


@pytest.fixture
def site(tmp_path, monkeypatch):
    site = tmp_path / "site"
    install(site, "plain-one", "plain_one.py", version="2.5.1")
    monkeypatch.setattr(
        "sys.path", [str(site)]
    )  # reading the metadata of all that is installed takes a while
    return site


def asked(*cells, **options):
    return read_asked([Cell(number, text) for number, text in enumerate(cells, 1)], **options)


@pytest.mark.parametrize(
    ("cell", "requirement"),
    [
        ("%pip install plain_one", "plain-one>=2.5.1,<3"),
        ("%pip install 'Plain.One[b,a]>=2'", "plain-one[a,b]>=2.5.1,<3"),
        ("%pip install 'plain-one<2.9'", "plain-one>=2.5.1,<2.9"),
        ("%pip install plain-one==2.5.1", "plain-one==2.5.1"),
        ("%pip install 'plain-one~=2.4'", "plain-one>=2.5.1,~=2.4"),
        ("%pip install 'plain-one!=2.6'", "plain-one>=2.5.1,!=2.6,<3"),
        ("%conda install plain-one=2.5", "plain-one>=2.5.1,==2.5.*"),
        ("%pip install \"plain-one; python_version >= '3'\"", 'plain-one>=2.5.1,<3; python_version >= "3"'),
    ],
)
def test_what_was_asked_for_bounds_what_is_installed(site, cell, requirement):
    made = asked(cell)
    assert str(requirement_of("plain-one", made)) == requirement
    assert list(made.notes) == []


def test_what_is_installed_counts_where_another_version_was_asked_for_last(site):
    made = asked("%pip install 'plain-one<2'")
    assert str(requirement_of("plain-one", made)) == "plain-one>=2.5.1,<3"
    assert list(made.notes) == [
        "cell [1] asks for plain-one<2, and 2.5.1 is installed: scripts require what is installed"
    ]
    made = asked("%pip install plain-one==1.0", "%pip install 'plain-one<2.9'")
    assert str(requirement_of("plain-one", made)) == "plain-one>=2.5.1,<2.9"
    assert list(made.notes) == [], "a later cell asked for what is there"


def test_a_file_of_limits_bounds_and_asks_for_nothing(site, tmp_path):
    (tmp_path / "limits.txt").write_text("plain-one<2.7\nother<1\n")
    made = asked("%pip install -c limits.txt plain-one", beside=tmp_path)
    assert str(requirement_of("plain-one", made)) == "plain-one>=2.5.1,<2.7"
    assert list(made.where) == ["plain-one"]


@pytest.mark.parametrize(
    ("cells", "note"),
    [
        (["%pip install gone"], "cell [1] installs gone, which is not installed now; no script requires it"),
        (
            ["%pip install gone", "%pip uninstall -y gone"],
            "cell [1] installs gone, and cell [2] uninstalls it; no script requires it",
        ),
        (
            ["%pip install {name}"],
            "cell [1] installs what a name holds, {name}; scripts require it only where they import it",
        ),
        (
            ["%pip install git+https://user:pw@example.com/gone"],
            "cell [1] installs git+https://example.com/gone, which is not installed now; no script requires it",
        ),
        (
            ["%pip install ../gone"],
            "cell [1] installs ../gone, which is not installed now; no script requires it",
        ),
        (
            ["%pip install gone=2"],
            "cell [1] asks for gone=2, which is no requirement (PEP 508); scripts require it only where they "
            "import it",
        ),
        (
            ["%pip install dist/gone-1.0-py3-none-any.whl"],
            "cell [1] installs gone, which is not installed now; no script requires it",
        ),
        (
            ["%conda install graphviz"],
            "cell [1] asks conda for graphviz, which is no distribution of Python here; no script requires it",
        ),
        (
            ["%pip install -r gone.txt"],
            "cell [1]: gone.txt cannot be read: No such file or directory; of what it installs, scripts require "
            "what they import",
        ),
        (
            ["%pip install --index-url https://user:pw@example.com/simple plain-one"],
            "cell [1] names an index of packages (--index-url), and no script does: where the capability runs, uv has "
            "to be told of it, as by UV_INDEX",
        ),
    ],
)
def test_what_an_export_does_not_follow_is_said(site, tmp_path, cells, note):
    made = asked(*cells, beside=tmp_path)
    assert list(made.notes) == [note]
    assert "gone" not in made.where


def test_what_notebooks_install_for_themselves_is_for_no_script(site):
    made = asked("%pip install -U pip uv setuptools ipykernel 'dnworker[jupyter]' jupyterlab")
    assert not made.where
    assert not made.notes


def test_what_a_marker_excludes_here_is_asked_for_as_it_was_written(site):
    made = asked("%pip install \"gone>=1; sys_platform == 'nowhere'\"")
    assert made.elsewhere == {"gone": 'gone>=1; sys_platform == "nowhere"'}
    assert not made.notes


def test_a_text_that_looks_like_a_magic_asks_for_nothing(site):
    assert not asked("X = '''\n%pip install plain-one\n'''").where


@pytest.mark.parametrize(
    ("word", "url"),
    [
        (
            "git+https://example.com/me/tool.git@main",
            {"url": "https://example.com/me/tool.git", "vcs_info": {"vcs": "git", "commit_id": "c0ffee"}},
        ),
        (
            "git+ssh://git@example.com/me/tool",
            {"url": "ssh://git@example.com/me/tool.git", "vcs_info": {"vcs": "git", "commit_id": "c0ffee"}},
        ),
        (
            "https://example.com/x/own_tool-1.0.0-py3-none-any.whl",
            {"url": "https://example.com/x/own_tool-1.0.0-py3-none-any.whl", "archive_info": {}},
        ),
        ("'git+https://example.com/other#egg=own-tool'", None),
        ("'own-tool @ git+https://example.com/me/tool'", None),
    ],
)
def test_a_url_is_the_distribution_that_was_installed_from_it(site, word, url):
    install(site, "own-tool", "own_tool.py", url=url)
    assert list(asked(f"%pip install {word}").where) == ["own-tool"]


def test_a_path_is_the_distribution_that_was_installed_from_it(site, tmp_path):
    root = project(tmp_path / "my lib", "own_tool.py")
    install(site, "own-tool", "_own.pth", url=in_place(root))
    install(site, "copied", "copied.py", url={"url": (tmp_path / "copied").as_uri(), "dir_info": {}})
    (tmp_path / "notebooks").mkdir()
    made = asked("%pip install -e '../my lib[x]' ../copied", beside=tmp_path / "notebooks")
    assert list(made.where) == ["own-tool", "copied"]
    assert made.extras == {"own-tool": {"x"}}


def test_a_package_of_conda_is_the_distribution_that_it_installed(site, tmp_path, monkeypatch):
    (tmp_path / "conda-meta").mkdir()
    (tmp_path / "conda-meta" / "py-plain-2.5.1-0.json").write_text(
        '{"name": "py-plain", "files": ["lib/python3.11/site-packages/plain_one-2.5.1.dist-info/METADATA"]}'
    )
    monkeypatch.setattr("sys.prefix", str(tmp_path))
    assert list(asked("%conda install py-plain").where) == ["plain-one"]
