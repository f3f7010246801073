"""`make_telemetry` decides whether a runtime has telemetry; it imports the rest only where it is on."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from importlib.util import find_spec
from typing import TYPE_CHECKING

from dnworker.core.errors import UsageError
from dnworker.telemetry.wanted import is_wanted

if TYPE_CHECKING:
    from dnworker.telemetry.settings import TelemetrySettings
    from dnworker.telemetry.telemetry import Telemetry

log = logging.getLogger("dnworker.telemetry")

NEEDED = ("opentelemetry.proto", "opentelemetry.sdk", "opentelemetry.exporter.otlp.proto.common")


def make_telemetry(
    given: str | bool | TelemetrySettings | None, environ: Mapping[str, str]
) -> Telemetry | None:
    """Return what sends telemetry; None where it is off.

    Args:
        given: an URL, or settings; True for what variables say; False for off; None for what variables say
            where they switch it on, and mistakes in them are logged then: they may be for other programs.
        environ: the environment.

    Raises:
        UsageError: an URL or a variable makes no sense, or the libraries are not installed.
    """
    if given is False or (given is None and not is_wanted(environ)):
        return None
    try:
        settings = settings_of(given, environ)
    except UsageError as exc:
        if given is not None:
            raise
        log.warning("telemetry is off: %s", exc)
        return None
    if not settings.is_on:
        return None
    from dnworker.telemetry.telemetry import Telemetry

    return Telemetry(settings)


def settings_of(
    given: str | bool | TelemetrySettings | None, environ: Mapping[str, str]
) -> TelemetrySettings:
    """Return the settings, after a look whether the libraries are there.

    Raises:
        UsageError: an URL or a variable makes no sense, or the libraries are not installed.
    """
    from dnworker.telemetry.settings import TelemetrySettings, read_settings  # only where it is on

    if isinstance(given, TelemetrySettings):
        settings = given
    else:
        settings = read_settings(given if isinstance(given, str) else None, environ)
    if settings.is_on and not all(map(_is_installed, NEEDED)):
        text = "telemetry needs libraries that are not installed here: pip install 'dnworker[otel]'"
        raise UsageError(text, code="DN902")
    return settings


def _is_installed(module: str) -> bool:
    try:
        return find_spec(module) is not None
    except ModuleNotFoundError:  # not even its package
        return False
