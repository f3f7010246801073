"""What installers are asked for, by their command lines and by files of requirements."""

from __future__ import annotations

import pytest

from dnworker_jupyter.export.slicing.install_lines import items_in


def read(cell, beside=None):
    return [(item.kind, item.text) for item in items_in(cell, "cell [1]", beside)]


@pytest.mark.parametrize(
    ("cell", "wanted"),
    [
        ("%pip install pandas<3", ["pandas<3"]),
        ("%pip install 'httpx[http2]>=0.27' -q -U", ["httpx[http2]>=0.27"]),
        ("%pip -q install a", ["a"]),
        ("!pip3 install a b", ["a", "b"]),
        ("!python -m pip install a", ["a"]),
        ("!{sys.executable} -m pip install a", ["a"]),
        ("!sudo -H pip install a", ["a"]),
        ("!PIP_INDEX=1 pip install a", ["a"]),
        ("%uv pip install a", ["a"]),
        ("!uv add a", ["a"]),
        ("!uv --quiet pip install --python 3.11 a", ["a"]),
        ("%pip install --target /x a --no-binary :all: --upgrade-strategy eager", ["a"]),
        ("%pip install \"pywin32; sys_platform == 'win32'\"", ["pywin32; sys_platform == 'win32'"]),
        ("%pip install git+https://example.com/a.git@v1#egg=a", ["git+https://example.com/a.git@v1#egg=a"]),
        ("%pip install -e ../lib", ["../lib"]),
        ("%pip install --editable='../lib[x]'", ["../lib[x]"]),
        ("%pip freeze", []),
        ("!apt-get install a", []),
        ("!npm install a", []),
        ("!echo pip install a", []),
        ("!pip list | grep install", []),
    ],
)
def test_the_words_of_a_command_are_told_apart_from_its_options(cell, wanted):
    assert read(cell) == [("install", text) for text in wanted]


@pytest.mark.parametrize(
    ("cell", "wanted"),
    [
        ("%conda install -y -c conda-forge pandas=2.1 numpy", ["pandas==2.1.*", "numpy"]),
        ("!conda install -n base 'scipy>=1.2' pandas==2.1.0", ["scipy>=1.2", "pandas==2.1.0"]),
        ("!mamba install conda-forge::pyarrow python=3.11", ["pyarrow"]),
        ("%conda install pandas=2.1=py311_0", ["pandas==2.1.*"]),
    ],
)
def test_what_conda_is_asked_for_is_read_as_a_requirement(cell, wanted):
    assert read(cell) == [("install by conda", text) for text in wanted]


def test_files_of_requirements_are_read_with_those_that_they_name(tmp_path):
    (tmp_path / "requirements.txt").write_text(
        "# why\n-r more/base.txt\npandas<3  # data\nhttpx[http2] \\\n    >=0.27 --hash=sha256:00\n"
        "--extra-index-url https://example.com\n-e ./lib\n-c limits.txt\n-r requirements.txt\n"
    )
    (tmp_path / "more").mkdir()
    (tmp_path / "more" / "base.txt").write_text("../wheels/x-1.0-py3-none-any.whl\nyarl\n")
    (tmp_path / "limits.txt").write_text("numpy<2\n")
    assert read("%pip install -r requirements.txt", tmp_path) == [
        ("install", f"{tmp_path}/more/../wheels/x-1.0-py3-none-any.whl"),
        ("install", "yarl"),
        ("install", "pandas<3"),
        ("install", "httpx[http2]      >=0.27"),
        ("index", "--extra-index-url"),
        ("install", f"{tmp_path}/lib"),
        ("limit", "numpy<2"),
    ]


def test_a_project_is_a_file_of_requirements_for_uv(tmp_path):
    (tmp_path / "pyproject.toml").write_text('[project]\ndependencies = ["yarl>=1"]\n')
    assert read("!uv pip install -rpyproject.toml", tmp_path) == [("install", "yarl>=1")]


def test_a_file_that_cannot_be_read_is_said(tmp_path):
    assert read("%pip install -r none.txt", tmp_path) == [
        ("unread", "none.txt cannot be read: No such file or directory")
    ]
    (tmp_path / "bytes.txt").write_bytes(b"\xff\xfe\x00\xd8")
    assert read("%pip install -r bytes.txt", tmp_path) == [("unread", "bytes.txt cannot be read: is no text")]


def test_what_is_uninstalled_is_told_apart():
    assert read("%pip uninstall -y pandas") == [("uninstall", "pandas")]
    assert read("!conda remove -y pandas") == [("uninstall by conda", "pandas")]
    assert read("!conda env update -f environment.yml")[0][0] == "unread"
