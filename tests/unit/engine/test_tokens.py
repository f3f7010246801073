"""The operator's token in a file: what is no token, and what becomes of one that goes."""

from __future__ import annotations

import logging
import os

import pytest

from dnworker.core.errors import UsageError
from dnworker.engine.tokens import Tokens, exposure


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "is empty"),
        (b" \n\t\n", "is empty"),
        (b"\xef\xbb\xbf\n", "is empty"),
        (b"one two", "one word"),
        (b"one\ntwo\n", "one word"),
        (b"a\0b", "one word"),
        (b"\xff\xfe", "no UTF-8"),
        (b"a" * 5_000, "one word"),
    ],
)
def test_a_file_without_a_token_is_refused_with_the_reason(tmp_path, content, said):
    file = tmp_path / "token"
    file.write_bytes(content)
    with pytest.raises(UsageError, match=said) as refused:
        Tokens(file=file)
    assert str(file) in str(refused.value)


@pytest.mark.parametrize("kind", ["directory", "pipe", "device", "link to nothing", "loop of links"])
def test_what_is_no_file_is_refused_and_never_waited_for(tmp_path, kind):
    file = tmp_path / "token"
    match kind:
        case "directory":
            file.mkdir()
        case "pipe":
            os.mkfifo(file)
        case "device":
            file.symlink_to("/dev/zero")
        case "link to nothing":
            file.symlink_to(tmp_path / "nothing")
        case _:
            file.symlink_to(file)
    with pytest.raises(UsageError, match="token file"):
        Tokens(file=file)
    assert not (tmp_path / "nothing").exists()


@pytest.mark.parametrize("text", ["word", " word\n", "\ufeffword\r\n"])
def test_what_surrounds_a_token_is_no_part_of_it(tmp_path, text):
    (tmp_path / "real").write_text(text, encoding="utf-8")
    (tmp_path / "token").symlink_to("real")
    assert Tokens(file=tmp_path / "token").main == "word"


@pytest.mark.parametrize(
    "spoil", [lambda f: f.write_text(""), lambda f: f.unlink(), lambda f: (f.unlink(), f.mkdir()),
              lambda f: f.write_text("two words"), lambda f: (f.unlink(), os.mkfifo(f))],
    ids=["empty", "gone", "directory", "words", "pipe"],
)  # fmt: skip
def test_a_file_that_loses_its_token_changes_nothing_and_is_said_once(tmp_path, caplog, spoil):
    file = tmp_path / "token"
    file.write_text("first")
    tokens = Tokens(file=file)
    retired: list[str] = []
    tokens.on_retired(retired.append)
    spoil(file)
    for _ in range(5):
        assert tokens.accepts("first")
    said = [r.getMessage() for r in caplog.records if r.levelno == logging.WARNING]
    assert len(said) == 1
    assert "the token stays what it was" in said[0]
    assert "first" not in said[0]
    file.rmdir() if file.is_dir() else file.unlink(missing_ok=True)
    file.write_text("second")
    assert not tokens.accepts("first")
    assert tokens.accepts("second")
    assert retired == ["first"]


@pytest.mark.parametrize(
    ("mode", "is_open"),
    [(0o600, False), (0o400, False), (0o644, True), (0o640, True), (0o606, True), (0o660, True)],
)
def test_a_file_that_others_can_open_is_told_apart(tmp_path, mode, is_open):
    file = tmp_path / "token"
    file.write_text("word")
    file.chmod(mode)
    assert (exposure(file) is not None) == is_open


def test_a_token_is_written_through_no_link(tmp_path):
    file = tmp_path / "token"
    tokens = Tokens("word", file=file)
    file.symlink_to(tmp_path / "elsewhere")
    tokens.write()
    assert not (tmp_path / "elsewhere").exists()


def test_who_listens_hears_of_a_revoked_token():
    tokens = Tokens("main")
    retired: list[str] = []
    tokens.on_retired(retired.append)
    token = tokens.mint("cap:w")
    ticket = tokens.issue_ticket(token)
    tokens.revoke(token)
    assert retired == [token]
    assert tokens.redeem(ticket) is None
