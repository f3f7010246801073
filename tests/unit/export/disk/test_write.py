"""Writing an export: all of it or nothing, and nothing of others is lost."""

from __future__ import annotations

import errno
import json
from pathlib import Path

import pytest

from dnworker.core.errors import UsageError
from dnworker_jupyter.export.disk import atomic as exchange
from dnworker_jupyter.export.disk.write import write
from tests.unit.export.builders import handler, plan


def test_writing_the_same_plan_again_changes_nothing(tmp_path):
    made = plan(handler("pass"))
    assert write(made, tmp_path / "out") == ["capability.yaml", "workers/bridge.py"]
    assert write(made, tmp_path / "out") == []


def test_a_file_edited_by_hand_is_refused_with_the_difference_unless_forced(tmp_path):
    write(plan(handler("pass")), tmp_path / "out")
    file = tmp_path / "out" / "workers" / "bridge.py"
    file.write_text(file.read_text() + "# by hand\n")
    with pytest.raises(UsageError, match=r"edited since the last export[\s\S]*-# by hand"):
        write(plan(handler("print(1)")), tmp_path / "out")
    assert "# by hand" in file.read_text()
    write(plan(handler("print(1)")), tmp_path / "out", force=True)
    assert "print(1)" in file.read_text()


def test_files_of_others_are_left_alone_and_ours_that_went_are_removed(tmp_path):
    out = tmp_path / "out"
    write(plan(handler("pass"), handler("pass").replace("bridge", "gone")), out)
    (out / "notes.md").write_text("mine")
    write(plan(handler("pass")), out)
    assert (out / "notes.md").exists()
    assert not (out / "workers" / "gone.py").exists()


def test_a_record_of_somebody_else_removes_nothing_outside_and_no_edited_file(tmp_path):
    out = tmp_path / "out"
    write(plan(handler("pass"), handler("pass").replace("bridge", "gone")), out)
    victim = tmp_path / "victim.txt"
    victim.write_text("mine")
    record = out / ".dnworker-export.json"
    record.write_text(json.dumps(json.loads(record.read_text()) | {"../victim.txt": "x"}))
    edited = out / "workers" / "gone.py"
    edited.write_text(edited.read_text() + "# by hand\n")
    with pytest.raises(UsageError, match="workers/gone.py: was edited, and the export has it no more"):
        write(plan(handler("pass")), out)
    write(plan(handler("pass")), out, force=True)
    assert (victim.exists(), edited.exists()) == (True, False)


