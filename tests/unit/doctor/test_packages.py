"""The doctor on Python, packages and commands: each thing that can be wrong with them is found."""

from __future__ import annotations

import json
import sys
from importlib import metadata

import pytest

from dnworker._version import build
from dnworker.doctor import packages
from dnworker.doctor.packages import command, installations, interpreter, is_older, parse_requirement

REQUIRES = [
    "httpx>=0.27",
    'rich>=13.7; extra == "runtime"',
    'uv>=0.5.10; extra == "runtime"',
    'uvicorn<1,>=0.54; extra == "runtime"',
    'dnworker[runtime]; extra == "cluster"',
    'nats-py[nkeys]>=2.16; extra == "cluster"',
]
INSTALLED = {"httpx": "0.28.1", "rich": "13.10.0", "uv": "0.6", "uvicorn": "0.54.0"}


def found(**changes):
    installed = INSTALLED | changes
    return [*packages.packages(REQUIRES, installed.get)]


def test_what_is_installed_is_named_by_extras():
    (one,) = found()
    assert (one.mark, one.text) == ("ok", "extras: runtime; not installed: cluster")


def test_a_library_that_is_always_needed_is_a_problem_when_it_is_missing():
    assert str(found(httpx=None)[0]) == "problem  packages: dnworker lacks httpx; pip install 'dnworker'"


def test_an_extra_that_lacks_a_part_is_a_warning():
    first = found(rich=None)[0]
    assert (first.mark, first.text, first.remedy) == (
        "warning",
        "the extra runtime lacks rich",
        "pip install 'dnworker[runtime]'",
    )


REPEATED = [
    *REQUIRES[:4],
    *[line.replace("runtime", "cluster") for line in REQUIRES[1:4]],
    REQUIRES[5],
]
"""The metadata of a wheel, which repeats the packages of an extra that another one includes."""


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({}, ["extras: runtime; not installed: cluster"]),
        ({"nats-py": "2.16"}, ["extras: runtime, cluster"]),
        ({"rich": None}, ["the extra runtime lacks rich", "extras: none; not installed: cluster"]),
        ({"rich": "1"}, ["rich 1 is too old: dnworker[runtime] needs 13.7 or later"]),
    ],
)
def test_what_an_extra_includes_does_not_make_it_one_that_is_installed_in_part(changes, said):
    texts = [one.text for one in packages.packages(REPEATED, (INSTALLED | changes).get)]
    assert texts[: len(said)] == said
    assert len(texts) <= 2


def test_a_library_that_is_too_old_is_a_problem():
    first = found(rich="13.6.9")[0]
    assert (first.mark, first.remedy) == ("problem", "pip install --upgrade 'rich>=13.7'")
    assert first.text == "rich 13.6.9 is too old: dnworker[runtime] needs 13.7 or later"


def test_every_requirement_of_the_installed_dnworker_is_understood():
    lines = metadata.requires("dnworker")
    assert [line for line in lines if parse_requirement(line) is None and "dnworker[" not in line] == []
    assert not [one for one in packages.packages() if one.mark == "problem"]


@pytest.mark.parametrize(
    ("version", "least", "older"),
    [
        ("13.7", "13.7", False),
        ("13.7.0", "13.7", False),
        ("13.10", "13.7", False),
        ("9", "13.7", True),
        ("2.0rc1", "2.0", False),
        ("odd", "0.1", True),
    ],
)
def test_versions_are_compared_by_their_numbers(version, least, older):
    assert is_older(version, least) is older


def test_an_old_python_is_a_problem():
    (one,) = interpreter((3, 9))
    assert (one.mark, one.text) == ("problem", "Python 3.9 is older than 3.11")
    (one,) = interpreter()
    assert one.mark == "ok"


def test_two_installations_are_named(tmp_path):
    (one,) = installations([("1.0", tmp_path / "a"), ("2.0", tmp_path / "b")], tmp_path / "a")
    assert one.mark == "warning"
    assert "there are 2 dnworker: " in one.text


def test_a_source_that_hides_the_installed_one_is_named(tmp_path):
    (one,) = installations([("1.0", tmp_path / "a")], tmp_path / "here")
    assert (one.mark, one.text.partition(",")[0]) == (
        "warning",
        f"the dnworker that runs is {tmp_path / 'here'}",
    )


def test_an_editable_install_runs_from_its_source(tmp_path):
    about = tmp_path / "dnworker-1.0.dist-info"
    about.mkdir()
    (about / "METADATA").write_text("Name: dnworker\nVersion: 1.0\n")
    origin = {"url": (tmp_path / "my source").as_uri(), "dir_info": {"editable": True}}
    (about / "direct_url.json").write_text(json.dumps(origin))
    place = packages._package_of(metadata.PathDistribution(about))
    assert place == tmp_path / "my source" / "dnworker"


def program(directory, first_line):
    directory.mkdir()
    file = directory / "dnworker"
    file.write_text(f"{first_line}\n")
    file.chmod(0o755)
    return str(directory)


def test_a_command_of_another_installation_is_a_warning(tmp_path):
    other = program(tmp_path / "other", "#!/usr/bin/other-python")
    own = program(tmp_path / "own", f"#!{sys.executable}")
    (one,) = command({"PATH": f"{other}:{own}"}, tmp_path / "scripts")
    assert (one.mark, one.text) == (
        "warning",
        f"`dnworker` is {other}/dnworker, another installation than this one",
    )
    (one,) = command({"PATH": f"{own}:{other}"}, tmp_path / "scripts")
    assert (one.mark, one.text) == ("ok", f"`dnworker` is {own}/dnworker; after it on PATH: {other}/dnworker")


def test_a_command_in_the_directory_of_scripts_is_ours_also_by_a_link(tmp_path):
    own = program(tmp_path / "scripts", "#!/bin/sh")
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "dnworker").symlink_to(f"{own}/dnworker")
    (one,) = command({"PATH": str(tmp_path / "bin")}, tmp_path / "scripts")
    assert one.mark == "ok"


def test_a_path_without_the_command_is_a_warning(tmp_path):
    (one,) = command({"PATH": str(tmp_path)}, tmp_path / "scripts")
    assert (one.mark, one.text) == ("warning", "no directory of PATH has `dnworker`")


def test_a_build_is_named_by_the_file_that_the_package_has(tmp_path):
    assert build(tmp_path) is None
    (tmp_path / "build.json").write_text(
        '{"commit": "0123456789abcdef", "date": "2026-11-27T10:00:00+01:00"}'
    )
    assert build(tmp_path) == "build 0123456789ab of 2026-11-27"
    (tmp_path / "build.json").write_text("[]")
    assert build(tmp_path) is None
