"""Workers that are programs, as cells."""

from __future__ import annotations

from dnworker.capability.manifest import WorkerDefinition
from dnworker_jupyter.importer.programs import program_cell


def test_the_file_of_a_program_is_the_body_of_its_cell(tmp_path):
    (tmp_path / "workers").mkdir()
    (tmp_path / "workers" / "relay").write_text("console.log(1)\n")
    worker = WorkerDefinition("relay", command="node", args=(f"{tmp_path}/workers/relay",))
    made = program_cell(worker, tmp_path)
    assert (made.source, made.file) == ("%%worker relay --command node\nconsole.log(1)", "workers/relay")
    assert (made.problems, made.notes) == ([], [])


def test_a_command_without_a_file_has_a_body_of_comments(tmp_path):
    made = program_cell(WorkerDefinition("w", command="sleep", args=("60",)), tmp_path)
    assert made.source == "%%worker w --command 'sleep 60'\n# there is no file of its own"


def test_a_file_that_is_missing_is_a_problem(tmp_path):
    made = program_cell(WorkerDefinition("w", command="sh", args=(f"{tmp_path}/run.sh",)), tmp_path)
    assert made.problems == ["capability.yaml: worker w: run.sh is not there"]