def test_a_write_that_fails_leaves_the_old_export_whole(tmp_path, monkeypatch):
    out = tmp_path / "out"
    write(plan(handler("pass")), out)
    before = {p: p.read_bytes() for p in out.rglob("*") if p.is_file()}

    def full(_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("dnworker_jupyter.export.disk.write.os.fsync", full)
    with pytest.raises(OSError, match="No space left"):
        write(plan(handler("print(2)")), out)
    assert {p: p.read_bytes() for p in out.rglob("*") if p.is_file()} == before


def test_what_somebody_changes_in_the_directory_meanwhile_is_kept(tmp_path, monkeypatch):
    out = tmp_path / "out"
    write(plan(handler("pass")), out)
    (out / "notes").mkdir()
    (out / "notes" / "mine.md").write_text("old")
    real = exchange.sync

    def sync(directory):
        if directory != out.parent and not (out / "empty").exists():
            fresh = out / "notes" / "fresh.md"
            fresh.write_text("new text")
            fresh.replace(out / "notes" / "mine.md")
            (out / "empty").mkdir()
            (out / "link").symlink_to("notes")
        real(directory)

    monkeypatch.setattr("dnworker_jupyter.export.disk.write.sync", sync)
    write(plan(handler("print(1)")), out)
    assert (out / "notes" / "mine.md").read_text() == "new text"
    assert (out / "empty").is_dir()
    assert (out / "link").is_symlink()


def test_what_somebody_writes_in_the_directory_meanwhile_is_kept(tmp_path, monkeypatch):
    out = tmp_path / "out"
    write(plan(handler("print(1)")), out)
    real = exchange._exchange

    def late(one, other):
        (out / "state.db").write_text("late")
        return real(one, other)

    monkeypatch.setattr(exchange, "_exchange", late)
    write(plan(handler("print(2)")), out)
    assert (out / "state.db").read_text() == "late"
    assert "print(2)" in (out / "workers" / "bridge.py").read_text()


def listing(directory):
    """Return the files of a directory, and what is in them."""
    return {path: path.read_bytes() for path in directory.rglob("*") if path.is_file()}


@pytest.fixture
def inside(tmp_path, monkeypatch):
    """A directory with an export and a notebook, in which this runs."""
    out = tmp_path / "out"
    write(plan(handler("print(1)")), out)
    (out / "nb.ipynb").write_text("mine")
    (out / "workers" / "mine.txt").write_text("mine")
    monkeypatch.chdir(out / "workers")
    return out


def test_the_directory_that_this_runs_in_stays_and_its_files_are_replaced(inside):
    before = inside.stat().st_ino
    assert write(plan(handler("print(2)")), inside) == ["workers/bridge.py"]
    assert inside.stat().st_ino == before
    assert "print(2)" in Path("bridge.py").read_text()
    assert Path("mine.txt").read_text() == (inside / "nb.ipynb").read_text() == "mine"
    assert write(plan(handler("print(2)")), inside) == []
    write(plan(handler("pass").replace("bridge", "other")), inside)
    assert not (inside / "workers" / "bridge.py").exists()
    assert not list(inside.glob(".dnworker-staging-*"))


def test_edits_are_not_written_over_in_the_directory_that_this_runs_in(inside):
    Path("bridge.py").write_text("edited")
    with pytest.raises(UsageError, match="edited since the last export"):
        write(plan(handler("print(2)")), inside)
    assert Path("bridge.py").read_text() == "edited"


@pytest.mark.parametrize("number", range(4))
def test_an_error_in_the_directory_that_this_runs_in_changes_nothing(inside, number, monkeypatch):
    before = listing(inside)
    calls = iter(range(100))
    real = Path.replace

    def replace(self, target):
        if next(calls) == number:
            raise OSError(errno.EIO, "broken")
        return real(self, target)

    monkeypatch.setattr(Path, "replace", replace)
    changed = plan(handler("print(2)").replace("bridge", "other"))
    if number < 3:  # the manifest, the script and the record
        with pytest.raises(OSError, match="broken"):
            write(changed, inside)
        assert listing(inside) == before
    else:
        write(changed, inside)


def test_after_a_kill_in_the_directory_that_this_runs_in_the_same_export_completes_the_rest(
    inside, monkeypatch
):
    changed = plan(handler("print(2)"))
    (inside / "workers" / "bridge.py").write_bytes(changed.files["workers/bridge.py"])  # and no record of it
    write(changed, inside)
    assert write(changed, inside) == []


def test_an_export_writes_through_no_link(tmp_path):
    (tmp_path / "elsewhere").mkdir()
    out = tmp_path / "out"
    out.mkdir()
    (out / "workers").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(UsageError, match="workers is a link to"):
        write(plan(handler("pass")), out, force=True)
    assert not list((tmp_path / "elsewhere").iterdir())


def test_links_and_modes_of_others_stay_what_they_are(tmp_path):
    out = tmp_path / "out"
    write(plan(handler("pass")), out)
    (out / "notes").mkdir()
    (out / "notes" / "run.sh").write_text("#!/bin/sh")
    (out / "notes" / "run.sh").chmod(0o755)
    (out / "notes" / "link").symlink_to("run.sh")
    out.chmod(0o750)
    write(plan(handler("print(1)")), out)
    assert (out / "notes" / "link").readlink() == Path("run.sh")
    assert (out / "notes" / "run.sh").stat().st_mode & 0o777 == 0o755
    assert out.stat().st_mode & 0o777 == 0o750


def test_a_file_where_the_directory_should_be_is_named(tmp_path):
    (tmp_path / "out").write_text("x")
    with pytest.raises(UsageError, match="out is a file; name a directory"):
        write(plan(handler("pass")), tmp_path / "out")
