"""Looks for what tests need beyond Python packages, and installs Chromium where root and apt can do it.

Elsewhere it says what is missing. Without Chromium the browser tests skip with the reason, and fail when
CI=true; without bash or curl the commands of the documentation cannot run, and it ends with code 1.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys

CURL = (7, 76)
"""The first with `--fail-with-body`, which pages of the documentation use."""


def chromium() -> str | None:
    """Return the browser that tests and screenshots use."""
    return shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")


def main() -> int:
    """Look for all of them, and install Chromium if it is missing and can be installed."""
    missing = [line for line in (_without_bash(), _without_curl()) if line is not None]
    for line in missing:
        print(line, flush=True)
    return _chromium() or bool(missing)


def _without_bash() -> str | None:
    return (
        None
        if shutil.which("bash")
        else "no bash was found: install it, the tests of the documentation run it"
    )


def _without_curl() -> str | None:
    """Return what is wrong with curl; None where nothing is."""
    needed = ".".join(map(str, CURL))
    program = shutil.which("curl")
    if program is None:
        return f"no curl was found: install curl {needed} or later, the tests of the documentation run it"
    done = subprocess.run([program, "--version"], capture_output=True, text=True, check=False)
    found = re.match(r"curl (\d+)\.(\d+)", done.stdout)
    if found is not None and (int(found[1]), int(found[2])) >= CURL:
        return None
    said = (done.stdout or done.stderr).partition("\n")[0]
    return f"{program} is too old ({said[:80]}): the tests of the documentation need curl {needed} or later"


def _chromium() -> int:
    """Install Chromium if it is missing and can be installed; returns the exit code."""
    if chromium() is not None:
        return 0
    if os.geteuid() != 0 or shutil.which("apt-get") is None:
        print(
            "no Chromium was found, and without root and apt none can be installed: browser tests will skip"
        )
        return 0
    print("installing Chromium for the browser tests", flush=True)
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    for command in (["apt-get", "update", "-qq"], ["apt-get", "install", "-y", "-qq", "chromium"]):
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            print(f"{' '.join(command)} failed:\n{done.stderr[-1000:]}")
            return 1 if os.environ.get("CI") else 0
    return 0


if __name__ == "__main__":
    sys.exit(main())
