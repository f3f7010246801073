"""Archives and directories that somebody made to do harm are read within bounds, and named for what they are."""

from __future__ import annotations

import gzip
import hashlib
import io
import os
import tarfile
import tracemalloc

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dnworker.archive import directory, reading
from dnworker.archive.paths import LIST, MOST_FILES, clashes, path_problem
from dnworker.archive.sums import BadList, parse, render
from dnworker.archive.tar import GZIP_HEADER
from dnworker.archive.verifying import verify
from dnworker.core.errors import UsageError


def gz(data):
    return GZIP_HEADER + gzip.compress(data, 9, mtime=0)[10:]


def tar_of(*members, tail=b""):
    """Return an archive of files (a name and bytes) or of members."""
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for member in members:
            if isinstance(member, tarfile.TarInfo):
                tar.addfile(member)
            else:
                name, data = member
                info = tarfile.TarInfo(name)
                info.size, info.mtime, info.mode = len(data), 315_532_800, 0o644
                tar.addfile(info, io.BytesIO(data))
    return stream.getvalue() + tail


def list_of(*files):
    return LIST, render({name: hashlib.sha256(data).hexdigest() for name, data in files})


def problems(tmp_path, data):
    file = tmp_path / "x.tar.gz"
    file.write_bytes(data)
    return verify(file).problems


def member(name, kind, link=""):
    info = tarfile.TarInfo(name)
    info.type, info.linkname, info.mode = kind, link, 0o644
    return info


GOOD = ("demo/a", b"1")


@pytest.mark.parametrize(
    ("info", "said"),
    [
        (member("demo/l", tarfile.SYMTYPE, "/etc"), "demo/l: is a link"),
        (member("demo/l", tarfile.LNKTYPE, "demo/a"), "demo/l: is a link"),
        (member("demo/d", tarfile.CHRTYPE), "demo/d: is no regular file"),
        (member("demo/d", tarfile.BLKTYPE), "demo/d: is no regular file"),
        (member("demo/d", tarfile.FIFOTYPE), "demo/d: is no regular file"),
        (member("demo/d", tarfile.DIRTYPE), "demo/d: is no regular file"),
        (member("demo/d", tarfile.CONTTYPE), "demo/d: is no regular file"),
    ],
)
def test_what_is_no_regular_file_is_named(tmp_path, info, said):
    found = problems(tmp_path, gz(tar_of(list_of(GOOD), GOOD, info)))
    assert any(line.startswith(said) for line in found)


@pytest.mark.parametrize("mode", [0o4755, 0o777, 0o600])
def test_other_modes_are_named(tmp_path, mode):
    info = member("demo/b", tarfile.REGTYPE)
    info.mode = mode
    assert any(
        f"has the mode {mode:o}" in line for line in problems(tmp_path, gz(tar_of(list_of(GOOD), GOOD, info)))
    )


@pytest.mark.parametrize(
    "path",
    ["/etc/passwd", "../up", "demo/../../up", "demo/./a", "demo//a", "C:/x", "a\\b", "a\nb", "a\x1b[2J"],
)
def test_paths_that_lead_out_or_control_a_terminal_are_named(tmp_path, path):
    files = (path, b"x"), GOOD
    listed = "".join(f"{hashlib.sha256(data).hexdigest()}  {name}\n" for name, data in files).encode()
    found = problems(tmp_path, gz(tar_of((LIST, listed), *sorted(files))))
    assert found
    assert all(line.isprintable() for line in found)
    assert path_problem(path) is not None
    assert sorted(p.name for p in tmp_path.iterdir()) == ["x.tar.gz"]


def test_two_names_that_differ_by_case_and_one_that_is_there_twice_are_named(tmp_path):
    found = problems(tmp_path, gz(tar_of(list_of(GOOD, ("demo/A", b"2")), ("demo/A", b"2"), GOOD)))
    assert "demo/a: differs from demo/A by upper and lower case only" in found
    found = problems(tmp_path, gz(tar_of(list_of(GOOD), ("demo/a", b"evil"), GOOD)))
    assert "demo/a: is there twice" in found


def test_a_second_list_is_named(tmp_path):
    found = problems(tmp_path, gz(tar_of(list_of(GOOD), list_of(), GOOD)))
    assert f"{LIST}: is there twice" in found


@pytest.mark.parametrize(
    "data",
    [
        gz(tar_of(list_of(GOOD), GOOD)) + b"x",
        gz(tar_of(list_of(GOOD), GOOD)) + gz(b"more"),
        gz(tar_of(list_of(GOOD), GOOD, tail=b"hidden")),
        gz(tar_of(list_of(GOOD), GOOD, tail=bytes(512))),
        gz(tar_of(GOOD, list_of(GOOD))),
        gzip.compress(tar_of(list_of(GOOD), GOOD), mtime=5),
        gz(tar_of(list_of(GOOD), GOOD))[:-9],
    ],
    ids=["byte behind", "member behind", "hidden", "zeros", "order", "header", "cut off"],
)
def test_what_hides_around_the_files_is_found(tmp_path, data):
    assert problems(tmp_path, data)


