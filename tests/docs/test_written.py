"""Pages of docs/reference that are written by hand name all that there is, and nothing else."""

from __future__ import annotations

import re
from pathlib import Path

from msgspec.structs import force_setattr

from dnworker.capability import manifest, yaml_reading

from .page import blocks_of
from .pages import DOCS, PROJECT

VARIABLE = re.compile(r"\b(?:DREADNODE|DNWORKER|NATS|OPENAI|SANDBOX)_[A-Z_]*[A-Z]\b")
FIELD = re.compile(r"^- ((?:`\w+`(?:, )?)+) \(", re.MULTILINE)


def text_of(name: str) -> str:
    return (DOCS / "reference" / name).read_text(encoding="utf-8")


def variables_of_the_source() -> set[str]:
    """Return the variables that the source names as strings, in Python and in shell."""
    found: set[str] = set()
    for root in ("dnworker", "extension/dnworker_jupyter"):
        for file in (PROJECT / root).rglob("*.py"):
            for text in re.findall(r"\"[^\"\n]*\"|'[^'\n]*'", file.read_text(encoding="utf-8")):
                found |= {name for name in VARIABLE.findall(text) if text.strip("\"'") == name}
    return found


def test_the_page_of_the_environment_has_every_variable_of_the_source_and_no_other():
    listed = set(
        VARIABLE.findall("\n".join(re.findall(r"^- (`.*?): ", text_of("environment.md"), re.MULTILINE)))
    )
    of_flags = {"DREADNODE_CAPABILITY_FLAG__CAP__FLAG"}
    made_of_parts = {"DREADNODE_CAPABILITY_NAME"}  # written by the names of fields
    assert listed - of_flags - made_of_parts == variables_of_the_source() - made_of_parts


class Asked(dict):
    """A mapping that notes which keys are looked up, by where it stands."""

    def __init__(self, values, where, asked):
        super().__init__({key: noting(value, (*where, key), asked) for key, value in values.items()})
        self._note = asked.setdefault(where, set()).add

    def get(self, key, default=None):
        self._note(key)
        return super().get(key, default)

    def __contains__(self, key):
        self._note(key)
        return super().__contains__(key)

    def __getitem__(self, key):
        self._note(key)
        return super().__getitem__(key)


def noting(value, where, asked):
    if isinstance(value, dict):
        return Asked(value, where, asked)
    return [noting(one, where, asked) for one in value] if isinstance(value, list) else value


WHOLE = """
schema: 1
name: demo
version: 0.1.0
description: d
flags: {relay: {description: x, default: false}}
workers: {a: {path: a.py}, b: {command: uv}}
checks: [{name: disk, command: "true"}]
dependencies: {python: [x]}
mcp: {files: [], servers: {}}
"""


def keys_that_the_loader_asks_for(tmp_path: Path, monkeypatch) -> dict[str, set[str]]:
    """Return the fields of the head, and those of each section, that reading a manifest looks up."""
    asked: dict[tuple[str, ...], set[str]] = {}
    parse = yaml_reading.parse

    def noted(text):
        document = parse(text)
        force_setattr(document, "value", noting(document.value, (), asked))
        return document

    monkeypatch.setattr(yaml_reading, "parse", noted)
    (tmp_path / "a.py").write_text("")
    read = manifest.parse_manifest(WHOLE, tmp_path)
    list(manifest.component_problems(read.raw, tmp_path, read.flags))
    found: dict[str, set[str]] = {}
    for where, keys in asked.items():
        found.setdefault(where[0] if where else "", set()).update(keys)
    return found


def test_the_page_of_the_manifest_has_every_field_that_the_loader_knows_and_no_other(tmp_path, monkeypatch):
    known = keys_that_the_loader_asks_for(tmp_path, monkeypatch)
    sections = dict(re.findall(r"^## (.+)\n((?:(?!^## ).*\n)*)", text_of("manifest.md"), re.MULTILINE))
    named = {
        title: {name for names in FIELD.findall(body) for name in re.findall(r"\w+", names)}
        for title, body in sections.items()
    }
    assert named["secrets"] == {"name", "required"}  # the loader compares the set of the two
    for section in ("workers", "flags", "checks", "dependencies"):
        assert named[section] == known[section], section
    assert named["mcp"] == {"files", "servers"}
    listed = named["The head"] | named["agents, skills, tools, hooks and policies"]
    mappings = {"workers", "flags", "checks", "dependencies", "mcp", "secrets"}
    assert mappings <= sections.keys()
    assert listed | mappings == known[""] - {"commands"}  # of the SDK alone


def test_every_manifest_of_the_page_is_legal(tmp_path):
    (block,) = [one for one in blocks_of(DOCS / "reference" / "manifest.md") if one.language == "yaml"]
    (tmp_path / "workers").mkdir()
    (tmp_path / "workers" / "greeter.py").write_text("")
    assert manifest.parse_manifest(block.code, tmp_path).name == "demo"
