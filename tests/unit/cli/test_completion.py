"""`dnworker completion`: the script of each shell is right, and a real bash completes with it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pexpect
import pytest

from dnworker.cli.completion import SHELLS, script
from dnworker.cli.main import main, make_parser

BASH = shutil.which("bash")


def written(tmp_path, shell):
    file = tmp_path / f"dnworker.{shell}"
    file.write_text(script(make_parser(), shell))
    return file


@pytest.mark.parametrize("shell", SHELLS)
def test_the_script_of_a_shell_names_every_command_and_is_right_for_it(tmp_path, shell):
    file = written(tmp_path, shell)
    assert all(word in file.read_text() for word in ("validate", "token-file", "--workers"))
    program = shutil.which(shell)
    if program is None:
        pytest.skip(f"no {shell} here: its syntax is not checked")
    done = subprocess.run([program, "-n", str(file)], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.fixture
def shell(tmp_path):
    """A bash that completes dnworker, with a command that knows two workers."""
    if BASH is None:
        pytest.skip("no bash here")
    (tmp_path / "shop.d").mkdir()
    (tmp_path / "file.txt").write_text("")
    program = tmp_path / "bin" / "dnworker"
    program.parent.mkdir()
    program.write_text("#!/bin/sh\n[ \"$2\" = --workers ] && printf 'demo:greeter\\nshop:till\\n'\n")
    program.chmod(0o755)
    environ = {"PATH": f"{program.parent}:/usr/bin:/bin", "TERM": "dumb", "HOME": str(tmp_path), "PS1": "$ "}
    child = pexpect.spawn(
        BASH, ["--norc", "--noprofile"], env=environ, cwd=tmp_path, encoding="utf-8", timeout=10
    )
    child.sendline(f"bind 'set bell-style none'; source {written(tmp_path, 'bash')}; PS1='rea''dy> '")
    child.expect("ready> ")
    yield child
    child.close(force=True)


@pytest.mark.parametrize(
    ("typed", "shown"),
    [
        ("dnworker va", "dnworker validate "),
        ("dnworker serve --token-f", "dnworker serve --token-file "),
        ("dnworker export --target dre", "dnworker export --target dreadnode "),
        ("dnworker completion f", "dnworker completion fish "),
        ("dnworker restart de", "dnworker restart demo:greeter "),
        ("dnworker restart demo:gr", "dnworker restart demo:greeter "),
        ("dnworker validate sh", "dnworker validate shop.d"),
        ("dnworker export fi", "dnworker export file.txt"),
    ],
)
def test_a_real_bash_completes(shell, typed, shown):
    shell.send(f"{typed}\t")
    shell.expect_exact(shown)


def test_workers_are_those_of_the_runtime_and_none_runs_here(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("DREADNODE_RUNTIME_URL", "http://127.0.0.1:9")
    assert main(["completion", "--workers"]) == 1
    assert "no runtime answers at http://127.0.0.1:9" in capsys.readouterr().err


def test_a_shell_that_is_not_known_is_named_with_the_nearest(capsys):
    with pytest.raises(SystemExit):
        main(["completion", "bsh"])
    assert "did you mean bash?" in capsys.readouterr().err


def test_without_shtab_it_says_what_to_install():
    bare = "import sys; sys.modules['shtab'] = None; from dnworker.cli.main import main; sys.exit(main(sys.argv[1:]))"
    command = [sys.executable, "-c", bare, "completion", "bash"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr == (
        "dnworker: `dnworker completion` needs shtab; install it with: pip install 'dnworker[runtime]' (DN902)\n"
    )


def test_the_man_page_has_no_mistake_and_shows_every_command():
    man = shutil.which("man")
    if man is None:
        pytest.skip("no man here")
    page = Path(__file__).parents[3] / "man" / "dnworker.1"
    environ = {**os.environ, "MANWIDTH": "100", "LC_ALL": "C.UTF-8"}
    command = [man, "--warnings", "-P", "cat", "-l", str(page)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environ)
    assert (done.returncode, done.stderr) == (0, "")
    assert all(f"dnworker {name}" in done.stdout for name in ("serve", "doctor", "completion", "fire"))
    linter = shutil.which("mandoc")
    if linter is not None:
        done = subprocess.run(
            [linter, "-Tlint", "-W", "error", str(page)], capture_output=True, text=True, check=False
        )
        assert (done.returncode, done.stdout) == (0, "")
