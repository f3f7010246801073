"""What scripts require is locked by the real uv, and an archive runs as it is unpacked."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import tarfile

import pytest
from uv import find_uv_bin

from dnworker.archive.packing import pack
from dnworker.archive.verifying import verify
from dnworker.cli.main import main
from dnworker.core.errors import UsageError

from ..cli.test_main import Served

HEAD = '# /// script\n# requires-python = ">=3.11"\n# dependencies = [{}]\n# ///\n'
INSIDE = "from dnworker import Worker\nworker = Worker(name='inside')\n"
OUTSIDE = "import time\nprint('up', flush=True)\nwhile True:\n    time.sleep(1)\n"
MANIFEST = """schema: 1
name: demo
version: 0.1.0
description: x
workers:
  inside: {path: workers/inside.py}
  outside: {command: uv, args: [run, '${CAPABILITY_ROOT}/workers/outside.py']}
"""


@pytest.fixture(autouse=True)
def offline(monkeypatch):
    monkeypatch.setenv("UV_OFFLINE", "1")
    monkeypatch.setenv("UV_PYTHON", sys.executable)


@pytest.fixture
def root(tmp_path):
    root = tmp_path / "demo"
    (root / "workers").mkdir(parents=True)
    (root / "capability.yaml").write_text(MANIFEST)
    (root / "workers" / "inside.py").write_text(HEAD.format("'nothing-of-this-name-at-all'") + INSIDE)
    (root / "workers" / "outside.py").write_text(HEAD.format("") + OUTSIDE)
    return root


def listing(directory):
    return {p: p.read_bytes() for p in directory.rglob("*") if p.is_file()}


def unpacked(file, to):
    with tarfile.open(file) as tar:
        tar.extractall(to, filter="data")
    return to


def test_scripts_that_uv_runs_are_locked_in_the_archive_and_nothing_else_changes(root, tmp_path):
    before = listing(root)
    packed = pack([root], tmp_path / "a.tar.gz")
    assert packed.locked == ["demo/workers/outside.py"]
    assert "demo/workers/outside.py.lock" in packed.files
    assert listing(root) == before
    assert verify(packed.file).ok
    assert pack([root], tmp_path / "b.tar.gz").file.read_bytes() == packed.file.read_bytes()


def test_locks_can_be_left_out_and_those_that_are_there_are_packed(root, tmp_path):
    assert "demo/workers/outside.py.lock" not in pack([root], tmp_path / "a.tar.gz", locks=False).files
    (root / "workers" / "outside.py.lock").write_text("version = 1\n")
    packed = pack([root], tmp_path / "b.tar.gz", locks=False)
    assert "demo/workers/outside.py.lock" in packed.files


@pytest.mark.parametrize("requires", ["'nothing-of-this-name-at-all'", "'no requirement at all'"])
def test_what_uv_cannot_lock_is_one_line_that_names_the_script_and_the_way_out(root, tmp_path, requires):
    (root / "workers" / "outside.py").write_text(HEAD.format(requires) + OUTSIDE)
    with pytest.raises(
        UsageError, match=r"outside\.py: uv cannot lock .* by --no-lock\. uv says: "
    ) as refused:
        pack([root], tmp_path / "a.tar.gz")
    assert "\n" not in str(refused.value)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["demo"]


@pytest.mark.slow
def test_uv_runs_an_unpacked_script_by_its_lock_and_changes_no_file(root, tmp_path):
    (root / "workers" / "outside.py").write_text(HEAD.format("") + "print('it runs')\n")
    there = unpacked(pack([root], tmp_path / "a.tar.gz").file, tmp_path / "un")
    script = there / "demo" / "workers" / "outside.py"
    command = [find_uv_bin(), "run", "--locked", "--script", script]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.stdout == "it runs\n", done.stderr
    assert verify(there).problems == []


@pytest.mark.slow
def test_what_is_unpacked_is_served_as_it_is(root, tmp_path, capsys):
    assert main(["pack", str(root), "-o", str(tmp_path / "a.tar.gz")]) == 0
    there = unpacked(tmp_path / "a.tar.gz", tmp_path / "un")
    with Served(tmp_path, "un") as served:
        workers = served.told()["workers"]
        assert {name: worker["state"] for name, worker in workers.items()} == {
            "demo:inside": "running",
            "demo:outside": "running",
        }
    assert main(["verify", str(there)]) == 0
    assert re.search(r"4 files as listed; the list is sha256 [0-9a-f]{64}", capsys.readouterr().out)


@pytest.mark.slow
def test_a_termination_while_uv_waits_for_its_index_leaves_nothing(root, tmp_path):
    (root / "workers" / "outside.py").write_text(HEAD.format("'something'") + OUTSIDE)
    temporary = tmp_path / "tmp"
    temporary.mkdir()
    with socket.create_server(("127.0.0.1", 0)) as index:
        index.settimeout(30)
        environ = {
            **{name: value for name, value in os.environ.items() if name != "UV_OFFLINE"},
            "UV_DEFAULT_INDEX": f"http://127.0.0.1:{index.getsockname()[1]}/",
            "UV_CACHE_DIR": str(tmp_path / "cache"),
            "TMPDIR": str(temporary),
        }
        words = [sys.executable, "-m", "dnworker", "pack", str(root), "-o", str(tmp_path / "a.tar.gz")]
        with subprocess.Popen(words, env=environ, stderr=subprocess.PIPE, text=True) as packing:
            waiting, _ = index.accept()
            packing.send_signal(signal.SIGTERM)
            _, said = packing.communicate(timeout=30)
            waiting.close()
    assert (packing.returncode, said) == (130, "dnworker: interrupted; nothing was written\n")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["cache", "demo", "tmp"]
    assert list(temporary.glob("dnworker-*")) == []


def test_a_disk_that_is_full_is_one_line(root, tmp_path, capsys, monkeypatch):
    def full(handle):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    assert main(["pack", str(root), "-o", str(tmp_path / "a.tar.gz"), "--no-lock"]) == 1
    said = capsys.readouterr().err
    assert (
        said == f"dnworker: {tmp_path / 'a.tar.gz'}: No space left on device; nothing was written (DN518)\n"
    )
    assert sorted(p.name for p in tmp_path.iterdir()) == ["demo"]


def test_the_commands_answer_in_json_and_with_exit_codes(root, tmp_path, capsys):
    file = tmp_path / "a.tar.gz"
    assert main(["pack", str(tmp_path), "-o", str(file), "--no-lock", "--json"]) == 0
    packed = json.loads(capsys.readouterr().out)
    assert (packed["ok"], packed["locked"], len(packed["files"])) == (True, [], 3)
    assert main(["verify", str(file), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["list"] == packed["list"]
    there = unpacked(file, tmp_path / "un")
    (there / "demo" / "workers" / "__pycache__").mkdir()
    (there / "demo" / "workers" / "__pycache__" / "a.pyc").write_bytes(os.urandom(8))
    assert main(["verify", str(there)]) == 1
    said = capsys.readouterr().out.splitlines()
    assert said[1] == "  demo/workers/__pycache__/a.pyc: is not listed"
    assert "PYTHONDONTWRITEBYTECODE=1" in said[2]
    assert main(["verify", str(tmp_path / "none")]) == 1
    assert capsys.readouterr().err.count("\n") == 1
