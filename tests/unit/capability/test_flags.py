"""Flags: layers, words, gates."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from dnworker.capability.flags import (
    flag_variables,
    gate_is_open,
    is_enabled,
    parse_cli_flags,
    parse_word,
    read_persisted,
    resolve_flags,
    write_persisted,
)
from dnworker.capability.manifest import CapabilityManifest, FlagDefinition

MANIFEST = CapabilityManifest(
    Path("/"), "my-cap", "0.1.0", "d", flags={"relay-on": FlagDefinition("relay-on", "d", default=True)}
)
VARIABLE = "DREADNODE_CAPABILITY_FLAG__MY_CAP__RELAY_ON"


def resolved(**layers):
    flag = resolve_flags(MANIFEST, **layers)["relay-on"]
    return flag.effective, flag.source


@pytest.mark.clause("4.5 layers")
def test_the_manifests_default_is_the_first_layer():
    assert resolved() == (True, "default")


@pytest.mark.clause("4.5 layers")
def test_every_layer_wins_over_those_before_it():
    assert resolved(persisted={"relay-on": False}) == (False, "binding")
    assert resolved(persisted={"relay-on": False}, environ={VARIABLE: "on"}) == (True, "env")
    assert resolved(environ={VARIABLE: "1"}, cli={"relay-on": False}) == (False, "cli")


@pytest.mark.clause("4.5 words")
def test_a_word_that_is_no_switch_is_warned_about_and_ignored(caplog):
    assert resolved(environ={VARIABLE: "yes"}) == (True, "default")
    assert f"{VARIABLE} is 'yes'" in caplog.text


@pytest.mark.parametrize(
    ("word", "value"),
    [("1", True), (" TRUE ", True), ("On", True), ("0", False), ("off", False), ("x", None)],
)
@pytest.mark.clause("4.5 words")
def test_the_words_are_those_of_the_contract(word, value):
    assert parse_word(word) is value


@pytest.mark.clause("4.5 words")
def test_command_line_flags_are_read_and_malformed_ones_warned_about(caplog):
    assert parse_cli_flags(["a.b=on", "a.c=0", "x", "a.b.c=on", "a=on"]) == {"a": {"b": True, "c": False}}
    assert caplog.text.count("not of the form") == 3


def test_worker_processes_find_flags_by_upper_case_names():
    assert flag_variables("my-cap", resolve_flags(MANIFEST)) == {"CAPABILITY_FLAG__MY_CAP__RELAY_ON": "1"}


@pytest.mark.clause("4.5 gate")
def test_a_gate_is_open_without_flags_or_when_any_is_on():
    flags = resolve_flags(MANIFEST)
    assert gate_is_open([], flags)
    assert gate_is_open(["other", "relay-on"], flags)
    assert not gate_is_open(["other"], flags)


@pytest.mark.clause("4.5 kept")
def test_persisted_flags_are_read_and_a_damaged_file_is_none(tmp_path, caplog):
    file = tmp_path / "state.json"
    assert read_persisted(file, "demo") == {}
    file.write_text(json.dumps({"demo": {"flags": {"a": True, "b": "x"}}, "other": True}))
    assert read_persisted(file, "demo") == {"a": True}
    assert read_persisted(file, "other") == {}
    file.write_text("{")
    assert read_persisted(file, "demo") == {}
    assert "cannot be read" in caplog.text


@pytest.mark.parametrize("text", ["{", "\udcff", "[" * 100_000], ids=["cut", "no text", "too deep"])
def test_a_damaged_file_of_kept_flags_costs_one_warning_and_is_not_written_over(tmp_path, caplog, text):
    file = tmp_path / "state.json"
    file.write_bytes(text.encode("utf-8", "surrogateescape"))
    for _ in range(3):
        assert read_persisted(file, "demo") == {}
        assert is_enabled(file, "demo")
    assert caplog.text.count("cannot be read") == 1
    before = file.read_bytes()
    with pytest.raises(OSError, match="or move it away"):
        write_persisted(file, "demo", "relay", True, version="0.1.0")
    assert file.read_bytes() == before
