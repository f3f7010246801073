"""A CA of a test's own, with certificates for loopback."""

from __future__ import annotations

import subprocess
from pathlib import Path


def make_authority(directory: Path) -> Path:
    """Write a CA; return its certificate."""
    directory.mkdir(exist_ok=True)
    _openssl(
        directory, "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2",
        "-subj", "/CN=dnworker test CA", "-keyout", "ca.key", "-out", "ca.pem",
    )  # fmt: skip
    return directory / "ca.pem"


def make_certificate(authority: Path, name: str) -> tuple[Path, Path]:
    """Write a certificate for 127.0.0.1 that a CA has signed; return it and its key."""
    directory = authority.parent
    (directory / "names.txt").write_text("subjectAltName=IP:127.0.0.1,DNS:localhost\n")
    _openssl(
        directory, "req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-subj", f"/CN={name}",
        "-keyout", f"{name}.key", "-out", f"{name}.csr",
    )  # fmt: skip
    _openssl(
        directory, "x509", "-req", "-in", f"{name}.csr", "-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial",
        "-days", "2", "-extfile", "names.txt", "-out", f"{name}.pem",
    )  # fmt: skip
    return directory / f"{name}.pem", directory / f"{name}.key"


def _openssl(directory: Path, *arguments: str) -> None:
    subprocess.run(["openssl", *arguments], cwd=directory, check=True, capture_output=True, timeout=30)
