"""Whatever stands in a capability's files, reading it ends: with a manifest, or with its problems and places."""

from __future__ import annotations

import json
import os
import tracemalloc
from functools import partial
from pathlib import Path

import msgspec
import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dnworker.capability.components import Components, read_components
from dnworker.capability.discovery import capability_roots
from dnworker.capability.manifest import CapabilityManifest, load_manifest, parse_manifest
from dnworker.capability.reading import Budget
from dnworker.capability.yaml_reading import parse
from dnworker.capability.yamltree import YamlError
from dnworker.core.errors import ManifestError

pytestmark = pytest.mark.timeout(120)

MOST_MEMORY = 60_000_000
"""Bytes that reading one manifest may take; the largest text that is read has one million."""

VALID = """\
schema: 1
name: demo
version: 0.1.0
description: &d Demo
flags:
  relay: {description: *d, default: false}
workers:
  echo: {path: workers/echo.py, when: [relay]}
  node: &node
    command: node
    args: [--x, "${CAPABILITY_ROOT}/a.js"]
    env: {TOKEN: "${TOKEN}", N: "1"}
agents: [agents/a.md]
checks: [{name: look, command: "true"}]
mcp: {servers: {s: {command: x, args: [1], timeout: 3}}}
dependencies: {python: [httpx], path: [bin]}
secrets: [{name: TOKEN}]
"""

TOKENS = st.sampled_from([
    *("*node", "*d", "&d ", "<<: *node", "? ", ": ", "- ", "[", "]", "{", "}", "!!int ", "!!python/name:os.x "),
    *("!!binary =", "!!set ", "|\n", ">\n", "'", '"', "\\0", "\x00", "\ud800", "\x85", "\t", "\r\n", "\ufeff"),
    *("---\n", "...\n", "%TAG ! x\n", "0x" + "f" * 400, "1:1" * 200, "2024-13-45", ".nan", "~", "1e999", "null"),
    *("workers: ", "path: ", "command: ", "when: ", "env: ", "name: ", "\n", "\n  ", "\n    ", "#", "a\0b", "../x"),
    *("loop", "x" * 300, "x" * 3_000, "on", "no", "=", "1" * 5_000),
])  # fmt: skip

CUT = st.tuples(st.integers(0, len(VALID)), st.integers(0, 12), TOKENS)


def mutated(cuts: list[tuple[int, int, str]]) -> str:
    """Return the valid manifest with some of its text replaced."""
    text = VALID
    for at, length, token in cuts:
        at = min(at, len(text))
        text = text[:at] + token + text[at + length :]
    return text


def read(text: str, root: Path) -> CapabilityManifest | list[str]:
    """Return the manifest or its problems; anything else that happens is a failure."""
    tracemalloc.start()
    try:
        manifest = parse_manifest(text, root)
        components = read_components(manifest)
        json.dumps([one.error for one in components.others])
        return manifest
    except ManifestError as exc:
        assert exc.problems
        assert all(problem.isprintable() for problem in exc.problems), exc.problems
        return exc.problems
    finally:
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert peak < MOST_MEMORY, f"{peak / 1e6:.0f} MB for {len(text):,} characters"


@pytest.mark.slow
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=150, deadline=None)
@given(st.lists(CUT, max_size=6))
def test_a_mutated_manifest_is_read_or_refused_with_its_places(tmp_path, cuts):
    if not (tmp_path / "loop").is_symlink():
        (tmp_path / "loop").symlink_to("loop")
    found = read(mutated(cuts), tmp_path)
    if isinstance(found, list):
        assert all(problem.startswith(f"{tmp_path}/capability.yaml:") for problem in found)


