"""Makes a wheel of the installed dnworker, for exports while no index has it; used by planning."""

from __future__ import annotations

import base64
import functools
import hashlib
import importlib.metadata
import importlib.resources
import io
import zipfile
from pathlib import Path

from dnworker._version import __version__

_EPOCH = (1980, 1, 1, 0, 0, 0)  # the same files give the same bytes


def wheel_name() -> str:
    """Return the wheel's file name."""
    return f"dnworker-{__version__}-py3-none-any.whl"


@functools.cache
def build_wheel() -> bytes:
    """Return the wheel: the `dnworker` package with the panel's files, without the notebook extension.

    It is made once: cells that run again unchanged give the files that they gave before, also where dnworker
    was installed anew, or its source edited, since this process imported it.
    """
    root = Path(str(importlib.resources.files("dnworker")))
    info = f"dnworker-{__version__}.dist-info"
    metadata = importlib.metadata.distribution("dnworker").read_text("METADATA") or ""
    files = {
        f"dnworker/{file.relative_to(root).as_posix()}": file.read_bytes()
        for file in sorted(root.rglob("*"))
        if file.suffix in (".py", ".js", ".css", ".html") or file.name == "py.typed"
    }
    files[f"{info}/METADATA"] = metadata.encode()
    files[f"{info}/WHEEL"] = (
        b"Wheel-Version: 1.0\nGenerator: dnworker\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
    )
    record = [f"{name},sha256={_digest(data)},{len(data)}" for name, data in files.items()]
    files[f"{info}/RECORD"] = "\n".join([*record, f"{info}/RECORD,,", ""]).encode()
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in files.items():
            archive.writestr(zipfile.ZipInfo(name, _EPOCH), data, zipfile.ZIP_DEFLATED)
    return buffer.getvalue()


def _digest(data: bytes) -> str:
    return base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode()
