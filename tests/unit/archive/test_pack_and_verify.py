"""The same files give the same archive, and any change of any byte of it is found."""

from __future__ import annotations

import gzip
import os
import subprocess
import tarfile
import time
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dnworker.archive.packing import pack
from dnworker.archive.paths import LIST
from dnworker.archive.verifying import verify
from dnworker.core.errors import ManifestError, UsageError

MANIFEST = "schema: 1\nname: {name}\nversion: 0.1.0\ndescription: x\nworkers:\n  a: {{path: workers/a.py}}\n"


def make(root, name="demo", **files):
    files = {"workers/a.py": b"print(1)\n", **files}
    for path, data in {"capability.yaml": MANIFEST.format(name=name).encode(), **files}.items():
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_bytes(data)
    return root


def packed(tmp_path, *roots, name="out.tar.gz", **environ):
    return pack(roots, tmp_path / name, environ=environ)


@pytest.fixture
def archive(tmp_path):
    root = make(tmp_path / "demo", **{"run.sh": b"#!/bin/sh\n", "deep/er/data.bin": bytes(range(256)) * 5})
    (root / "run.sh").chmod(0o755)
    return packed(tmp_path, root).file


def unpacked(archive, to):
    with tarfile.open(archive) as tar:
        tar.extractall(to, filter="data")
    return to


def test_an_archive_and_what_is_unpacked_of_it_are_as_listed(archive, tmp_path):
    of_archive, of_directory = verify(archive), verify(unpacked(archive, tmp_path / "un"))
    assert (of_archive.problems, of_directory.problems) == ([], [])
    assert of_archive.files == of_directory.files == 4
    assert of_archive.list_digest == of_directory.list_digest != ""


def test_sha256sum_reads_the_list(archive, tmp_path):
    done = subprocess.run(
        ["sha256sum", "-c", "--strict", LIST], cwd=unpacked(archive, tmp_path / "un"), capture_output=True
    )
    assert done.returncode == 0


def test_times_owners_and_the_order_on_disk_change_no_byte(archive, tmp_path):
    files = {"deep/er/data.bin": bytes(range(256)) * 5, "run.sh": b"#!/bin/sh\n"}
    other = make(tmp_path / "other" / "place", **files)
    (other / "run.sh").chmod(0o700)
    (other / "workers" / "a.py").chmod(0o600)
    for file in other.rglob("*"):
        os.utime(file, (1, time.time() + 1e6))
    assert packed(tmp_path, other, name="b.tgz").file.read_bytes() == archive.read_bytes()


def test_modes_say_which_files_are_programs_and_nothing_else(archive):
    with tarfile.open(archive) as tar:
        modes = {info.name: info.mode for info in tar}
        assert {(info.uid, info.gid, info.uname, info.gname, info.mtime) for info in tar} == {
            (0, 0, "", "", 315532800)
        }
    assert modes.pop("demo/run.sh") == 0o755
    assert set(modes.values()) == {0o644}


def test_the_time_of_the_source_is_that_of_all_files(tmp_path):
    file = packed(tmp_path, make(tmp_path / "demo"), SOURCE_DATE_EPOCH="1700000000").file
    with tarfile.open(file) as tar:
        assert {info.mtime for info in tar} == {1700000000}
    assert verify(file).ok


@pytest.mark.parametrize("wrong", ["yesterday", "-1", "1.5", "9" * 11, "9" * 5000])
def test_a_time_that_is_none_is_refused(tmp_path, wrong):
    with pytest.raises(UsageError, match="SOURCE_DATE_EPOCH is"):
        packed(tmp_path, make(tmp_path / "demo"), SOURCE_DATE_EPOCH=wrong)
    assert not (tmp_path / "out.tar.gz").exists()


def test_hidden_files_caches_environments_and_notebooks_are_left_out_and_said(tmp_path):
    root = make(
        tmp_path / "demo",
        **{
            ".env": b"KEY=1",
            ".git/config": b"",
            "nb.ipynb": b"{}",
            "workers/__pycache__/a.pyc": b"",
            "env/pyvenv.cfg": b"",
            "env/lib/x.py": b"",
            ".mcp.json": b"{}",
        },
    )
    (root / "env" / "link").symlink_to("/")
    found = packed(tmp_path, root)
    assert found.files == ["demo/.mcp.json", "demo/capability.yaml", "demo/workers/a.py"]
    assert found.left_out == [
        "demo/.env", "demo/.git/", "demo/env/", "demo/nb.ipynb", "demo/workers/__pycache__/"
    ]  # fmt: skip


def test_an_archive_in_its_own_capability_is_left_out(tmp_path):
    root = make(tmp_path / "demo")
    first = pack([root], root / "demo.tar.gz").file.read_bytes()
    assert pack([root], root / "demo.tar.gz").file.read_bytes() == first


def test_an_earlier_archive_in_the_capability_is_left_out_and_said(tmp_path):
    root = make(tmp_path / "demo", **{"data.tar.gz": b"\x1f\x8b\x08 of somebody else"})
    first = pack([root], root / "one.tar.gz").file.read_bytes()
    found = pack([root], root / "two.tar.gz")
    assert found.file.read_bytes() == first
    assert found.left_out == ["demo/one.tar.gz"]
    assert "demo/data.tar.gz" in found.files


