"""`dnworker validate` says what code of a capability it runs before that runs, and runs none where it must not."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from ..capabilities import ECHO, make_capability

pytestmark = [pytest.mark.timeout(120), pytest.mark.slow]

HEAD = "checks:\n  - {name: look, command: 'touch ran; cat /dev/stdin; exit 3'}\n"


def validate(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "dnworker", "validate", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=100)


@pytest.mark.clause("10.1 validate")
def test_it_says_which_check_it_runs_and_the_answer_stays_json(tmp_path):
    root = make_capability(tmp_path / "cap", "echo: {path: echo.py}", {"echo.py": ECHO}, HEAD)
    done = validate(root, "--json")
    assert (root / "ran").exists()
    assert f"{root}: running check 'look': touch ran; cat /dev/stdin; exit 3" in done.stderr.splitlines()
    assert json.loads(done.stdout)[0]["problems"] == ["check look: exit code 3"]


def test_without_checks_nothing_runs_and_it_says_what_did_not(tmp_path):
    root = make_capability(tmp_path / "cap", "echo: {path: echo.py}", {"echo.py": "open('ran', 'w')"}, HEAD)
    done = validate(root, "--no-checks")
    assert done.returncode == 0
    assert done.stdout == f"{root}: ok (1 worker)\n"
    assert done.stderr == f"{root}: shell checks are not run: look\n"
    assert not (root / "ran").exists()


def test_strict_says_which_modules_it_imports_before_it_does(tmp_path):
    root = make_capability(tmp_path / "cap", "echo: {path: echo.py}", {"echo.py": "import os; os._exit(3)"})
    done = validate(root, "--strict", "--no-checks", "--json")
    assert done.stderr == f"{root}: importing {root}/echo.py, which runs its code\n"
    assert json.loads(done.stdout)[0]["problems"] == ["worker demo:echo: its module ended with code 3"]


def test_a_module_that_prints_much_and_leaves_a_process_behind_is_imported_all_the_same(tmp_path):
    source = (
        "import subprocess, sys\n"
        "subprocess.Popen(['sleep', '300'])\n"
        "for _ in range(300):\n    sys.stderr.write('x' * 100_000)\n    sys.stdout.write('x' * 100_000)\n"
        "raise ValueError('no')\n"
    )
    root = make_capability(tmp_path / "cap", "echo: {path: echo.py}", {"echo.py": source})
    (result,) = json.loads(validate(root, "--strict", "--json").stdout)
    (problem,) = result["problems"]
    assert "ValueError: no" in problem
    assert len(problem) < 1_000


def test_what_cannot_be_read_is_a_problem_of_its_capability_and_the_others_are_checked(tmp_path):
    make_capability(tmp_path / "good", "echo: {path: echo.py}", {"echo.py": ECHO})
    bomb = "".join(f"a{i}: &a{i} [{','.join([f'*a{i - 1}'] * 9)}]\n" for i in range(1, 9))
    for name, text in (("bomb", f"a0: &a0 x\n{bomb}"), ("big", "#" * 2_000_000)):
        (tmp_path / name).mkdir()
        (tmp_path / name / "capability.yaml").write_text(text)
    (tmp_path / "pipe").mkdir()
    os.mkfifo(tmp_path / "pipe" / "capability.yaml")
    done = validate(tmp_path, "--json")
    results = {Path(r["path"]).name: r for r in json.loads(done.stdout)}
    assert done.returncode == 1
    assert {name: r["ok"] for name, r in results.items()} == {
        "bomb": False,
        "big": False,
        "pipe": False,
        "good": True,
    }
    assert "capability.yaml:6:5: more than 10,000 values" in results["bomb"]["problems"][0]
    assert "is larger than 1,000,000 bytes" in results["big"]["problems"][0]
    assert "it is a named pipe" in results["pipe"]["problems"][0]


def test_a_key_that_stands_twice_is_a_problem(tmp_path):
    root = make_capability(tmp_path / "cap", "echo: {path: a.py}\necho: {path: echo.py}", {"echo.py": ECHO})
    done = validate(root)
    assert done.returncode == 0
    assert f"{root}/capability.yaml:7:3: 'echo' stands twice; the last one counts" in done.stdout
    assert validate(root, "--strict").returncode == 1
