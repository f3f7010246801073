"""Flags: their values from four layers, and the gates that they open (contract 4.5); used by the engine."""

from __future__ import annotations

import errno
import json
import logging
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Literal

import msgspec

from dnworker.capability.manifest import CapabilityManifest
from dnworker.capability.reading import NotText, UnreadableFile, read_json
from dnworker.core.files import write_atomically

log = logging.getLogger("dnworker.flags")

_WORDS = {"1": True, "true": True, "on": True, "0": False, "false": False, "off": False}


class Flag(msgspec.Struct, frozen=True):
    """A flag with its value, and the layer that set it."""

    name: str
    description: str
    default: bool
    effective: bool
    source: Literal["default", "binding", "env", "cli"]


def resolve_flags(
    manifest: CapabilityManifest,
    *,
    persisted: Mapping[str, bool] | None = None,
    agreed: Mapping[str, bool] | None = None,
    environ: Mapping[str, str] | None = None,
    cli: Mapping[str, bool] | None = None,
) -> dict[str, Flag]:
    """Return every declared flag's value: manifest default, persisted state, environment, command line.

    What nodes of a cluster have agreed on (`agreed`) counts as persisted state, before that of this user.
    """
    persisted = {**(persisted or {}), **(agreed or {})}
    resolved = {}
    for definition in manifest.flags.values():
        effective, source = definition.default, "default"
        if definition.name in persisted:
            effective, source = persisted[definition.name], "binding"
        variable = f"DREADNODE_{flag_variable(manifest.name, definition.name)}"
        if environ is not None and variable in environ:
            word = parse_word(environ[variable])
            if word is None:
                log.warning(
                    "%s is %r; use 1, true, on, 0, false or off. It is ignored", variable, environ[variable]
                )
            else:
                effective, source = word, "env"
        if cli is not None and definition.name in cli:
            effective, source = cli[definition.name], "cli"
        resolved[definition.name] = Flag(
            definition.name,
            definition.description,
            definition.default,
            effective,
            source,  # type: ignore[arg-type]  # one of the four literals above
        )
    return resolved


def gate_is_open(when: Iterable[str], flags: Mapping[str, Flag]) -> bool:
    """Return whether a worker may run: it has no gate, or a flag of its gate is on."""
    names = tuple(when)
    return not names or any(name in flags and flags[name].effective for name in names)


def flag_variable(capability: str, flag: str) -> str:
    """Return the variable a worker process finds its flag in: `CAPABILITY_FLAG__<CAP>__<FLAG>`."""
    return f"CAPABILITY_FLAG__{_upper(capability)}__{_upper(flag)}"


def flag_variables(capability: str, flags: Mapping[str, Flag]) -> dict[str, str]:
    """Return the variables of all flags, with values `1` and `0`."""
    return {flag_variable(capability, f.name): "1" if f.effective else "0" for f in flags.values()}


def parse_word(text: str) -> bool | None:
    """Read `1 true on 0 false off`, trimmed and in any case; None for anything else."""
    return _WORDS.get(text.strip().lower())


def parse_cli_flags(options: Iterable[str]) -> dict[str, dict[str, bool]]:
    """Read `capability.flag=on` options; a malformed one is ignored with a warning."""
    found: dict[str, dict[str, bool]] = {}
    for option in options:
        name, equals, word = option.partition("=")
        capability, dot, flag = name.partition(".")
        value = parse_word(word)
        if not equals or not dot or not capability or not flag or "." in flag or value is None:
            log.warning("flag option %r is not of the form capability.flag=on; it is ignored", option)
            continue
        found.setdefault(capability, {})[flag] = value
    return found


def read_persisted(file: Path, capability: str) -> dict[str, bool]:
    """Return the persisted flags of a capability; a missing or damaged file has none."""
    flags = _record(file, capability).get("flags")
    if not isinstance(flags, dict):
        return {}
    return {name: value for name, value in flags.items() if isinstance(value, bool)}


def is_enabled(file: Path, capability: str) -> bool:
    """Return whether a capability is enabled; it is unless the file disables it."""
    return _record(file, capability).get("enabled") is not False


def write_persisted(file: Path, capability: str, flag: str, value: bool, *, version: str) -> None:
    """Persist a flag's value; everything else in the file stays as it is (contract 4.5).

    The file is replaced whole, so a crash leaves the old one or the new one.

    Raises:
        OSError: the file cannot be written, or holds no JSON object: nothing in it must be lost.
    """
    try:
        state = _read_state(file)
    except NotText as exc:
        raise OSError(f"{exc}; or move it away") from exc
    except ValueError as exc:
        raise OSError(f"{file} is no JSON: {exc}; mend it or move it away") from exc
    if not isinstance(state, dict):
        raise OSError(f"{file} holds no JSON object; mend it or move it away")
    record = state.get(capability)
    if not isinstance(record, dict):
        kept = record is not False
        record = {"enabled": kept, "source": "local", "version": version, "artifact_identity": capability}
    flags = record.get("flags")
    record["flags"] = {**(flags if isinstance(flags, dict) else {}), flag: value}
    state[capability] = record
    write_atomically(file, json.dumps(state, indent=2) + "\n", mode=0o644)


_warned: dict[Path, str] = {}


def _warn_once(file: Path, exc: Exception) -> None:
    """Say why a file cannot be read, once until that changes: it is read for every capability and reload."""
    reason = str(exc)
    if _warned.get(file) != reason:
        _warned[file] = reason
        log.warning("%s cannot be read: %s. Persisted flags are ignored", file, reason)


def _read_state(file: Path) -> Any:
    try:
        return read_json(file)
    except UnreadableFile as exc:
        if exc.errno == errno.ENOENT:
            return {}
        raise


def _record(file: Path, capability: str) -> dict[str, Any]:
    try:
        state = _read_state(file)
    except (OSError, ValueError) as exc:
        if getattr(exc, "errno", None) == errno.ENOTDIR:
            return {}
        _warn_once(file, exc)
        return {}
    _warned.pop(file, None)
    record = state.get(capability) if isinstance(state, dict) else None
    if isinstance(record, bool):
        return {"enabled": record}
    return record if isinstance(record, dict) else {}


def _upper(name: str) -> str:
    return name.upper().replace("-", "_")
