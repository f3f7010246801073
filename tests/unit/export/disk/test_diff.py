"""What changed since the last export, and the version step it suggests."""

from __future__ import annotations

import json
from textwrap import dedent

import pytest

from dnworker.cli.main import main
from dnworker.core.errors import UsageError
from dnworker_jupyter.export.disk.diff import CapabilityDiff, diff_files, handlers_in_script, requirements_of
from dnworker_jupyter.export.disk.write import read_export
from dnworker_jupyter.export.planning.plan import plan_export
from dnworker_jupyter.syntax.cell import Cell

HEAD = "%%capability\nname: demo\nversion: {version}\ndescription: d\n{flags}"
WORKER = """
%%worker bridge{options}
{imports}
@worker.on_event("a")
async def on_a(event: EventEnvelope, client: RuntimeClient) -> None:
    {body}
{more}
"""
BASE = {"version": "1.2.3", "flags": "", "options": "", "imports": "", "body": "pass", "more": ""}
EVERY = "@worker.every(seconds=5)\nasync def tick(client: RuntimeClient) -> None:\n    pass"


def files(**changes: str):
    values = {**BASE, **changes}
    texts = [HEAD.format(**values), WORKER.format(**values), values.get("other", "")]
    cells = [Cell(n, dedent(text).strip()) for n, text in enumerate(texts, 1) if text]
    return plan_export(cells, default_name="demo").files


def difference(old: dict[str, str], new: dict[str, str]) -> CapabilityDiff:
    return diff_files(files(**old), files(**new))


SECOND = "@worker.on_event('a')\nasync def second(event, client):\n    pass"
OTHER = {"other": '%%worker other\n@worker.on_event("b")\nasync def on_b(event, client): pass'}
FLAG = {"flags": "flags: {beta: {description: b}}"}


@pytest.mark.parametrize(
    ("old", "new", "changes", "suggested"),
    [
        ({}, {"body": "print(1)"}, ["~ workers/bridge.py"], "1.2.4"),
        ({}, OTHER, ["+ worker other"], "1.3.0"),
        (OTHER, {}, ["- worker other"], "2.0.0"),
        ({}, {"more": EVERY}, ["+ bridge: every 5s (tick)", "~ workers/bridge.py"], "1.3.0"),
        ({"more": EVERY}, {}, ["- bridge: every 5s (tick)", "~ workers/bridge.py"], "2.0.0"),
        (
            {"more": EVERY},
            {"more": EVERY.replace("5", "9")},
            ["~ bridge: every 5s (tick) -> 9s", "~ workers/bridge.py"],
            "1.3.0",
        ),
        (
            {"more": EVERY},
            {"more": EVERY.replace("tick", "tock")},
            ["~ bridge: every 5s (tick) -> tock", "~ workers/bridge.py"],
            "1.2.4",
        ),
        (
            {"more": EVERY},
            {"more": f"@worker.every(cron='0 6 * * *')\n{EVERY}"},
            ["+ bridge: every cron 0 6 * * * (tick)", "~ workers/bridge.py"],
            "1.3.0",
        ),
        (
            {"more": f"@worker.every(cron='0 6 * * *')\n{EVERY}"},
            {"more": EVERY},
            ["- bridge: every cron 0 6 * * * (tick)", "~ workers/bridge.py"],
            "2.0.0",
        ),
        (
            {"more": SECOND},
            {},
            ["- bridge: on_event a (second)", "~ workers/bridge.py"],
            "1.3.0",
        ),
        ({}, {"flags": "keywords: [x]"}, ["+ keywords"], "1.2.4"),
        (
            FLAG,
            {"flags": "flags: {beta: {description: other}}"},
            ["~ flag beta: its description"],
            "1.2.4",
        ),
        (
            {"other": "%%worker prog --command 'sh {file}'\necho 1"},
            {"other": "%%worker prog --command 'sh -e {file}'\necho 1"},
            ["~ prog: args none -> -e"],
            "1.3.0",
        ),
        ({}, FLAG, ["+ flag beta"], "1.3.0"),
        (FLAG, {}, ["- flag beta"], "2.0.0"),
        (
            FLAG,
            {"flags": "flags: {beta: {description: b, default: true}}"},
            ["~ flag beta: on by default"],
            "2.0.0",
        ),
        (FLAG, {**FLAG, "options": " --when beta"}, ["~ bridge: gate none -> beta"], "2.0.0"),
        ({}, {"options": " --env MODE=fast"}, ["+ bridge: env MODE"], "1.3.0"),
        ({"options": " --env KEY=old"}, {"options": " --env KEY=new"}, ["~ bridge: env KEY"], "1.3.0"),
    ],
)
def test_each_change_is_told_and_counts(old, new, changes, suggested):
    found = difference(old, new)
    assert [str(change) for change in found.changes] == changes
    assert found.suggested == suggested
    assert str(found).endswith(f"1.2.3 -> {suggested}; %%capability declares 1.2.3")


