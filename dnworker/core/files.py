"""Where files of the user are, and how small ones are replaced; used by whatever keeps state on disk."""

from __future__ import annotations

import contextlib
import os
import pwd
import tempfile
from pathlib import Path

NO_HOME = Path("/dev/null")
"""Stands for a home directory where there is none: nothing can be made in it, and errors name it."""


def home_directory() -> Path:
    """Return the home directory: `HOME`, else what the system knows; `NO_HOME` where that is nothing."""
    if named := os.environ.get("HOME"):
        return Path(named)
    try:
        return Path(pwd.getpwuid(os.getuid()).pw_dir or NO_HOME)
    except (KeyError, OSError):
        return NO_HOME


def working_directory() -> Path:
    """Return the working directory; where it was deleted, the path that it had."""
    try:
        return Path.cwd()
    except OSError:
        pass
    with contextlib.suppress(OSError):
        return Path(str(Path("/proc/self/cwd").readlink()).removesuffix(" (deleted)"))
    return Path(os.sep)


def write_atomically(file: Path, text: str, *, mode: int = 0o600, is_of_process: bool = False) -> None:
    """Replace a file, and make the directories above it: there is the old text or the new one, never half.

    A link stays, and what it leads to is replaced; a file that is there keeps its mode.

    Args:
        file: to replace.
        text: what is in it then.
        mode: of a new file.
        is_of_process: whether it means nothing once this process is gone: then nobody waits for the disk.

    Raises:
        OSError: it cannot be written; nothing has changed, and no temporary file is left.
    """
    file = Path(os.path.realpath(file))
    file.parent.mkdir(parents=True, exist_ok=True)
    with contextlib.suppress(OSError):
        mode = file.stat().st_mode & 0o777
    handle, name = tempfile.mkstemp(dir=file.parent, prefix=f".{file.name[:200]}.", suffix=".tmp")
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as stream:
            os.fchmod(stream.fileno(), mode)
            stream.write(text)
            stream.flush()
            if not is_of_process:
                os.fsync(stream.fileno())  # so that a crash of the machine leaves no empty file in its place
        os.replace(name, file)  # noqa: PTH105  the temporary name is text
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(name)  # noqa: PTH108
        raise
