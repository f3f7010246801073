"""`Machine`: a root directory in which `install.sh` runs for real, with commands of its own for what needs root.

No command of the machine that runs the tests is reached but those of `TOOLS`: systemd, users and package indexes are
played. An environment is a real one, which sees the packages of the tests.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

PROJECT = Path(__file__).parents[3]

TOOLS = (
    "cat cmp cp cut dirname env flock grep gzip install ln mkdir mv od readlink rm rmdir sed sh sha256sum sleep tail "
    "tar touch tr"
).split()

COMMANDS = {
    "id": "echo ${PLAYED_UID:-0}",
    "systemctl": """\
echo "systemctl $*" >> "$PLAYED/log"
case $1 in
  --version) echo "systemd ${PLAYED_SYSTEMD:-252} (252.39-1)" ;;
  daemon-reload) [ -z "${PLAYED_KILL:-}" ] || kill -9 $PPID ;;
  restart) case $(readlink "$DESTDIR"/opt/*/current) in "releases/${PLAYED_BROKEN:-none}"*) exit 1 ;; esac ;;
esac""",
    "journalctl": 'echo "dnworker: shop has no workers"',
    "systemd-sysusers": 'echo "systemd-sysusers ${1#$DESTDIR}" >> "$PLAYED/log"',
    "systemd-tmpfiles": """\
for file; do :; done
grep '^d ' "$file" | while read -r _ path mode _; do mkdir -p -m "$mode" "$DESTDIR$path"; done""",
    "runuser": '[ "$1" = -u ] && [ "$3" = -- ] || exit 9; shift 3; exec "$@"',
}

PYTHON = """\
if [ "$1" = -c ]; then exit "${PLAYED_PYTHON:-0}"; fi
exec '@PYTHON@' '@MAKER@' "$3"
"""

MAKER = """\
import sys, venv, pathlib
venv.create(sys.argv[1], symlinks=True)
(packages,) = pathlib.Path(sys.argv[1]).glob("lib/python*/site-packages")
(packages / "tests.pth").write_text(@PATH@)
(packages / "pip").mkdir()
(packages / "pip" / "__init__.py").touch()
(packages / "pip" / "__main__.py").write_text(@PIP@)
"""

PIP = """\
import os, pathlib, sys, time
played = pathlib.Path(os.environ["PLAYED"])
assert pathlib.Path("requirements.txt").is_file()
how = os.environ.get("PLAYED_PIP")
if how == "fails":
    print("Looking in indexes: ...", flush=True)
    sys.exit("ERROR: Could not install packages due to an OSError: [Errno 28] No space left on device\\n")
if how == "hangs":
    (played / "hangs").touch()
    time.sleep(60)
programs = {
    "dnworker": f'exec "{sys.prefix}/bin/python" -m dnworker "$@"',
    "uv": f'echo "uv $*" >> "{played}/log"; echo "error: no network" >&2; exit {os.environ.get("PLAYED_UV", "0")}',
}
for name, text in programs.items():
    file = pathlib.Path(sys.prefix, "bin", name)
    file.write_text(f"#!/bin/sh\\n{text}\\n")
    file.chmod(0o755)
"""


class Machine:
    """A machine whose files are below a directory."""

    def __init__(self, work: Path) -> None:
        self.root = work / "root"
        self._played = work / "played"
        self._bin = work / "bin"
        self.root.mkdir()
        self._played.mkdir()
        self._bin.mkdir()
        for tool in TOOLS:
            if (there := shutil.which(tool)) is None:
                pytest.skip(f"{tool} is not installed here, and install.sh needs it")
            (self._bin / tool).symlink_to(there)
        seen = [str(PROJECT), str(PROJECT / "extension"), *(path for path in sys.path if Path(path).is_dir())]
        maker = work / "maker.py"
        maker.write_text(
            MAKER.replace("@PATH@", repr("\n".join(seen) + "\n")).replace("@PIP@", repr(PIP)), "utf-8"
        )
        python = PYTHON.replace("@PYTHON@", sys.executable).replace("@MAKER@", str(maker))
        for name, text in (COMMANDS | {"python3.14": python}).items():
            self.command(name, text)

    def command(self, name: str, text: str) -> None:
        """Put a command into PATH."""
        file = self._bin / name
        file.write_text(f"#!/bin/sh\n{text}\n")
        file.chmod(0o755)

    def lose(self, name: str) -> None:
        """Take a command out of PATH."""
        (self._bin / name).unlink()

    def start_install(self, made: Path, *arguments: str, **played: str) -> subprocess.Popen[str]:
        """Start install.sh of a deployment; `played` says how commands behave."""
        environment = {"PATH": str(self._bin), "DESTDIR": str(self.root), "PLAYED": str(self._played)}
        environment |= {f"PLAYED_{name.upper()}": value for name, value in played.items()}
        return subprocess.Popen(
            ["sh", str(made / "install.sh"), *arguments],
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

    def install(self, made: Path, *arguments: str, **played: str) -> tuple[int, str]:
        """Run install.sh; returns its exit code, and what it has written to standard error."""
        process = self.start_install(made, *arguments, **played)
        _, said = process.communicate(timeout=30)
        return process.returncode, said

    @property
    def has_pip_begun(self) -> bool:
        """Whether a pip that hangs is at work."""
        return (self._played / "hangs").exists()

    @property
    def log(self) -> list[str]:
        """The commands that systemd and uv have got, without questions for a version."""
        lines = (self._played / "log").read_text().splitlines() if (self._played / "log").exists() else []
        return [line for line in lines if not line.endswith("--version")]

    def forget(self) -> None:
        """Empty the log."""
        (self._played / "log").unlink(missing_ok=True)

    def state(self) -> dict[str, str]:
        """Return what runs and what a start would take: links by their targets, files by their texts."""
        found = {}
        for place in ("opt", "etc"):
            for path in sorted((self.root / place).rglob("*")):
                name = path.relative_to(self.root).as_posix()
                if "/venvs/" in name:
                    if path.parent.name == "venvs":
                        found[name] = "complete" if (path / ".complete").exists() else "incomplete"
                elif path.is_symlink():
                    found[name] = str(path.readlink())
                elif path.is_file() and path.name != ".lock":
                    found[name] = path.read_text(errors="replace")
        return found
