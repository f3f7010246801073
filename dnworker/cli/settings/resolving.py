"""`resolve` finds each setting's value: in the command line, else the environment, else a file."""

from __future__ import annotations

import argparse
import os
import re
from collections.abc import Iterator, Mapping, MutableMapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from dnworker.capability.reading import shown
from dnworker.cli.settings.setting import NO_KEYS, RENAMED, TAKEN, Setting
from dnworker.core.errors import UsageError
from dnworker.core.text import closest

if TYPE_CHECKING:
    from dnworker.cli.settings.toml_file import ConfigFile

CONFIG = "DNWORKER_CONFIG"
"""Names the file where `--config` does not."""

SECRETS = {
    "token": "name the file that holds it: token-file = ...",
    "password": "give NATS_PASSWORD in the environment, or name a file: creds = ...",
}
"""What no file holds, and what to do instead."""

_EXPANDED = re.compile(r"\$\{\w+\}")
_OF_KUBERNETES = re.compile(r"tcp://[\d.:\[\]a-f]+")


class Value(msgspec.Struct, frozen=True):
    """The value of a setting, and its source: `default`, `serve.toml:12`, `DNWORKER_PORT` or `--port`."""

    setting: Setting
    value: Any
    source: str
    rank: int = 0
    """Which source: 0 the default, 1 a file, 2 the environment, 3 the command line."""

    @property
    def is_changed(self) -> bool:
        """Whether it is another than the default."""
        return bool(self.value != self.setting.default)


class Resolved(msgspec.Struct, frozen=True):
    """The value of every setting by key, the file that was read, and what is to be said besides."""

    values: dict[str, Value]
    file: ConfigFile | None
    notes: list[str]

    def put_into(self, options: argparse.Namespace) -> None:
        """Set the values as what was parsed."""
        for one in self.values.values():
            setattr(options, one.setting.dest, one.value)


def resolve(
    settings: Mapping[str, Setting], given: Mapping[str, Any], environ: Mapping[str, str]
) -> Resolved:
    """Find the value of every setting.

    Args:
        given: what the command line says, by `dest`; `config` names the file.
        environ: the environment; an empty variable counts as none.

    Raises:
        UsageError: the file cannot be read, or a key or a value of file or environment is none.
    """
    notes: list[str] = []
    path = given.get("config") or (Path(environ[CONFIG]) if environ.get(CONFIG) else None)
    file = None
    if path is not None:
        from dnworker.cli.settings.toml_file import read_config  # few have a file

        file = read_config(path)
    values = {key: Value(setting, setting.default, "default") for key, setting in settings.items()}
    if file is not None:
        values |= {one.setting.key: one for one in _of_file(file, settings, notes)}
    values |= {one.setting.key: one for one in _of_environment(environ, settings, notes)}
    for setting in settings.values():
        if setting.dest in given:
            values[setting.key] = Value(setting, given[setting.dest], setting.option, 3)
    return Resolved(values, file, notes)


def take_variables(settings: Mapping[str, Setting], environ: MutableMapping[str, str]) -> dict[str, str]:
    """Remove the settings' variables from an environment, which worker processes inherit; returns them."""
    names = [CONFIG, *(setting.variable for setting in settings.values())]
    return {name: environ.pop(name) for name in names if name in environ}


def _of_file(file: ConfigFile, settings: Mapping[str, Setting], notes: list[str]) -> Iterator[Value]:
    directory = Path(os.path.abspath(file.path)).parent  # noqa: PTH100  links stay
    for key, value in file.values.items():
        if key not in settings:
            raise UsageError(f"{file.place(key)}: {_unknown(key, settings)}", code="DN921")
        setting = settings[key]
        try:
            made = setting.of_toml(value, directory)
        except ValueError as exc:
            raise UsageError(f"{file.place(key)}: {key}: {exc}", code="DN922") from exc
        notes += [f"{file.place(key)}: {key}: {text}" for text in _unexpanded(setting, value)]
        yield Value(setting, made, file.place(key), 1)


def _of_environment(
    environ: Mapping[str, str], settings: Mapping[str, Setting], notes: list[str]
) -> Iterator[Value]:
    known = {setting.variable: setting for setting in settings.values()}
    for name in sorted(environ):
        text = environ[name]
        if not name.startswith("DNWORKER_") or not text:
            continue
        if (setting := known.get(name)) is None:
            notes += _misspelt(name, known)
            continue
        if setting.type is int and _OF_KUBERNETES.fullmatch(text):
            notes.append(
                f"{name} is that of a Kubernetes service, and is not taken; "
                "`enableServiceLinks: false` in the pod leaves it out"
            )
            continue
        try:
            made = setting.of_text(text)
        except ValueError as exc:
            raise UsageError(f"{name}: {exc}", code="DN922") from exc
        yield Value(setting, made, name, 2)


def _unknown(key: str, settings: Mapping[str, Setting]) -> str:
    """Return what is said of a key that is none."""
    word = key.strip().lower().replace("_", "-")
    name = shown(key, 60)
    if word in SECRETS:
        return f"{name} is no key, and no secret belongs into this file; {SECRETS[word]}"
    if word in NO_KEYS:
        return f"{name} makes no sense in a file: {NO_KEYS[word]}"
    near = RENAMED.get(word) or closest(word, settings)
    return f"{name} is no key" + (f"; did you mean {near}?" if near else "; `dnworker config` lists all keys")


def _misspelt(name: str, known: Mapping[str, Setting]) -> list[str]:
    """Return what is said of a variable that is none of ours, and looks like one."""
    if name == CONFIG or name.removeprefix("DNWORKER_") in TAKEN:
        return []
    near = closest(name, known, cutoff=0.9)
    return [f"{name} is no setting; did you mean {near}?"] if near else []


def _unexpanded(setting: Setting, value: Any) -> list[str]:
    """Return what is said of text that a shell would expand, and a file does not."""
    texts = value if isinstance(value, list) else value.values() if isinstance(value, dict) else [value]
    found = []
    for text in texts:
        if not isinstance(text, str):
            continue
        if (match := _EXPANDED.search(text)) is not None:
            found.append(f"{match[0]} is not expanded: it is taken as it is written")
        elif setting.is_path and text.startswith("~"):
            found.append("~ is not expanded: it is a name in the file's directory; write the whole path")
    return found