@pytest.mark.slow
@settings(max_examples=200, deadline=None)
@given(
    st.one_of(st.lists(TOKENS, max_size=15).map("".join), st.lists(CUT, max_size=4).map(mutated), st.text())
)
def test_what_is_read_of_a_text_is_what_pyyaml_reads(text):
    try:
        value = parse(text).value
    except YamlError as exc:
        assert str(exc).isprintable()
        assert 1 <= exc.line <= text.count("\n") + text.count("\r") + text.count("\x85") + 2
        return
    assert repr(value) == repr(yaml.load(text, getattr(yaml, "CSafeLoader", yaml.SafeLoader)))


# -- files in the place of others ----------------------------------------------------------------------------

HEAD = "schema: 1\nname: {}\nversion: 0.1.0\ndescription: d\n"


def make(root: Path, name: str = "demo", text: str = "workers: {w: {path: w.py}}\n") -> Path:
    root.mkdir(parents=True, exist_ok=True)
    (root / "capability.yaml").write_text(HEAD.format(name) + text)
    return root


@pytest.mark.parametrize(
    "name", ["agents/a.md", "skills/s/SKILL.md", "tools/t.py", "hooks/h.py", ".mcp.json"]
)
@pytest.mark.parametrize(
    "put",
    [
        os.mkfifo,
        lambda p: p.symlink_to("/dev/zero"),
        lambda p: p.symlink_to(p),
        lambda p: p.write_bytes(b"\xff"),
    ],
    ids=["fifo", "device", "loop", "latin-1"],
)
def test_what_is_no_file_of_text_in_the_place_of_a_component_is_an_entry_with_its_error(tmp_path, name, put):
    root = make(tmp_path / "demo")
    (root / name).parent.mkdir(parents=True, exist_ok=True)
    put(root / name)
    found = read_components(load_manifest(root)).others
    assert [one.status for one in found] == ["error"], found
    assert str(root / name) in found[0].error


@pytest.mark.parametrize(
    ("put", "why"),
    [
        (os.mkfifo, "it is a named pipe"),
        (lambda p: p.symlink_to("/dev/zero"), "it is a device"),
        (lambda p: p.symlink_to(p), "Too many levels of symbolic links"),
        (lambda p: p.write_bytes(HEAD.encode("utf-16")), "it looks like UTF-16; save it as UTF-8"),
        (lambda p: p.write_bytes(b"#" * 1_000_001), "is larger than 1,000,000 bytes"),
    ],
    ids=["fifo", "device", "loop", "utf-16", "large"],
)
def test_a_manifest_that_is_no_file_of_text_is_found_and_refused(tmp_path, put, why):
    make(tmp_path / "good", "good")
    (tmp_path / "bad").mkdir()
    put(tmp_path / "bad" / "capability.yaml")
    assert [root.name for root in capability_roots([tmp_path])] == ["bad", "good"]
    with pytest.raises(ManifestError, match=why):
        load_manifest(tmp_path / "bad")


@pytest.mark.parametrize(
    ("worker", "field", "why"),
    [
        ('w: {path: "w\\0.py"}', "WRK-004", "holds a NUL character, which no path can have"),
        ("w: {path: loop/w.py}", "WRK-004", "is a loop of symbolic links"),
        (f"w: {{path: {'x' * 300}}}", "WRK-004", "is longer than a file name can be"),
        ('w: {command: "a\\0"}', "WTOP-004", "command holds a NUL character"),
        ('w: {command: a, args: [x, "a\\0"]}', "WTOP-004", "args hold a NUL character"),
        ('w: {command: a, env: {A: "a\\0"}}', "WTOP-004", "the value of A holds a NUL character"),
        ('w: {command: a, env: {"A=B": x}}', "WTOP-004", "a name has neither = nor NUL"),
        ('w: {command: a, env: {"": x}}', "WTOP-004", "at least one character"),
    ],
    ids=["nul", "loop", "long", "command", "args", "env", "equals", "empty"],
)
def test_what_no_file_and_no_process_can_have_is_refused_with_its_place(tmp_path, worker, field, why):
    root = make(tmp_path / "demo", text=f"workers:\n  {worker}\n")
    (root / "loop").symlink_to("loop")
    with pytest.raises(ManifestError) as refused:
        load_manifest(root)
    (problem,) = refused.value.problems
    assert problem.startswith(f"{root}/capability.yaml:6:")
    assert why in problem
    assert problem.endswith(f"[CAP-{field}]")


