"""Installs what tests need beyond Python packages: Chromium, where root and apt make that possible.

Elsewhere it says what is missing; the browser tests then skip with the reason, and fail when CI=true.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys


def chromium() -> str | None:
    """Return the browser that tests and screenshots use."""
    return shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")


def main() -> int:
    """Install Chromium if it is missing and can be installed."""
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
