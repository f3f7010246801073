"""Long work shows at a terminal what it does, and elsewhere nothing."""

from __future__ import annotations

import os
import pty
import re
import subprocess
import sys

import pytest

MANIFEST = (
    "schema: 1\nname: shop\nversion: 0.1.0\ndescription: Bills\nworkers: {billing: {path: billing.py}}\n"
)

WORKER = """\
from dnworker import Worker

worker = Worker(name="billing")


@worker.on_event("shop.ordered")
async def bill(event, client): ...
"""

COMMANDS = {
    "deploy": (["deploy", "systemd", "shop", "-o", "made", "--name", "shop"], "packing shop"),
    "pack": (["pack", "shop", "-o", "shop.tar.gz"], "writing shop.tar.gz"),
    "import": (["import", "shop", "-o", "shop.ipynb"], "reading worker billing (1 of 1)"),
}


@pytest.fixture
def shop(tmp_path):
    (tmp_path / "shop").mkdir()
    (tmp_path / "shop" / "capability.yaml").write_text(MANIFEST)
    (tmp_path / "shop" / "billing.py").write_text(WORKER)
    return tmp_path


def run(shop, words, stderr):
    command = [sys.executable, "-m", "dnworker", *words]
    environment = {
        name: value for name, value in os.environ.items() if name not in ("FORCE_COLOR", "NO_COLOR")
    }
    environment |= {"TERM": "xterm", "COLUMNS": "100"}
    return subprocess.Popen(
        command, cwd=shop, env=environment, stdout=subprocess.PIPE, stderr=stderr, text=True
    )


@pytest.mark.slow
@pytest.mark.parametrize("name", COMMANDS)
def test_at_a_terminal_a_line_says_what_is_done_and_is_gone_at_the_end(shop, name):
    words, doing = COMMANDS[name]
    ours, theirs = pty.openpty()
    process = run(shop, words, theirs)
    os.close(theirs)
    shown = b""
    while True:
        try:
            part = os.read(ours, 4096)
        except OSError:  # Linux says so that nobody has the other end
            break
        if not part:
            break
        shown += part
    os.close(ours)
    out, _ = process.communicate(timeout=30)
    assert process.returncode == 0
    assert "\x1b" not in out
    text = shown.decode()
    assert doing in text
    assert "\x1b[?25h" in text, "the cursor is shown again"
    left = re.split(r"\x1b\[2K", text)[-1]
    assert doing not in left


@pytest.mark.slow
@pytest.mark.parametrize("name", COMMANDS)
def test_piped_nothing_is_shown(shop, name):
    words, _ = COMMANDS[name]
    out, said = run(shop, words, subprocess.PIPE).communicate(timeout=30)
    assert "\x1b" not in out + said
    assert [line for line in said.splitlines() if not line.startswith("warning: ")] == []


def test_text_of_others_is_text(monkeypatch, capsys):
    from dnworker.cli.progress import progress

    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("FORCE_COLOR", "1")
    with progress() as on_progress:
        on_progress("packing [red]shop[/red]\x1b[31m")
    shown = capsys.readouterr().err
    assert "packing [red]shop[/red]" in shown
    assert "\x1b[31m" not in shown
