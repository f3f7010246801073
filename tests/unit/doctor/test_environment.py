"""The doctor on environment variables and proxies."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import dnworker
import dnworker_jupyter
from dnworker.cli.doctor import variables_of_serve
from dnworker.doctor.environment import FLAG_PREFIX, KNOWN, address, proxies, variables

PROXIES = ("http_proxy", "https_proxy", "all_proxy", "no_proxy")


@pytest.fixture(autouse=True)
def without_proxies(monkeypatch):
    for name in PROXIES:
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)


def test_every_variable_that_the_source_names_is_known():
    words = set()
    for package in (dnworker, dnworker_jupyter):
        for file in Path(package.__file__).parent.rglob("*.py"):
            words |= set(re.findall(r"\b(?:DNWORKER|DREADNODE)_[A-Z_]*[A-Z]\b", file.read_text()))
    assert words - KNOWN - set(variables_of_serve()) - {FLAG_PREFIX.rstrip("_")} == set()


def test_variables_are_named_without_their_values():
    (one,) = variables({"DREADNODE_RUNTIME_TOKEN": "secret", "NATS_PASSWORD": "secret", "HOME": "/"})
    assert (one.mark, one.text) == ("ok", "set: DREADNODE_RUNTIME_TOKEN, NATS_PASSWORD")


def test_a_variable_that_nothing_reads_is_named_with_the_nearest():
    first, second, last = variables({"DNWORKER_JURNAL": "", "DREADNODE_RUNTIME_TOKN": "x"})
    assert str(first) == "warning  variables: nothing reads DNWORKER_JURNAL; did you mean DNWORKER_JOURNAL?"
    assert second.remedy == "did you mean DREADNODE_RUNTIME_TOKEN?"
    assert last.mark == "ok"


def test_options_of_serve_are_variables_and_flags_have_any_name():
    names = variables_of_serve()
    assert "DNWORKER_TOKEN_FILE" in names
    found = list(variables({"DNWORKER_TOKEN_FILE": "", "DREADNODE_CAPABILITY_FLAG__A__B": "1"}, names))
    assert [one.mark for one in found] == ["ok"]


def test_a_variable_of_the_sdk_that_dnworker_does_not_know_is_left_alone():
    assert [one.mark for one in variables({"DREADNODE_PLATFORM_EXPORT_BUCKET": ""})] == ["ok"]


def test_an_address_that_is_none_is_a_problem_without_its_password(monkeypatch):
    monkeypatch.setenv("DREADNODE_RUNTIME_URL", "ftp://ada:secret@host")
    (one,) = address()
    assert (one.mark, "secret" in str(one)) == ("problem", False)
    monkeypatch.setenv("DREADNODE_RUNTIME_URL", "http://127.0.0.1:1")
    assert [one.mark for one in address()] == ["ok"]
    assert [*address({})] == []


@pytest.mark.parametrize(
    ("environ", "mark"),
    [
        ({}, "ok"),
        ({"HTTP_PROXY": "http://ada:secret@proxy:3128"}, "warning"),
        ({"HTTP_PROXY": "http://proxy:3128", "NO_PROXY": "127.0.0.1"}, "warning"),
        ({"HTTP_PROXY": "http://proxy:3128", "NO_PROXY": "127.0.0.1,localhost"}, "ok"),
        ({"ALL_PROXY": "http://proxy:3128"}, "warning"),
        ({"HTTP_PROXY": "http://proxy:3128", "NO_PROXY": "*"}, "ok"),
    ],
)
def test_a_proxy_that_catches_what_is_on_this_machine_is_named(environ, mark, monkeypatch):
    for name, value in environ.items():
        monkeypatch.setenv(name, value)
    (one,) = proxies()
    assert (one.mark, "secret" in str(one)) == (mark, False)