def test_several_capabilities_are_packed_by_name_in_any_order(tmp_path):
    one, two = make(tmp_path / "x", "one"), make(tmp_path / "y", "two")
    first = packed(tmp_path, one, two)
    assert first.files == [
        "one/capability.yaml",
        "one/workers/a.py",
        "two/capability.yaml",
        "two/workers/a.py",
    ]
    assert packed(tmp_path, two, one, name="b.tar.gz").file.read_bytes() == first.file.read_bytes()


def test_what_cannot_be_packed_is_named_and_leaves_no_file(tmp_path):
    root = make(tmp_path / "demo")
    with pytest.raises(UsageError, match="both named 'demo'"):
        packed(tmp_path, root, make(tmp_path / "again"))
    with pytest.raises(ManifestError, match=r"capability\.yaml"):
        packed(tmp_path, tmp_path / "none")
    with pytest.raises(UsageError, match=r"an archive is a \.tar\.gz; name it out\.zip\.tar\.gz"):
        packed(tmp_path, root, name="out.zip")
    with pytest.raises(UsageError, match="there is no directory"):
        packed(tmp_path, root, name="none/out.tar.gz")
    (tmp_path / "dir.tar.gz").mkdir()
    with pytest.raises(UsageError, match="is a directory; name a file"):
        packed(tmp_path, root, name="dir.tar.gz")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["again", "demo", "dir.tar.gz"]


@pytest.mark.parametrize("name", ["link", "pipe", "back\\slash", "new\nline", "Workers/b.py"])
def test_files_that_no_archive_may_hold_are_named(tmp_path, name):
    root = make(tmp_path / "demo")
    match name:
        case "link":
            (root / name).symlink_to("/etc/passwd")
        case "pipe":
            os.mkfifo(root / name)
        case _:
            (root / name).parent.mkdir(exist_ok=True)
            (root / name).write_text("")
    with pytest.raises(UsageError) as refused:
        packed(tmp_path, root)
    assert "\n" not in str(refused.value)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["demo"]


def test_a_disk_that_fails_leaves_the_old_archive(archive, tmp_path, monkeypatch):
    before = archive.read_bytes()

    def full(fd):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        packed(tmp_path, tmp_path / "demo")
    assert archive.read_bytes() == before
    assert sorted(p.name for p in tmp_path.iterdir()) == ["demo", "out.tar.gz"]


def test_each_file_that_differs_is_missing_or_is_not_listed_is_named(archive, tmp_path):
    root = unpacked(archive, tmp_path / "un")
    (root / "demo/run.sh").write_text("other")
    (root / "demo/deep/er/data.bin").unlink()
    (root / "demo/workers/new.py").write_text("")
    (root / "demo/link").symlink_to("run.sh")
    assert verify(root).problems == [
        "demo/link: is a link",
        "demo/deep/er/data.bin: is missing",
        "demo/link: is not listed",
        "demo/run.sh: differs from what is listed",
        "demo/workers/new.py: is not listed",
    ]


def test_a_link_in_the_place_of_a_file_is_found_though_it_leads_to_the_same_bytes(archive, tmp_path):
    root = unpacked(archive, tmp_path / "un")
    (root / "demo/run.sh").rename(tmp_path / "run.sh")
    (root / "demo/run.sh").symlink_to(tmp_path / "run.sh")
    assert "demo/run.sh: is a link" in verify(root).problems


SMALL = settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))


@SMALL
@given(st.data())
def test_any_change_of_any_byte_of_an_unpacked_file_is_found(archive, data):
    root = archive.parent / "un"
    unpacked(archive, root)
    files = sorted(p for p in root.rglob("*") if p.is_file())
    file = data.draw(st.sampled_from(files))
    old = file.read_bytes()
    place = data.draw(st.integers(0, len(old)))
    change = data.draw(st.binary(max_size=2))
    new = old[:place] + change + old[place + data.draw(st.integers(0, 2)) :]
    file.write_bytes(new)
    try:
        assert verify(root).ok is (new == old)
    finally:
        file.write_bytes(old)


@SMALL
@given(st.data())
def test_any_change_of_any_byte_inside_an_archive_is_found(archive, data):
    plain = gzip.decompress(archive.read_bytes())
    place = data.draw(st.integers(0, len(plain) - 1))
    new = plain[:place] + data.draw(st.binary(min_size=1, max_size=3)) + plain[place + 1 :]
    changed = archive.with_name("changed.tar.gz")
    changed.write_bytes(gzip.compress(new, 9, mtime=0)[:9] + b"\xff" + gzip.compress(new, 9, mtime=0)[10:])
    assert same_or_found(changed, new == plain)


@SMALL
@given(st.data())
def test_any_change_of_any_byte_of_the_packed_file_is_found_or_packs_the_same(archive, data):
    old = archive.read_bytes()
    place = data.draw(st.integers(0, len(old)))
    new = old[:place] + data.draw(st.binary(max_size=2)) + old[place + data.draw(st.integers(0, 2)) :]
    changed = archive.with_name("changed.tar.gz")
    changed.write_bytes(new)
    try:
        unchanged = gzip.decompress(new) == gzip.decompress(old) and new[:10] == old[:10]
    except Exception:
        unchanged = False
    assert same_or_found(changed, unchanged)


def same_or_found(file: Path, unchanged: bool) -> bool:
    """Return whether a file is found to be right just where nothing of it changed."""
    try:
        return verify(file).ok is unchanged
    except UsageError:  # it is no archive any more, or has no list
        return not unchanged
