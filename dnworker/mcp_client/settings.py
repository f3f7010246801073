"""`settings_of`: what is needed to connect to an MCP server, with its variables replaced; for `server`."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import msgspec

from dnworker.capability.environment import UnsetVariable, interpolate, with_entries
from dnworker.capability.flags import Flag, flag_variables
from dnworker.capability.manifest import CapabilityManifest
from dnworker.capability.mcp import McpServer
from dnworker.core.files import home_directory
from dnworker.core.masking import MASK, is_secret
from dnworker.mcp_client.frames import Connect

INIT_SECONDS = 30.0
"""Seconds for the handshake, where an entry says nothing."""

CALL_SECONDS = 300.0
"""Seconds of a call, unless the `timeout` of an entry is longer."""

SHORTEST_SECRET = 6
"""Characters of a secret; a shorter one is in texts by chance."""

_INHERITED = ("HOME", "LOGNAME", "PATH", "SHELL", "TERM", "USER")
"""Variables that a server gets of the runtime's, as the official library has it."""

_VARIABLE = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)")


class CannotConnect(Exception):
    """A server cannot be connected; the text says why and what to do. `needs_auth` is whether to sign in."""

    def __init__(self, text: str, *, needs_auth: bool = False) -> None:
        super().__init__(text)
        self.needs_auth = needs_auth


class Settings(msgspec.Struct, frozen=True):
    """What to connect to, how long a call may take, and which texts no log or error may show."""

    connect: Connect
    call_seconds: float
    secrets: tuple[str, ...]

    def masked(self, text: str) -> str:
        """Return a text without the secrets."""
        for secret in self.secrets:
            text = text.replace(secret, MASK)
        return text


def settings_of(
    server: McpServer,
    manifest: CapabilityManifest,
    flags: Mapping[str, Flag],
    environ: Mapping[str, str],
    *,
    is_interactive: bool = False,
) -> Settings:
    """Return what is needed to connect to a server now.

    Raises:
        CannotConnect: a variable is not set, or the command is not there.
    """
    fields, where = server.fields, f"mcp server {server.name!r}"
    connect = Connect(
        name=server.name, init_timeout=_seconds(fields), is_interactive=is_interactive, tokens=str(_tokens())
    )
    try:
        if server.transport == "stdio":
            _take_command(connect, server, manifest, flags, environ)
        else:
            connect.url = interpolate(str(fields.get("url", "")), environ, f"{where}, url")
            connect.headers = dict(_headers(fields.get("headers"), environ, where))
            auth = fields.get("auth") or {}
            connect.scope = str(auth["scope"]) if auth.get("scope") else None
            connect.client_name = str(auth.get("client_name") or connect.client_name)
    except UnsetVariable as exc:
        raise CannotConnect(str(exc)) from exc
    secrets = {one for one in _secrets(fields, connect, environ) if len(one) >= SHORTEST_SECRET}
    call_seconds = max(CALL_SECONDS, float(fields.get("timeout") or 0))
    return Settings(connect, call_seconds, tuple(sorted(secrets, key=len, reverse=True)))


def _tokens() -> Path:
    return home_directory() / ".dreadnode" / "mcp-auth.json"


def _seconds(fields: Mapping[str, Any]) -> float:
    """Return the seconds of a handshake: `init_timeout`, else `timeout`, else 30."""
    for key in ("init_timeout", "timeout"):
        if fields.get(key) is not None:
            return max(0.0, float(fields[key]))
    return INIT_SECONDS


def _take_command(
    connect: Connect,
    server: McpServer,
    manifest: CapabilityManifest,
    flags: Mapping[str, Flag],
    environ: Mapping[str, str],
) -> None:
    fields, where = server.fields, f"mcp server {server.name!r}"

    def text(value: object, what: str) -> str:
        return interpolate(str(value), environ, f"{where}, {what}")

    declared = fields.get("env") or {}
    declared = (
        {str(k): text(v, f"env {k}") for k, v in declared.items()} if isinstance(declared, dict) else {}
    )
    env = {name: environ[name] for name in _INHERITED if name in environ}
    if manifest.path_entries:
        env["PATH"] = with_entries(env.get("PATH", os.defpath), manifest.path_entries, manifest.root)
    connect.env = {**env, **declared, **flag_variables(manifest.name, flags)}
    args = fields.get("args") or []
    args = args if isinstance(args, list) else [args]
    connect.args = [text(value, f"args[{n}]") for n, value in enumerate(args)]
    cwd = manifest.root / text(fields.get("cwd") or ".", "cwd")
    connect.cwd = str(cwd)
    connect.command = _program(text(fields["command"], "command"), cwd, connect.env, where)


def _program(command: str, cwd: Path, env: Mapping[str, str], where: str) -> str:
    """Return the path of a command.

    Raises:
        CannotConnect: it is not there, or its directory is not.
    """
    if not cwd.is_dir():
        raise CannotConnect(f"{where}: its directory {cwd} is not there; make it, or mend `cwd`")
    if not command.strip():
        raise CannotConnect(f"{where}: its command is empty; name a program")
    found = shutil.which(str(cwd / command) if "/" in command else command, path=env.get("PATH", os.defpath))
    if found is None:
        raise CannotConnect(
            f"{where}: the command {command!r} is not there; install it, or mend `command` (DN970)"
        )
    return found


def _headers(declared: object, environ: Mapping[str, str], where: str) -> Iterator[tuple[str, str]]:
    for name, value in declared.items() if isinstance(declared, dict) else ():
        is_optional = isinstance(value, dict) and bool(value.get("optional"))
        text = str(value["value"] if isinstance(value, dict) else value)
        try:
            yield str(name), interpolate(text, environ, f"{where}, header {name}")
        except UnsetVariable:
            if not is_optional:
                raise


def _secrets(fields: Mapping[str, Any], connect: Connect, environ: Mapping[str, str]) -> Iterator[str]:
    """Go through the texts that must not be shown: of headers, and of variables that are called secret."""
    for value in connect.headers.values():
        yield value
        yield from value.split()[1:]  # the token behind "Bearer"
    declared = fields.get("env")
    for name in declared if isinstance(declared, dict) else ():
        if is_secret(str(name)):
            yield connect.env.get(str(name), "")
    for name in _VARIABLE.findall(repr(dict(fields))):
        if is_secret(name) and name in environ:
            yield environ[name]
