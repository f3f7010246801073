"""What a `%capability` line asks for, and which options have no meaning there."""

from __future__ import annotations

from pathlib import Path

import pytest

from dnworker.core.errors import UsageError
from dnworker_jupyter.magics.capability import (
    CapabilityOptions,
    Check,
    Diff,
    Request,
    Write,
    capability_parser,
    read_request,
)
from dnworker_jupyter.magics.loaded import Load, Reload, SetFlag, Unload
from dnworker_jupyter.syntax.options import split


def request(line: str) -> Request:
    return read_request(capability_parser().read_as(CapabilityOptions, split(line)), "demo")


@pytest.mark.parametrize(
    ("line", "wanted"),
    [
        ("load out", Load(Path("out"))),
        ("load out --replace", Load(Path("out"), replace=True)),
        ("reload demo", Reload("demo")),
        ("unload demo", Unload("demo")),
        ("unload", Unload(None)),
        ("flag", SetFlag(None, None)),
        ("flag relay on", SetFlag("relay", "on")),
        ("diff out --topology python", Diff(Path("out"), "dreadnode", "python")),
        ("export out --diff", Diff(Path("out"), "dreadnode", "uv")),
        ("check", Check(Path("demo"), "dreadnode", "uv", None, None)),
        ("check out --events e.jsonl", Check(Path("out"), "dreadnode", "uv", Path("e.jsonl"), None)),
        ("export out --force", Write(Path("out"), "dreadnode", "uv", True, False, False, None, None)),
        (
            "export out --check --sdk py",
            Write(Path("out"), "dreadnode", "uv", False, False, True, None, "py"),
        ),
    ],
)
def test_a_line_asks_for_one_thing(line, wanted):
    assert request(line) == wanted


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ("export", "%capability export needs a directory, as in: %capability export out/demo"),
        ("export ''", "%capability export needs a directory, as in: %capability export out/demo"),
        ("diff out --diff", "%capability diff does nothing with --diff"),
        ("export out --diff --force", "%capability diff does nothing with --force"),
        ("load out --diff", "%capability load does nothing with --diff"),
        ("load", "%capability load needs a directory"),
        ("check --lock", "%capability check does nothing with --lock; leave it out"),
        ("diff out --events f", "%capability diff does nothing with --events"),
        ("export out --sdk p", "%capability export does nothing with --sdk"),
        ("load out --force", "%capability load does nothing with --force"),
        ("exprt out", "did you mean export?"),
        ("unload demo --force", "%capability unload does nothing with --force"),
        ("export out --beside", "%capability export does nothing with --beside"),
        ("load out --replace --beside", "--replace and --beside exclude each other"),
        ("load out other", "%capability load takes one word, not 'out' and 'other'"),
    ],
)
def test_what_a_line_cannot_ask_for_is_told_with_the_way_out(line, problem):
    with pytest.raises(UsageError, match=problem.replace("?", r"\?").replace("[", r"\[")):
        request(line)
