"""The scripts that try a package and look for programs fail where they should, with a line that says why."""

from __future__ import annotations

import pytest

from scripts import smoke, test_tools


def program(directory, name, code):
    """Write a program of shell code, and return it."""
    file = directory / name
    file.write_text(f"#!/bin/sh\n{code}\n")
    file.chmod(0o755)
    return file


def test_a_serve_that_ends_well_and_tells_no_address_fails(tmp_path):
    with pytest.raises(SystemExit, match="ended before it told an address:\nnothing to serve"):
        smoke._serve(program(tmp_path, "dnworker", "echo nothing to serve"), tmp_path)


def test_a_serve_that_says_nothing_is_ended(tmp_path, monkeypatch):
    monkeypatch.setattr(smoke, "SERVE_LIMIT", 0.1)
    with pytest.raises(SystemExit, match="ended before it told an address"):
        smoke._serve(program(tmp_path, "dnworker", "exec sleep 600"), tmp_path)


@pytest.mark.parametrize(
    ("version", "code", "says"),
    [
        (
            "7.75.0",
            1,
            "curl is too old (curl 7.75.0): the tests of the documentation need curl 7.76 or later",
        ),
        ("7.76.1", 0, ""),
        ("8.5.0", 0, ""),
        (None, 1, "no curl was found: install curl 7.76 or later, the tests of the documentation run it"),
    ],
)
def test_a_curl_that_is_old_or_missing_is_one_line(tmp_path, monkeypatch, capsys, version, code, says):
    for name in ("bash", "chromium"):
        program(tmp_path, name, "")
    if version is not None:
        program(tmp_path, "curl", f"echo curl {version}")
    monkeypatch.setenv("PATH", str(tmp_path))
    assert test_tools.main() == code
    said = capsys.readouterr().out.splitlines()
    assert len(said) == code
    assert "".join(said).endswith(says)
