"""What scripts require, as words for pip."""

from __future__ import annotations

from pathlib import Path

import pytest

from dnworker_jupyter.importer.requirements import ScriptRequirements


def read(*lines: str) -> tuple[ScriptRequirements, list[str], list[str]]:
    problems: list[str] = []
    notes: list[str] = []
    requirements = ScriptRequirements(problems, notes)
    header = "".join(f"# {line}\n" for line in lines)
    requirements.add_header(f"# /// script\n{header}# ///\n", "w.py", Path("/capability/workers"))
    return requirements, problems, notes


@pytest.mark.parametrize(
    ("source", "required"),
    [
        ("{ git = 'https://x/y', rev = 'abc' }", "demo @ git+https://x/y@abc"),
        ("{ url = 'https://x/y.whl' }", "demo @ https://x/y.whl"),
        ("{ path = '../demo' }", "demo @ file:///capability/demo"),
    ],
)
def test_a_source_of_uv_becomes_the_url_of_the_requirement(source, required):
    found, problems, notes = read("dependencies = ['demo>=1']", "[tool.uv.sources]", f"demo = {source}")
    assert (found.required, problems, notes) == ({"demo": required}, [], [])


def test_the_sdk_is_no_requirement_of_a_notebook():
    assert read("dependencies = ['dreadnode>=2', 'dnworker']")[0].required == {}


def test_what_is_no_requirement_is_a_problem():
    assert "which is no requirement (PEP 508)" in read("dependencies = ['??']")[1][0]


def test_other_tables_of_uv_and_another_python_are_noted():
    notes = read("requires-python = '>=99'", "[tool.uv.pip]", "x = 1")[2]
    assert notes[0] == "tool.uv.pip in the header of w.py"
    assert notes[1].startswith("requires-python >=99 of w.py: this is Python ")
