"""What a user types by mistake is answered in one line that names what was meant, before anything is asked."""

from __future__ import annotations

import pytest

from dnworker.cli.main import main


def answered(words, capsys):
    try:
        code = main(words)
    except SystemExit as ended:
        code = ended.code
    return code, capsys.readouterr().err.splitlines()[-1]


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["srve"], "did you mean serve?"),
        (["help"], "did you mean --help?"),
        (["version"], "did you mean --version?"),
        (["run"], "did you mean serve?"),
        (["publish"], "did you mean fire?"),
        (
            ["serve", "--durabel"],
            "dnworker serve: unrecognized arguments: --durabel; did you mean --durable?",
        ),
        (["nodes", "x"], "dnworker nodes: unrecognized arguments: x"),
        (["tail", "--count", "0"], "argument --count: '0' is no whole number above 0"),
        (["tail", "--count", "x"], "argument --count: 'x' is no whole number above 0"),
        (["cursors", "rest"], "did you mean reset?"),
        (["export", "x", "-o", "d", "--topology", "uvx"], "did you mean uv?"),
        (["--json", "ps"], "dnworker: options stand after the command: dnworker ps --json (DN901)"),
        (["--url", "http://h", "logs", "-f", "a b"], "dnworker logs --url http://h -f 'a b' (DN901)"),
        (["-x"], "dnworker: the following arguments are required: COMMAND"),
    ],
)
def test_a_word_that_is_not_known_is_wrong_use(words, told, capsys):
    code, line = answered(words, capsys)
    assert (code, told in line) == (2, True), line


@pytest.mark.parametrize("command", ["serve", "config", "ps", "export"])
def test_the_usage_of_a_command_does_not_push_the_mistake_off_the_screen(command, capsys):
    with pytest.raises(SystemExit):
        main([command, "--no-such-option"])
    said = capsys.readouterr().err.splitlines()
    assert len(said) <= 8
    assert "usage" in said[0] or said[0] == f"`dnworker {command} --help` lists the options"


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (
            ["fire", "name=Ada", "demo.x"],
            "'name=Ada' is a field, and the kind comes first: dnworker fire demo.x name=Ada",
        ),
        (["fire", "name=Ada"], "dnworker fire KIND name=Ada (DN205)"),
        (["fire", "demo.x", "name"], "'name' is not of the form key=value (DN205)"),
        (["fire", "demo.x", '{"a": 1}'], "--payload '{\"a\": 1}' takes it whole"),
        (["restart", "demo"], "name it as capability:worker"),
        (["restart", ":x"], "name it as capability:worker"),
        (["ps", "--url", "localhost:8787"], "try http://localhost:8787"),
    ],
)
def test_what_cannot_be_meant_is_said_although_no_runtime_answers(words, told, capsys, monkeypatch):
    monkeypatch.setenv("DREADNODE_RUNTIME_URL", "http://127.0.0.1:9")
    code, line = answered(words, capsys)
    assert (code, told in line) == (1, True), line


@pytest.mark.parametrize(
    "command", [["validate"], ["pack", "-o", "o.tar.gz"], ["map"], ["import", "-o", "o.ipynb"]]
)
def test_every_command_that_takes_a_capability_names_what_it_was_given_instead(
    command, tmp_path, capsys, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "nb.ipynb").write_text("{}")
    code = main([*command, "nb.ipynb"])
    shown = "".join(capsys.readouterr())
    assert code == 1
    assert "it is a notebook; `dnworker export" in shown
    assert not (tmp_path / "o.tar.gz").exists()


def test_the_export_of_a_capability_names_the_import(tmp_path, capsys):
    code, line = answered(["export", str(tmp_path), "-o", str(tmp_path / "out")], capsys)
    assert (code, f"`dnworker import {tmp_path} -o FILE.ipynb`" in line) == (1, True)
