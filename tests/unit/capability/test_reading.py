"""Files that are none, files that are too large, and directories without an end are refused at once."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest

from dnworker.capability import reading
from dnworker.capability.reading import (
    Budget,
    NotText,
    TooLarge,
    UnreadableFile,
    read_bytes,
    read_json,
    read_text,
    refuse_large,
    resolved,
    shown,
)

pytestmark = pytest.mark.timeout(20)


def make_socket(path: Path) -> None:
    os.chdir(path.parent)  # the address of a socket is short
    with socket.socket(socket.AF_UNIX) as one:
        one.bind(path.name)


@pytest.mark.parametrize(
    ("make", "why"),
    [
        (os.mkfifo, "it is a named pipe, and a regular file is wanted"),
        (os.mkdir, "it is a directory, and a regular file is wanted"),
        (make_socket, "it is a socket, and a regular file is wanted"),
        (lambda path: path.symlink_to("/dev/zero"), "it is a device, and a regular file is wanted"),
        (lambda path: path.symlink_to(path), "Too many levels of symbolic links"),
        (lambda path: path.write_bytes(b"x" * 11), "is larger than 10 bytes; make it smaller"),
        (lambda path: None, "No such file or directory"),
    ],
    ids=["fifo", "directory", "socket", "device", "loop", "large", "missing"],
)
def test_what_is_no_regular_file_is_refused_without_waiting_for_it(tmp_path, make, why, monkeypatch):
    monkeypatch.chdir(tmp_path)  # back again afterwards
    make(tmp_path / "x")
    with pytest.raises(UnreadableFile, match=why) as refused:
        read_bytes(tmp_path / "x", 10)
    assert str(refused.value).startswith(f"{tmp_path}/x: ")


@pytest.mark.parametrize("name", ["a\0b", "x" * 300, "\ud800"], ids=["nul", "long", "surrogate"])
def test_a_name_that_no_file_can_have_is_said_in_one_line(tmp_path, name):
    for read in (read_bytes, resolved):
        with pytest.raises(UnreadableFile) as refused:
            read(tmp_path / name)
        assert str(refused.value).isprintable()


def test_a_loop_of_links_has_no_place(tmp_path):
    (tmp_path / "a").symlink_to("b")
    (tmp_path / "b").symlink_to("a")
    with pytest.raises(UnreadableFile, match="is a loop of symbolic links"):
        resolved(tmp_path / "a" / "file.py")
    assert resolved(tmp_path / "gone" / ".." / "x") == tmp_path.resolve() / "x"


@pytest.mark.parametrize(
    ("data", "why"),
    [
        ("a: ä\n".encode("latin-1"), r"byte 3, line 1\); save it as UTF-8"),
        ("a\nb\n".encode("utf-16"), "it looks like UTF-16; save it as UTF-8"),
    ],
)
def test_text_in_another_encoding_is_refused_with_the_way_out(tmp_path, data, why):
    (tmp_path / "x").write_bytes(data)
    with pytest.raises(NotText, match=why):
        read_text(tmp_path / "x")


def test_line_ends_of_all_systems_are_one(tmp_path):
    (tmp_path / "x").write_bytes(b"a\r\nb\rc\n")
    assert read_text(tmp_path / "x") == "a\nb\nc\n" == (tmp_path / "x").read_text()


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("{", "line 1, column 2"),
        ("[" * 100_000, "nested deeper than 100 levels"),
        ("[" * 200 + "]" * 200, "nested deeper than 100 levels"),
        ('"\\ud800"', "has a lone surrogate"),
        ("NaN", "NaN is no JSON"),
        ("1" * 5_000, "Exceeds the limit"),
        ("[" + "1," * 20_000 + "1]", "more than 10,000 values"),
    ],
    ids=["open", "deep", "nested", "surrogate", "nan", "digits", "many"],
)
def test_json_that_no_answer_could_carry_is_refused(tmp_path, text, why):
    (tmp_path / "x").write_text(text)
    with pytest.raises(ValueError, match=why):
        read_json(tmp_path / "x")


def test_what_occurs_twice_counts_twice_however_often_that_is():
    value: list[object] = ["x"]
    for _ in range(60):
        value = [value, value]
    with pytest.raises(TooLarge, match="more than 10,000 values"):
        refuse_large(value)
    text = "x" * 400_000
    with pytest.raises(TooLarge, match="more than 1,000,000 characters"):
        refuse_large({"a": [text, text], "b": {"c": text}})
    with pytest.raises(TooLarge, match="more than 1,000,000 characters"):
        refuse_large([text, text, text])
    refuse_large({"a": [text, text], "b": list(range(9_000))})


def test_a_value_that_contains_itself_is_refused():
    value: dict[str, object] = {"a": []}
    value["b"] = {"c": value}
    with pytest.raises(TooLarge, match="refers to what contains it"):
        refuse_large(value)


def test_a_message_is_one_short_line():
    assert shown("a\nb\ud800\x1b") == "a\\nb\\ud800\\x1b"
    assert len(shown("x" * 10_000)) < 500
    assert "9,600 characters" in shown("x" * 10_000)


def test_a_directory_is_walked_up_to_a_number_of_entries_and_a_depth(tmp_path, monkeypatch):
    monkeypatch.setattr(reading, "DEEPEST", 3)
    deep = tmp_path / "a" / "b" / "c" / "d" / "e"
    deep.mkdir(parents=True)
    (deep / "x.md").touch()
    (tmp_path / "a" / "y.md").touch()
    (tmp_path / "a" / "up").symlink_to(tmp_path)
    budget = Budget()
    assert budget.files_below(tmp_path, lambda name: name.endswith(".md")) == [tmp_path / "a" / "y.md"]
    assert budget.problems == [f"{tmp_path}: what lies deeper than 3 directories is not read"]
    few = Budget(entries=2)
    few.files_below(tmp_path, lambda name: True)
    assert "what follows is not read" in few.problems[0]


def test_files_are_read_up_to_a_number_of_bytes_in_all(tmp_path):
    for name in "abc":
        (tmp_path / name).write_bytes(b"x" * 10)
    budget = Budget(size=25)
    assert [budget.may_read(tmp_path / name) for name in "abc"] == [True, True, False]
    assert "not all are read" in budget.problems[0]


def test_a_directory_that_may_not_be_read_is_said(tmp_path):
    budget = Budget()
    assert budget.files_below(tmp_path / "gone", lambda name: True) == []
    assert budget.problems == [f"{tmp_path}/gone: cannot be read: No such file or directory"]
