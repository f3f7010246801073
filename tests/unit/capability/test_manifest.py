"""Every rule of the manifest, with its code and its place."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from dnworker.capability.manifest import load_manifest, parse_manifest
from dnworker.core.errors import ManifestError

HEAD = {"schema": 1, "name": "demo", "version": "0.1.0", "description": "Demo"}
WORKER = {"relay": {"command": "bin/relay"}}


def manifest(**fields) -> str:
    """Return the YAML of a good manifest with some fields changed; None takes one out."""
    data = {**HEAD, "workers": WORKER, **fields}
    return yaml.safe_dump({k: v for k, v in data.items() if v is not None}, sort_keys=False)


def worker(**entry) -> str:
    """Return a manifest with one worker entry."""
    return manifest(workers={"relay": entry}, flags={"on": {"description": "d"}})


def problem(text: str, root: Path = Path("/caps/demo")) -> str:
    """Return what is wrong with the manifest; exactly one thing."""
    with pytest.raises(ManifestError) as refused:
        parse_manifest(text, root)
    (message,) = refused.value.problems
    return message


@pytest.mark.clause("4.1 head")
def test_a_good_manifest_is_read():
    parsed = parse_manifest(
        worker(command="uv", args=["run", "${CAPABILITY_ROOT}/w.py"], env={"A": "b"}, when=["on"]),
        Path("/caps/demo"),
    )
    entry = parsed.workers["relay"]
    assert (parsed.name, parsed.version, parsed.description) == ("demo", "0.1.0", "Demo")
    assert (entry.command, entry.args, entry.env, entry.when) == (
        "uv",
        ("run", "/caps/demo/w.py"),
        {"A": "b"},
        ("on",),
    )


@pytest.mark.parametrize(
    ("fields", "code"),
    [
        ({"schema": None}, "VALID-001"),
        ({"schema": "1"}, "VALID-004"),
        ({"schema": 2}, "VALID-004"),
        ({"schema": True}, "VALID-004"),
        ({"name": None}, "VALID-002"),
        ({"name": "Demo"}, "VALID-002"),
        ({"name": "demo\n"}, "VALID-002"),
        ({"version": None}, "VALID-003"),
        ({"version": 1.0}, "VALID-003"),
        ({"version": "1.0.0-rc1"}, "VALID-003"),
        ({"description": " "}, "VALID-001"),
        ({"author": "Ada"}, "VALID-001"),
        ({"agents": "x.md"}, "VALID-006"),
        ({"tools": [""]}, "VALID-006"),
        ({"agents": ["../x.md"]}, "VALID-007"),
        ({"workflows": ["flow.txt"]}, "VALID-020"),
        ({"dependencies": []}, "VALID-015"),
        ({"dependencies": {"python": "httpx"}}, "VALID-016"),
        ({"dependencies": {"scripts": ["/bin/sh"]}}, "VALID-017"),
        ({"checks": {}}, "VALID-018"),
        ({"checks": ["ls"]}, "VALID-018"),
        ({"checks": [{"name": "x"}]}, "VALID-019"),
        ({"secrets": [{"name": "1x"}]}, "VALID-001"),
        ({"workers": None}, "VALID-008"),
        ({"workers": []}, "WRK-001"),
        ({"workers": {"Relay": {"command": "x"}}}, "WRK-001"),
        ({"workers": {7: {"command": "x"}}}, "WRK-001"),
        ({"workers": {"relay": "x"}}, "WRK-001"),
        ({"workers": {"a": {"path": "w.py"}, "b": {"path": "./w.py"}}}, "WRK-002"),
        ({"flags": []}, "FLAG-001"),
        ({"flags": {"a-": {"description": "d"}}}, "FLAG-001"),
        ({"flags": {"A": {"description": "d"}}}, "FLAG-001"),
        ({"flags": {"a": True}}, "FLAG-001"),
        ({"flags": {"a": {"default": True}}}, "FLAG-002"),
        ({"flags": {"a": {"description": "d", "default": 1}}}, "FLAG-002"),
        ({"flags": {"a": {"description": "d", "extra": 1}}}, "FLAG-004"),
        ({"flags": {f"f{n}": {"description": "d"} for n in range(17)}}, "FLAG-005"),
    ],
    ids=lambda value: (
        value if isinstance(value, str) else "-".join(f"{k}={v}" for k, v in value.items())[:40]
    ),
)
@pytest.mark.clause("4.1 head")
@pytest.mark.clause("13.12")
def test_a_broken_rule_is_told_with_its_code_and_place(fields, code):
    message = problem(manifest(**fields))
    assert message.endswith(f"[CAP-{code}]")
    assert message.startswith("/caps/demo/capability.yaml:")


@pytest.mark.parametrize(
    ("entry", "code"),
    [
        ({}, "WRK-001"),
        ({"command": "x", "extra": 1}, "WRK-001"),
        ({"path": "w.py", "command": "x"}, "WTOP-004"),
        ({"path": "w.py", "args": []}, "WTOP-004"),
        ({"path": "w.py", "env": {}}, "WTOP-004"),
        ({"path": ""}, "WRK-001"),
        ({"path": "../w.py"}, "WRK-004"),
        ({"command": ""}, "WTOP-004"),
        ({"command": "x", "args": ["a", 1]}, "WTOP-004"),
        ({"command": "x", "args": None}, "WTOP-004"),
        ({"command": "x", "env": {"A": 1}}, "WTOP-004"),
        ({"command": "x", "env": {"DREADNODE_RUNTIME_URL": "x"}}, "WTOP-006"),
    ],
    ids=str,
)
@pytest.mark.clause("4.3 workers")
def test_a_broken_worker_entry_is_told_with_its_code(entry, code):
    assert problem(worker(**entry)).endswith(f"[CAP-{code}]")


@pytest.mark.clause("4.3 reserved")
def test_reserved_variables_are_listed_sorted():
    env = {"DREADNODE_RUNTIME_URL": "x", "OTHER": "y", "DREADNODE_RUNTIME_ID": "z"}
    assert "sets DREADNODE_RUNTIME_ID, DREADNODE_RUNTIME_URL" in problem(worker(command="x", env=env))


def test_the_place_is_the_line_and_column_of_the_field():
    text = "schema: 1\nname: demo\nversion: 0.1.0\ndescription: d\nworkers:\n  relay:\n    command: x\n    argz: []\n"
    assert problem(text).startswith(
        "/caps/demo/capability.yaml:8:5: worker 'relay' has the unknown key 'argz'"
    )


def test_all_broken_rules_are_told_at_once():
    with pytest.raises(ManifestError) as refused:
        parse_manifest("schema: 2\nname: X\nversion: 1\n", Path("/caps/demo"))
    assert [m.rpartition("[")[2] for m in refused.value.problems] == [
        "CAP-VALID-004]",
        "CAP-VALID-002]",
        "CAP-VALID-003]",
        "CAP-VALID-001]",
    ]


def test_a_tab_is_named_with_its_line():
    assert problem("schema: 1\nname: demo\nworkers:\n\trelay:\n") == (
        "/caps/demo/capability.yaml:4:1: a tab stands where YAML wants spaces; indent with spaces"
    )


@pytest.mark.parametrize("text", ["[", "a: b: c", "!!python/object:os.system {}", "- x", "", "\x00"])
def test_text_that_is_no_mapping_is_refused_with_its_place(text):
    assert problem(text).startswith("/caps/demo/capability.yaml:1:")


@pytest.mark.parametrize(
    ("when", "code"),
    [([], "FLAG-080"), ("on", "FLAG-080"), ([1], "FLAG-080"), (["off"], "FLAG-012")],
    ids=str,
)
@pytest.mark.clause("4.3 gate")
def test_a_bad_gate_drops_only_its_worker(when, code):
    parsed = parse_manifest(worker(command="x", when=when), Path("/caps/demo"))
    assert parsed.workers["relay"].problem.endswith(f"[CAP-{code}]")


@pytest.mark.clause("4.3 gate")
def test_a_null_gate_is_no_gate():
    assert parse_manifest(worker(command="x", when=None), Path("/caps/demo")).workers["relay"].problem is None


def test_of_a_key_that_stands_twice_the_last_counts():
    parsed = parse_manifest(manifest() + "description: Later\n", Path("/caps/demo"))
    assert parsed.description == "Later"


def test_an_agent_in_its_conventional_directory_is_component_enough(tmp_path):
    (tmp_path / "agents").mkdir()
    (tmp_path / "agents" / "a.md").write_text("x")
    assert parse_manifest(manifest(workers=None), tmp_path).workers == {}


@pytest.mark.clause("4.3 workers")
def test_a_symlink_out_of_the_capability_is_refused(tmp_path):
    root = tmp_path / "cap"
    root.mkdir()
    (tmp_path / "outside.py").write_text("")
    (root / "w.py").symlink_to(tmp_path / "outside.py")
    assert problem(worker(path="w.py"), root).endswith("[CAP-WRK-004]")


@pytest.mark.clause("4.3 file")
def test_a_missing_worker_file_is_not_the_manifests_business(tmp_path):
    assert (
        parse_manifest(worker(path="missing.py"), tmp_path).workers["relay"].path == tmp_path / "missing.py"
    )


def test_a_missing_manifest_names_the_file(tmp_path):
    with pytest.raises(ManifestError, match=r"capability\.yaml: cannot be read: No such file"):
        load_manifest(tmp_path)


def test_the_head_of_an_export_needs_neither_schema_nor_workers():
    text = "name: demo\nversion: 0.1.0\ndescription: d\n"
    assert parse_manifest(text, Path("/"), is_head=True).name == "demo"


def test_the_places_of_a_head_count_from_its_cell():
    with pytest.raises(ManifestError, match=r"^cell \[4\]:3:1: version is missing|^cell \[4\]:2:1"):
        parse_manifest(
            "name: demo\ndescription: d\n", Path("/"), is_head=True, source="cell [4]", first_line=2
        )


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=10,
)
FIELDS = [
    "schema",
    "name",
    "version",
    "description",
    "workers",
    "flags",
    "checks",
    "dependencies",
    "author",
    "agents",
]


@given(st.dictionaries(st.sampled_from(FIELDS) | st.text(max_size=6), VALUES, max_size=8))
def test_any_data_is_read_or_refused_and_nothing_else(data):
    try:
        parse_manifest(yaml.safe_dump(data), Path("/caps/demo"))
    except ManifestError as exc:
        assert exc.problems