def test_a_new_requirement_is_told_with_its_bounds():
    found = difference({}, {"imports": "import yaml", "body": "print(yaml)"})
    assert any(str(change).startswith("+ bridge: requires pyyaml>=") for change in found.changes)
    assert found.step == "minor"


def test_a_version_that_was_raised_already_is_enough():
    found = difference({}, {"more": EVERY, "version": "1.3.0"})
    assert str(found).endswith("a minor change; version 1.3.0 is declared, which says so")


KINDS = 'K = "a"\nP = "x"'
NAMED = {"imports": KINDS, "more": "@worker.on_event(f'{P}.{K}')\nasync def named(event, client):\n    pass"}


def test_a_kind_by_a_name_is_what_the_name_says():
    other = {**NAMED, "imports": KINDS.replace('"a"', '"b"')}
    found = [str(change) for change in difference(NAMED, other).changes]
    assert "- bridge: on_event x.a (named)" in found
    same = {"more": NAMED["more"].replace("f'{P}.{K}'", "'x.a'"), "imports": KINDS}
    assert difference(NAMED, same).step == "patch"


def test_each_worker_is_compared_by_its_own_file():
    def with_kind(kind):
        body = "@worker.on_event({!r})\nasync def on_it(event, client): pass"
        relay = f"%%worker relay\n{body.format(kind)}"
        cells = [HEAD.format(**BASE), f"%%worker a --file relay.py\n{body.format('q')}", relay]
        return plan_export([Cell(n, c) for n, c in enumerate(cells)], default_name="demo").files

    assert diff_files(with_kind("x"), with_kind("y")).step == "major"


def test_a_script_that_is_no_python_is_named_with_its_line():
    old = files() | {"workers/bridge.py": b"x = 1\ndef f(:\n"}
    with pytest.raises(UsageError, match=r"workers/bridge.py, line 2: is no Python"):
        diff_files(old, files())


def test_a_directory_in_the_place_of_a_file_is_named(tmp_path):
    (tmp_path / "capability.yaml").mkdir()
    (tmp_path / ".dnworker-export.json").write_text('{"capability.yaml": "x"}')
    with pytest.raises(UsageError, match=r"capability.yaml is a directory"):
        read_export(tmp_path)


def test_nothing_changed_is_said():
    assert str(difference({}, {})) == "nothing changed since the last export"


def test_handlers_and_requirements_are_read_from_a_script():
    script = files(more=EVERY)["workers/bridge.py"].decode()
    assert handlers_in_script(script) == [("on_event", "a", "on_a"), ("every", "5s", "tick")]
    assert requirements_of(script) == {"dreadnode": ">=2.0,<3.0"}


def test_the_command_line_compares_a_notebook_file_with_its_export(tmp_path, capsys):
    notebook, out = tmp_path / "nb.ipynb", tmp_path / "out"

    def save(**changes):
        values = {**BASE, **changes}
        cells = [HEAD.format(**values), WORKER.format(**values)]
        notebook.write_text(
            json.dumps({"cells": [{"cell_type": "code", "source": dedent(c).strip()} for c in cells]})
        )

    save()
    assert main(["export", str(notebook), "-o", str(out), "--diff"]) == 1
    assert "there is no export in" in capsys.readouterr().err
    assert main(["export", str(notebook), "-o", str(out)]) == 0
    save(more=EVERY)
    before = read_export(out)
    capsys.readouterr()
    assert main(["export", str(notebook), "-o", str(out), "--diff", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["step"], told["suggested"]) == ("minor", "1.3.0")
    assert read_export(out) == before


def test_a_directory_without_an_export_cannot_be_compared(tmp_path):
    with pytest.raises(UsageError, match="there is no export in"):
        read_export(tmp_path)
