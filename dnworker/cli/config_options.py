"""The option `--config` of `serve`, and what the settings of its parser are."""

from __future__ import annotations

import argparse
import os
from collections.abc import Mapping, MutableMapping
from pathlib import Path
from typing import Any

import msgspec

from dnworker.capability.reading import shown
from dnworker.cli.settings.resolving import Resolved, Value, resolve, take_variables
from dnworker.cli.settings.setting import Setting, settings_of


def add_config_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the option."""
    parser.add_argument(
        "--config",
        type=Path,
        metavar="FILE",
        help="read options from this TOML file; docs/reference/config-file.md has all keys",
    )


class Sources(msgspec.Struct, frozen=True):
    """What settings are read from: again at each reload, with the file as it is then."""

    settings: Mapping[str, Setting]
    given: Mapping[str, Any]
    environ: Mapping[str, str]

    def read(self) -> Resolved:
        """Return the settings as they are now.

        Raises:
            UsageError: file or environment say what makes no sense.
        """
        resolved = resolve(self.settings, self.given, self.environ)
        _note_exposed(resolved)
        return resolved

    @property
    def wants_json_lines(self) -> bool:
        """Whether a mistake in the settings is said as JSON; a file that says so may be what is wrong."""
        given = self.given.get("log_format") or self.environ.get(self.settings["log-format"].variable)
        return bool(given == "json")


def sources_of(
    parser: argparse.ArgumentParser, options: argparse.Namespace, environ: MutableMapping[str, str]
) -> Sources:
    """Return what the settings of a parser come from.

    Args:
        parser: has the options of `serve` alone.
        options: what a `NearParser` has parsed, or what a program has set.
    """
    settings = settings_of(parser)
    given = getattr(options, "given", None)
    if given is None:
        known = {setting.dest: setting.default for setting in settings.values()}
        given = {name: value for name, value in vars(options).items() if known.get(name, value) != value}
    seen = {name: text for name, text in environ.items() if name.startswith("DNWORKER_")}
    return Sources(settings, dict(given), seen)


def hide_variables(sources: Sources) -> None:
    """Remove the settings' variables from this process's environment: worker processes inherit that."""
    take_variables(sources.settings, os.environ)


def level_of(values: Mapping[str, Value]) -> str:
    """Return the level of the log: `log-level`, and `verbose` where its source counts more."""
    level, verbose = values["log-level"], values["verbose"]
    if level.value is not None and level.rank >= verbose.rank:
        return str(level.value)
    return "info" if verbose.value else str(level.value or "warning")


def _note_exposed(resolved: Resolved) -> None:
    """Note a password in a file that others can read."""
    file, broker = resolved.file, resolved.values.get("broker")
    if file is None or broker is None or broker.rank != 1:
        return
    from dnworker.events.brokers.jetstream.servers import secrets_in  # only a file with a broker has some

    if not secrets_in(str(broker.value)):
        return
    if file.path.stat().st_mode & 0o077:
        resolved.notes.append(
            f"{broker.source}: broker: it has a password, and others may read the file: "
            f"`chmod 600 {shown(str(file.path))}` closes it"
        )
