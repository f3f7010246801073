"""`redirect_file`: opens a browser at an address that no command line may show; for the panel."""

from __future__ import annotations

import os
from html import escape
from pathlib import Path

from dnworker.core.files import home_directory


def redirect_file(address: str) -> Path:
    """Write a file that redirects a browser to a secret address; its command line would show the address."""
    file = home_directory() / ".dreadnode" / "dnworker" / "panel.html"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.unlink(missing_ok=True)
    with os.fdopen(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as stream:
        stream.write(f'<!doctype html><meta http-equiv="refresh" content="0;url={escape(address)}">\n')
    return file
