"""The README of an export has what flows where, and how to run it; what somebody writes around that stays."""

from __future__ import annotations

import hashlib
import json

import pytest

from dnworker.core.errors import UsageError
from dnworker.project.readme import BEGIN, END
from dnworker.project.record import BLOCK, RECORD
from dnworker_jupyter.export.disk.write import write
from dnworker_jupyter.export.planning.plan import plan_export
from dnworker_jupyter.export.planning.readme import README, block_in
from dnworker_jupyter.syntax.cell import Cell

WORKER = """%%worker bridge
@worker.on_event("turn.completed")
async def on_turn(event, client):
    await client.publish("demo.answered", {})
"""


def plan(into, source=WORKER):
    return plan_export([Cell(1, source)], default_name="demo", into=into)


def test_it_has_the_map_as_mermaid_of_what_the_scripts_say(tmp_path):
    text = plan(tmp_path / "out").files[README].decode()
    assert text.startswith("# demo\n\nWorkers exported from a notebook\n\n## What flows where\n")
    assert "```mermaid\nflowchart LR\n" in text
    assert '(["turn.completed"])' in text
    assert '(["demo.answered"])' in text
    assert "/min" not in text


def test_the_same_cells_give_the_same_bytes(tmp_path):
    assert plan(tmp_path / "a").files[README] == plan(tmp_path / "b").files[README]


def test_text_around_the_map_is_kept_and_the_map_is_brought_up_to_date(tmp_path):
    out = tmp_path / "out"
    write(plan(out), out)
    file = out / README
    file.write_text(f"My words.\n\n{file.read_text()}\nMore of mine.\n")
    changed = WORKER.replace("demo.answered", "demo.other")
    assert README in write(plan(out, changed), out)
    text = file.read_text()
    assert text.startswith("My words.\n")
    assert text.endswith("More of mine.\n")
    assert '(["demo.other"])' in text
    assert "demo.answered" not in text
    assert write(plan(out, changed), out) == []


def test_an_edited_map_is_not_written_over(tmp_path):
    out = tmp_path / "out"
    write(plan(out), out)
    file = out / README
    file.write_text(file.read_text().replace("flowchart LR", "flowchart TD"))
    with pytest.raises(UsageError, match="edited since the last export"):
        write(plan(out), out)


@pytest.mark.parametrize("is_later", [False, True])
def test_a_readme_without_a_place_for_the_map_stays_as_it_is(tmp_path, is_later):
    out = tmp_path / "out"
    out.mkdir()
    if is_later:
        write(plan(out), out)
    (out / README).write_text("All mine.\n")
    write(plan(out), out)
    assert (out / README).read_text() == "All mine.\n"
    assert README not in plan(out).files


def test_no_name_ends_the_chart(tmp_path):
    source = WORKER.replace("demo.answered", f"x```\\n{END}<script>")
    text = plan(tmp_path / "out", source).files[README].decode()
    assert text.count("```") == plan(tmp_path / "out").files[README].decode().count("```")
    assert text.count(BEGIN) == text.count(END) == 1
    assert "<script>" not in text


def test_a_readme_of_an_export_that_had_the_map_only_gets_the_other_parts(tmp_path):
    out = tmp_path / "out"
    write(plan(out), out)
    file = out / README
    whole = file.read_text()
    only_the_map = whole[: whole.index("## Events")].rstrip() + f"\n{END}\n"
    assert "## Run" not in only_the_map
    file.write_text(only_the_map)
    record = json.loads((out / RECORD).read_text())
    record[BLOCK] = hashlib.sha256(block_in(only_the_map).encode()).hexdigest()
    (out / RECORD).write_text(json.dumps(record))
    write(plan(out), out)
    assert file.read_text() == whole