def test_a_flag_in_when_with_a_nul_drops_the_worker_alone(tmp_path):
    root = make(tmp_path / "demo", text='workers: {w: {path: w.py, when: ["a\\0"]}, v: {path: v.py}}\n')
    workers = load_manifest(root).workers
    assert workers["v"].problem is None
    assert "names undeclared flag a\\x00" in str(workers["w"].problem)


@pytest.mark.parametrize("key", ["agents", "tools", "skills"])
def test_lists_of_paths_with_a_nul_or_a_loop_are_refused(tmp_path, key):
    root = make(tmp_path / "demo", text=f'{key}: ["a\\0", loop/x]\nworkers: {{w: {{path: w.py}}}}\n')
    (root / "loop").symlink_to("loop")
    with pytest.raises(ManifestError, match=r"(?s)holds a NUL character.*is a loop of symbolic links"):
        load_manifest(root)


@pytest.mark.slow
def test_ten_thousand_problems_are_a_hundred_and_a_number(tmp_path):
    keys = ", ".join(f"k{number}" for number in range(3_000))
    with pytest.raises(ManifestError) as refused:
        load_manifest(make(tmp_path / "demo", text=f"workers: {{{keys}}}\n"))
    assert len(refused.value.problems) == 101
    assert "and 2,900 more problems" in refused.value.problems[-1]


def test_many_agents_are_read_up_to_a_number_and_that_is_said(tmp_path, monkeypatch):
    for module in ("components", "presence"):
        monkeypatch.setattr(f"dnworker.capability.{module}.Budget", partial(Budget, entries=5))
    root = make(tmp_path / "demo")
    (root / "agents").mkdir()
    for number in range(9):
        (root / "agents" / f"a{number}.md").touch()
    found = read_components(load_manifest(root))
    assert len(found.agents) == 5
    assert "what follows is not read" in str(found.others[0].error)


@pytest.mark.parametrize(
    ("source", "why"),
    [
        ("x = " + "-" * 100_000 + "1", "is nested too deep to be read"),
        ("x = a" + ".b" * 30_000, "is nested too deep to be read"),
        ("x = " + "(" * 1_000, "too many nested parentheses"),
        ("x = 1\0", "null bytes"),
        ("#" * 200_001, "is larger than 200,000 bytes"),
        ("class A(B): pass\nclass B(A): pass\nx = A()\n", "defines no tool"),
    ],
    ids=["signs", "dots", "parentheses", "nul", "large", "circle"],
)
def test_a_python_file_that_cannot_be_read_is_an_entry_with_its_error(tmp_path, source, why):
    root = make(tmp_path / "demo")
    (root / "tools").mkdir()
    (root / "tools" / "t.py").write_text(source)
    (entry,) = read_components(load_manifest(root)).others
    assert why in str(entry.error)


@pytest.mark.slow
def test_classes_that_derive_from_each_other_many_times_are_read_in_no_time(tmp_path):
    root = make(tmp_path / "demo")
    (root / "tools").mkdir()
    rows = "".join(f"class A{n}(A{n - 1}, A{n - 1}): pass\n" for n in range(1, 200))
    (root / "tools" / "t.py").write_text(f"class A0: pass\n{rows}x = A199()\n")
    (entry,) = read_components(load_manifest(root)).others
    assert "defines no tool" in str(entry.error)


@pytest.mark.slow
def test_a_chain_of_a_thousand_imports_is_an_entry_with_its_error(tmp_path):
    root = make(tmp_path / "demo")
    (root / "tools").mkdir()
    for number in range(1_500):
        (root / "tools" / f"t{number}.py").write_text(f"from .t{number + 1} import x\n")
    found = read_components(load_manifest(root)).others
    assert found
    assert all(entry.error for entry in found)


