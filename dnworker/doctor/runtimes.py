"""Looks at the runtimes that run on this machine, and at who listens at the usual port."""

from __future__ import annotations

import socket
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from dnworker._version import __version__
from dnworker.doctor.findings import Finding, ok, problem, warning

SECONDS = 2.0
"""How long a runtime may take for one answer."""

LISTENING = "0A"
"""The state of a socket in the kernel's table."""


@dataclass(frozen=True)
class Known:
    """One entry of the list of runtimes."""

    file: Path
    url: str
    pid: int
    token_file: str | None
    is_alive: bool


def runtimes(known: Sequence[Known], transport: httpx.BaseTransport | None = None) -> Iterator[Finding]:
    """Ask each runtime of the list whether it is ready, and which version it is.

    Args:
        known: the list.
        transport: stands for the network.
    """
    if not known:
        yield ok("runtimes", "none runs here, by the list in the home directory")
    for one in known:
        if not one.is_alive:
            text = f"process {one.pid}, which listened at {one.url}, has ended without a word"
            yield warning("runtimes", text, f"`dnworker ps` removes {one.file.name}; its log may say why")
            continue
        try:
            with httpx.Client(
                base_url=one.url, timeout=SECONDS, trust_env=False, transport=transport
            ) as client:
                yield _state(one, client.get("/api/ready"))
                yield from _version(one, client)
        except httpx.HTTPError as exc:
            text = f"process {one.pid} runs, and {one.url} does not answer: {exc or type(exc).__name__}"
            yield problem("runtimes", text, f"its loop may be blocked; end it by: kill {one.pid}")


def _state(one: Known, answer: httpx.Response) -> Finding:
    report = _json(answer)
    where = f"{one.url} (process {one.pid})"
    if answer.status_code == 200 and report.get("status") == "degraded":
        text = f"{where} is degraded: {report.get('detail') or 'it says no more'}"
        return problem("runtimes", text, "events are refused until its disk or broker is well again")
    if answer.status_code == 200:
        return ok("runtimes", f"{where} is ready")
    if answer.status_code == 503 and "stage" in report:
        text = f"{where} is not ready: {report['stage']}"
        return warning("runtimes", text, "wait for it, and see its output if it stays so")
    text = f"{where} answers {answer.status_code}: something else may listen there"
    return problem("runtimes", text, f"see what process {one.pid} is")


def _version(one: Known, client: httpx.Client) -> Iterator[Finding]:
    try:
        token = Path(one.token_file).read_text(encoding="utf-8").strip() if one.token_file else ""
    except (OSError, ValueError) as exc:
        text = f"the token of {one.url} cannot be read: {exc}"
        yield problem("runtimes", text, "name its file by --token-file, or start the runtime again")
        return
    answer = client.get("/openapi.json", headers={"Authorization": f"Bearer {token}"} if token else {})
    if answer.status_code in (401, 403):
        if one.token_file:
            text = f"{one.url} refuses the token in {one.token_file}"
            yield problem("runtimes", text, "start the runtime again")
        return
    version = _json(answer).get("info", {}).get("version")
    if isinstance(version, str) and version != __version__:
        text = f"{one.url} is dnworker {version}, and this command is {__version__}"
        yield warning("runtimes", text, "start the runtime again with this version")


def _json(answer: httpx.Response) -> dict[str, Any]:
    try:
        found = answer.json()
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def port(number: int, known: Sequence[Known], proc: Path = Path("/proc")) -> Iterator[Finding]:
    """Look at who listens at the port that `serve` takes."""
    with socket.socket() as tried:
        tried.settimeout(SECONDS)
        is_free = tried.connect_ex(("127.0.0.1", number)) != 0
    if is_free:
        yield ok("port", f"{number} is free")
    elif any(one.is_alive and one.url.endswith(f":{number}") for one in known):
        yield ok("port", f"{number} is that of a runtime in the list", "`serve --port 0` takes a free one")
    else:
        who = listener(number, proc) or "a process of somebody else, or in another container"
        yield warning("port", f"{number} is taken by {who}", "`dnworker serve --port 0` takes a free one")


def listener(number: int, proc: Path = Path("/proc")) -> str | None:
    """Return the process that listens at a port, such as `process 12 (nginx)`; None where nobody can tell."""
    sockets = {f"socket:[{inode}]" for inode in _inodes(number, proc)}
    for entry in sorted(proc.glob("[0-9]*")) if sockets else []:
        try:
            if any(_leads_to(file) in sockets for file in (entry / "fd").iterdir()):
                return f"process {entry.name} ({(entry / 'comm').read_text().strip()})"
        except OSError:
            continue  # of another user, or just ended
    return None


def _leads_to(file: Path) -> str:
    try:
        return str(file.readlink())
    except FileNotFoundError:  # closed meanwhile
        return ""


def _inodes(number: int, proc: Path) -> Iterator[str]:
    for table in ("tcp", "tcp6"):
        try:
            lines = (proc / "net" / table).read_text().splitlines()[1:]
        except OSError:
            continue  # no such table: another system than Linux
        for fields in map(str.split, lines):
            if len(fields) > 9 and fields[3] == LISTENING and int(fields[1].rpartition(":")[2], 16) == number:
                yield fields[9]
