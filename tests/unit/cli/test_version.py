"""`dnworker --version`: the version is its second word, and the build, Python and system follow."""

from __future__ import annotations

import json
import platform

import pytest

from dnworker._version import __version__
from dnworker.cli import version
from dnworker.cli.main import main


@pytest.mark.parametrize(
    ("build", "told"),
    [("build 1a2b3c4d of 2026-11-27", "(build 1a2b3c4d of 2026-11-27, Python "), (None, "(Python ")],
)
def test_the_version_comes_first_and_the_build_where_it_is_known(build, told, monkeypatch, capsys):
    monkeypatch.setattr(version, "build", lambda: build)
    with pytest.raises(SystemExit) as ended:
        main(["--version"])
    out = capsys.readouterr().out
    assert ended.value.code == 0
    assert out.split()[:2] == ["dnworker", __version__]
    assert told in out
    assert platform.python_version() in out


@pytest.mark.parametrize("words", [["--version", "--json"], ["--json", "--version"]])
def test_the_version_is_also_json(words, capsys):
    assert main(words) == 0
    assert json.loads(capsys.readouterr().out)["version"] == __version__