def test_names_with_line_ends_and_bytes_that_are_no_text_can_be_listed(tmp_path):
    root = make(tmp_path / "demo")
    for name in (b"a\nb.md", b"\xff.md"):
        (root / "agents").mkdir(exist_ok=True)
        Path(os.fsdecode(os.fsencode(root / "agents") + b"/" + name)).write_text("---\ntools: 1\n---\nx\n")
    for entry in read_components(load_manifest(root)).others:
        assert f"{entry.name}{entry.error}".isprintable()


def test_a_directory_tree_that_is_deep_and_has_links_to_itself_is_read_to_a_depth(tmp_path):
    root = make(tmp_path / "demo")
    here = root / "agents"
    here.mkdir()
    (here / "again").symlink_to(root)
    for _ in range(110):
        here = here / "d"
        here.mkdir()
    found = read_components(load_manifest(root)).others
    assert "lies deeper than 100 directories" in str(found[0].error)


# -- what an API shows of it ---------------------------------------------------------------------------------

FRONT = "---\nname: s\ndescription: &d d\ntools: {'*': true}\nskills: [s]\nmetadata: {a: b}\nallowed-tools: a b\n---\nText.\n"
SERVERS = (
    '{"mcpServers": {"s": {"command": "x", "args": [1], "timeout": 3, "when": ["relay"]}, "t": {"url": "x"}}}'
)
VALUES = st.recursive(
    st.one_of(
        st.none(),
        st.booleans(),
        st.integers(),
        st.floats(),
        st.text(max_size=5),
        st.binary(max_size=3),
        st.dates(),
        st.datetimes(),
        st.sets(st.text(max_size=2), max_size=2),
    ),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.dictionaries(st.one_of(st.none(), st.integers(), st.text(max_size=4)), inner, max_size=3),
    ),
    max_leaves=6,
)
FIELDS = st.sampled_from(
    ["command", "args", "url", "env", "headers", "auth", "timeout", "init_timeout", "when", "type", "x"]
)


def cut(base: str) -> st.SearchStrategy[str]:
    """Return texts that are `base` with some of it replaced."""

    def replaced(cuts: list[tuple[int, int, str]]) -> str:
        text = base
        for at, length, token in cuts:
            text = text[: at % len(base)] + token + text[at % len(base) + length :]
        return text

    return st.lists(st.tuples(st.integers(0, 300), st.integers(0, 9), TOKENS), max_size=4).map(replaced)


def encodable(found: Components) -> None:
    """Check that all that an API shows of components can be sent."""
    msgspec.json.encode([
        *found.others,
        *(agent.info() for agent in found.agents),
        *(agent.note for agent in found.agents),
        *(skill.detail() for skill in found.skills),
        *(server.detail({}) for server in found.mcp.values()),
        *(server.component({}) for server in found.mcp.values()),
    ])  # fmt: skip


@pytest.mark.slow
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=100, deadline=None)
@given(agent=cut(FRONT), skill=cut(FRONT), servers=cut(SERVERS))
def test_mutated_components_are_listed_or_have_their_error(tmp_path, agent, skill, servers):
    root = make(tmp_path / "demo")
    for name, text in (("agents/a.md", agent), ("skills/s/SKILL.md", skill), ("mcp.json", servers)):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(text.encode("utf-8", "surrogatepass"))
    encodable(read_components(load_manifest(root)))


@pytest.mark.slow
@settings(max_examples=150, deadline=None)
@given(
    st.dictionaries(
        st.one_of(st.integers(), st.text(max_size=4)), st.dictionaries(FIELDS, VALUES, max_size=4), max_size=3
    )
)
def test_mcp_servers_of_any_values_can_be_shown(servers):
    text = yaml.safe_dump({"mcp": {"servers": servers}})
    try:
        manifest = parse_manifest(HEAD.format("demo") + "workers: {w: {path: w.py}}\n" + text, Path("/"))
    except ManifestError:
        return
    encodable(read_components(manifest))