def test_the_good_one_of_these_is_good(tmp_path):
    assert problems(tmp_path, gz(tar_of(list_of(GOOD), GOOD))) == []


def test_a_bomb_ends_at_the_bound(tmp_path, monkeypatch):
    monkeypatch.setattr(reading, "_MOST_TAR", 3_000_000)
    found = problems(tmp_path, gz(tar_of(list_of(GOOD), ("demo/big", bytes(50_000_000)))))
    assert len(found) == 1
    assert "holds more than" in found[0]


def test_a_header_that_claims_to_be_long_is_not_read_into_memory(tmp_path):
    info = member("x", tarfile.XHDTYPE)
    info.size = 90_000_000
    data = gz(info.tobuf(tarfile.USTAR_FORMAT) + bytes(90_000_000))
    tracemalloc.start()
    try:
        found = problems(tmp_path, data)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert any("header that is longer" in line for line in found)
    assert peak < 20_000_000


def test_too_many_files_are_not_read_on(tmp_path, monkeypatch):
    monkeypatch.setattr(reading, "MOST_FILES", 10)
    monkeypatch.setattr(directory, "MOST_FILES", 10)
    files = [(f"demo/{n:02}", b"") for n in range(30)]
    assert any(
        "holds more than 10 files" in p for p in problems(tmp_path, gz(tar_of(list_of(*files), *files)))
    )
    for name, data in [list_of(*files), *files]:
        (tmp_path / "d" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "d" / name).write_bytes(data)
    found = verify(tmp_path / "d").problems
    assert any("holds more than 10 files" in p for p in found)
    assert not any("is missing" in p for p in found)


@pytest.mark.parametrize("data", [b"", b"PK\x03\x04zip", b"\x1f\x8b", b"plain text" * 100])
def test_what_is_no_archive_is_refused(tmp_path, data):
    with pytest.raises(UsageError, match=r"is no \.tar\.gz"):
        problems(tmp_path, data)


def test_an_archive_or_a_directory_without_a_list_is_refused(tmp_path):
    with pytest.raises(UsageError, match=f"has no {LIST}"):
        verify(tmp_path)
    with pytest.raises(UsageError, match="no such file or directory"):
        verify(tmp_path / "none")
    assert problems(tmp_path, gz(tar_of(GOOD))) != []


def test_pipes_and_links_of_a_directory_are_not_followed(tmp_path):
    root = tmp_path / "d"
    (root / "demo").mkdir(parents=True)
    (root / LIST).write_bytes(list_of(GOOD)[1])
    os.mkfifo(root / "demo" / "a")
    (root / "demo" / "loop").symlink_to("..")
    assert sorted(verify(root).problems) == [
        "demo/a: differs from what is listed",
        "demo/a: is no regular file",
        "demo/loop: is a link",
        "demo/loop: is not listed",
    ]


def test_a_pipe_in_the_place_of_the_list_is_named(tmp_path):
    os.mkfifo(tmp_path / LIST)
    assert verify(tmp_path).problems == [
        f"{LIST}: cannot be read: it is a named pipe, and a regular file is wanted"
    ]


@settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.binary(max_size=3000))
def test_no_bytes_make_it_fail_otherwise_than_by_a_message(tmp_path, data):
    for one in (gz(data), gz(tar_of(list_of(GOOD), GOOD)[:1024] + data)):
        try:
            assert problems(tmp_path, one)
        except UsageError as exc:
            assert "\n" not in str(exc)


@given(
    st.dictionaries(
        st.text(min_size=1, max_size=30).filter(lambda p: path_problem(p) is None and p != LIST),
        st.binary(min_size=32, max_size=32).map(bytes.hex),
    )
)
def test_a_list_is_read_as_it_was_written(sums):
    assert parse(render(sums)) == sums


@given(st.binary(max_size=300))
def test_other_text_is_no_list(data):
    try:
        assert render(parse(data)) == data
    except BadList as exc:
        assert "\n" not in str(exc)


@given(
    st.lists(st.text("aAbß/s", min_size=1, max_size=6).filter(lambda p: path_problem(p) is None), unique=True)
)
def test_paths_without_a_clash_are_distinct_where_case_is_ignored(paths):
    if not list(clashes(paths)):
        assert len({p.casefold() for p in paths}) == len(paths)
        assert not any(q.casefold().startswith(f"{p.casefold()}/") for p in paths for q in paths)


def test_the_bound_of_files_is_that_of_lists():
    digest = "0" * 64
    with pytest.raises(BadList, match="more than"):
        parse("".join(f"{digest}  {n:06}\n" for n in range(MOST_FILES + 1)).encode())
