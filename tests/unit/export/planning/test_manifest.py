"""The manifest: a head that is kept, and an entry for each worker."""

from __future__ import annotations

import pytest
import yaml

from dnworker.capability.manifest import load_manifest
from dnworker.core.errors import ManifestError, UsageError
from dnworker_jupyter.export.disk.write import write
from dnworker_jupyter.export.planning.manifest import around_workers
from tests.unit.export.builders import handler, plan


def test_a_head_may_begin_with_a_document_marker():
    assert plan(HEAD.replace("# ours", "---"), handler("pass")).name == "mine"


HEAD = "%%capability\n# ours\nname: mine\nversion: 1.2.3\ndescription: d\nflags:\n  relay: {description: r}\n"


def test_the_head_is_kept_as_it_was_written():
    text = plan(HEAD, handler("pass")).files["capability.yaml"].decode()
    assert text.startswith("schema: 1\n# ours\nname: mine\nversion: 1.2.3\n")


def again(out, *cells):
    """Export cells without a head into a directory, as `%capability export` does."""
    made = plan(*cells, existing=(out / "capability.yaml").read_text() if out.exists() else None)
    return write(made, out)


EDITED = """# mine, by hand
schema: 1
name: demo  # the name
version: 1.4.0
description: Edited

workers:
  bridge:
    command: uv
    args: [run, '${CAPABILITY_ROOT}/workers/bridge.py']
# what follows is kept, too
keywords: [a, b]
"""


def test_of_a_manifest_that_is_there_only_the_workers_change(tmp_path):
    out = tmp_path / "out"
    again(out, handler("pass"))
    (out / "capability.yaml").write_text(EDITED)
    again(out, handler("pass"), handler("pass").replace("bridge", "other"))
    text = (out / "capability.yaml").read_text()
    assert text == EDITED.replace(
        "# what follows",
        "  other:\n    command: uv\n    args: [run, '${CAPABILITY_ROOT}/workers/other.py']\n# what follows",
    )
    assert load_manifest(out).version == "1.4.0"
    assert again(out, handler("pass"), handler("pass").replace("bridge", "other")) == []


def test_workers_that_were_edited_by_hand_are_not_written_over(tmp_path):
    out = tmp_path / "out"
    again(out, handler("pass"))
    file = out / "capability.yaml"
    file.write_text(file.read_text().replace("command: uv", "command: python"))
    with pytest.raises(UsageError, match="edited since the last export"):
        again(out, handler("pass"), handler("pass").replace("bridge", "other"))


@pytest.mark.parametrize(
    "text",
    [
        "name: n\nversion: 1.0.0\ndescription: d\nworkers:\n  x: {path: workers/x.py}\nschema: 1\n",
        "---\nschema: 1\nname: n\nversion: 1.0.0\ndescription: d\nworkers:\n  x: {path: workers/x.py}\n...\n",
        "schema: 1\nname: n\nversion: 1.0.0\ndescription: d\nworkers:\n  x: {path: x.py}\n# of y\n  y: {path: y.py}\n",
    ],
    ids=["schema behind", "document marks", "a comment in the first column"],
)
def test_a_manifest_that_is_there_is_kept_whatever_its_order(text):
    made = plan(handler("pass"), existing=text).files["capability.yaml"].decode()
    assert yaml.safe_load(made)["workers"] == {
        "bridge": {"command": "uv", "args": ["run", "${CAPABILITY_ROOT}/workers/bridge.py"]}
    }
    assert made.count("schema:") == 1
    assert made.replace("workers:", "", 1).startswith(text.partition("workers:")[0])


def test_a_head_in_the_notebook_wins_over_the_manifest_that_is_there(tmp_path):
    made = plan("%%capability\nname: new\nversion: 2.0.0\ndescription: d", handler("pass"), existing=EDITED)
    assert made.name == "new"
    assert b"Edited" not in made.files["capability.yaml"]


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("a: 1\nworkers:\n  w: {}\n\n# c\nb: 2\n", ("a: 1\n", "workers:\n  w: {}\n", "\n# c\nb: 2\n")),
        (
            "workers: {w: {path: x},\n y: {path: z}}\nb: 2\n",
            ("", "workers: {w: {path: x},\n y: {path: z}}\n", "b: 2\n"),
        ),
        ("a: 1\n", ("a: 1\n", "", "")),
        ("workers:\n  w:\n    # why\n    path: x", ("", "workers:\n  w:\n    # why\n    path: x", "")),
        (
            "workers:\n  w: {}\n# of y\n  y: {}\n  # last\n# of b\nb: 2\n",
            ("", "workers:\n  w: {}\n# of y\n  y: {}\n  # last\n", "# of b\nb: 2\n"),
        ),
        ("---\na: 1\nworkers:\n  w: {}\n...\n", ("---\na: 1\n", "workers:\n  w: {}\n", "...\n")),
        ("a: [", ("a: [", "", "")),
    ],
)
def test_the_workers_of_a_manifest_are_found_with_their_comments(text, parts):
    assert around_workers(text) == parts


def test_options_of_the_worker_line_go_into_the_manifest(tmp_path):
    cell = handler("pass").replace("bridge\n", "bridge --when relay --env LEVEL=debug\n", 1)
    write(plan(HEAD, cell), tmp_path / "out")
    entry = load_manifest(tmp_path / "out").workers["bridge"]
    assert (entry.command, entry.when, entry.env) == ("uv", ("relay",), {"LEVEL": "debug"})
    assert entry.args == ("run", str(tmp_path / "out" / "workers" / "bridge.py"))


@pytest.mark.parametrize(
    ("topology", "line"),
    [("python", "command: python"), ("in-process", "path: workers/bridge.py"), ("uv", "command: uv")],
)
def test_the_topology_is_one_line_of_the_manifest(topology, line):
    assert line in plan(handler("pass"), topology=topology).files["capability.yaml"].decode()


def test_a_flag_that_is_not_declared_is_refused():
    with pytest.raises(ManifestError, match="FLAG-012"):
        cell = handler("pass").replace("bridge\n", "bridge --when nope\n", 1)
        plan(HEAD, cell)


def test_a_head_with_workers_is_refused():
    with pytest.raises(ManifestError, match=r"cell \[1\]: workers come from %%worker cells"):
        plan(HEAD + "workers:\n  relay: {command: x}\n", handler("pass"))


def test_a_program_is_exported_with_its_command():
    files = plan(
        handler("pass"),
        "%%worker relay --command 'node {file} --fast' --file workers/relay.mjs --env A=1\nconsole.log(1)",
    ).files
    assert files["workers/relay.mjs"] == b"console.log(1)\n"
    manifest = files["capability.yaml"].decode()
    assert "command: node" in manifest
    assert "${CAPABILITY_ROOT}/workers/relay.mjs" in manifest
    assert "A: '1'" in manifest
