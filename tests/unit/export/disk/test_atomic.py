"""The exchange of directories: a crash leaves the old or the new one."""

from __future__ import annotations

import contextlib
import os
import shutil

import pytest

from dnworker.core.errors import UsageError
from dnworker_jupyter.export.disk import atomic as exchange
from dnworker_jupyter.export.disk.write import write
from tests.unit.export.builders import handler, plan


def test_what_a_killed_export_left_behind_goes_when_it_is_old(tmp_path):
    stale, fresh, other = (
        tmp_path / name for name in (".out.dnworker-a", ".out.dnworker-b", ".out2.dnworker-a")
    )
    for left in (stale, fresh, other):
        (left / "workers").mkdir(parents=True)
    for left in (stale, other):
        os.utime(left, (1, 1))
    write(plan(handler("pass")), tmp_path / "out")
    assert not stale.exists()
    assert fresh.exists()
    assert other.exists()


@pytest.mark.parametrize("step", range(1, 40))
def test_a_crash_at_any_step_leaves_the_old_export_or_the_new_one_whole(tmp_path, monkeypatch, step):
    out = tmp_path / "out"
    old, new = plan(handler("print(1)"), handler("pass").replace("bridge", "gone")), plan(handler("print(2)"))
    write(old, out)
    (out / "notes.md").write_text("mine")
    contents = {name: {**made.files, "notes.md": b"mine"} for name, made in (("old", old), ("new", new))}
    steps = iter(range(1, 1000))

    class Crash(BaseException):
        pass

    def count(original):
        def call(*args, **kwargs):
            if next(steps) == step:
                raise Crash
            return original(*args, **kwargs)

        return call

    for name in ("link", "fsync", "rename", "open", "mkdir", "unlink", "rmdir", "scandir"):
        monkeypatch.setattr(os, name, count(getattr(os, name)))
    monkeypatch.setattr(exchange, "_exchange", count(exchange._exchange))
    with contextlib.suppress(Crash):
        write(new, out)
    monkeypatch.undo()
    there = {p.relative_to(out).as_posix(): p.read_bytes() for p in out.rglob("*") if p.is_file()}
    there.pop(".dnworker-export.json")
    assert there in contents.values()
    write(new, out)
    assert (out / "notes.md").read_bytes() == b"mine"
    assert not (out / "workers" / "gone.py").exists()


def test_where_names_cannot_be_exchanged_a_crash_between_two_renames_is_mended_by_the_next_export(
    tmp_path, monkeypatch
):
    out = tmp_path / "out"
    write(plan(handler("print(1)")), out)
    monkeypatch.setattr(exchange, "_exchange", lambda one, other: False)
    write(plan(handler("print(2)")), out)
    assert [p.name for p in tmp_path.iterdir()] == ["out"]
    out.rename(tmp_path / ".out.dnworker-aside")  # as a crash would leave it
    with pytest.raises(UsageError, match="edited"):
        (tmp_path / ".out.dnworker-aside" / "capability.yaml").write_text("mine")
        write(plan(handler("print(3)")), out)
    assert (out / "capability.yaml").read_text() == "mine"


def test_what_a_crash_after_the_second_rename_left_aside_is_removed(tmp_path, monkeypatch):
    out = tmp_path / "out"
    write(plan(handler("print(1)")), out)
    shutil.copytree(out, tmp_path / ".out.dnworker-aside")
    monkeypatch.setattr(exchange, "_exchange", lambda one, other: False)
    write(plan(handler("print(2)")), out)
    assert [p.name for p in tmp_path.iterdir()] == ["out"]
