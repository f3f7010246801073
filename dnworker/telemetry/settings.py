"""`TelemetrySettings`: where telemetry goes and how much of it; read from an URL and the standard variables.

Imports nothing of OpenTelemetry: a runtime whose variables want telemetry reads them before all else.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import unquote, urlsplit, urlunsplit

from dnworker.core.errors import UsageError
from dnworker.telemetry.wanted import SPANS_PER_SECOND, is_true

SIGNALS = ("traces", "metrics", "logs")

DEFAULT_URL = "http://127.0.0.1:4318"
"""Where collectors listen that run on this machine."""

READ = (
    *("OTEL_SDK_DISABLED", "OTEL_SERVICE_NAME", "OTEL_RESOURCE_ATTRIBUTES"),
    *("OTEL_TRACES_SAMPLER", "OTEL_TRACES_SAMPLER_ARG", "OTEL_METRIC_EXPORT_INTERVAL"),
    "OTEL_BSP_SCHEDULE_DELAY",
    *(f"OTEL_{signal.upper()}_EXPORTER" for signal in SIGNALS),
    *(
        f"OTEL_EXPORTER_OTLP{of}_{what}"
        for of in ("", "_TRACES", "_METRICS", "_LOGS")
        for what in (
            *("ENDPOINT", "HEADERS", "TIMEOUT", "COMPRESSION", "PROTOCOL"),
            *("CERTIFICATE", "CLIENT_CERTIFICATE", "CLIENT_KEY"),
        )
    ),
)
"""All variables that are read."""

MAX_TIMEOUT = 60.0
"""Seconds that one request may take at most, whatever a variable says."""

_CODE = "DN950"


@dataclass(frozen=True)
class Endpoint:
    """Where one signal goes.

    Attributes:
        url: where it is posted to, without user and password.
        headers: what is sent with it; may be secret.
        timeout: seconds that a request may take, with its answer.
        gzip: whether it is compressed.
        certificate: a file of authorities, PEM; None for those of the machine.
        client_certificate: a file with our certificate; None for none.
        client_key: a file with its key.
    """

    url: str
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    timeout: float = 10.0
    gzip: bool = False
    certificate: Path | None = None
    client_certificate: Path | None = None
    client_key: Path | None = None

    @property
    def is_loopback(self) -> bool:
        """Whether it is on this machine."""
        host = urlsplit(self.url).hostname or ""
        return host in ("localhost", "::1") or host.startswith("127.")


@dataclass(frozen=True)
class Sampling:
    """Which traces are sent.

    Attributes:
        ratio: the share of traces, of 1.
        is_parent_based: whether who begins a trace elsewhere decides for what goes on here.
        per_second: spans a second after which no new trace is begun.
    """

    ratio: float = 1.0
    is_parent_based: bool = True
    per_second: int = SPANS_PER_SECOND


@dataclass(frozen=True)
class TelemetrySettings:
    """Where each signal goes, what names the runtime, and what is sampled; None is off."""

    traces: Endpoint | None = None
    metrics: Endpoint | None = None
    logs: Endpoint | None = None
    resource: Mapping[str, str] = field(default_factory=dict)
    sampling: Sampling = Sampling()
    metric_seconds: float = 60.0
    batch_seconds: float = 1.0

    @property
    def is_on(self) -> bool:
        """Whether anything is sent."""
        return any((self.traces, self.metrics, self.logs))

    def endpoint(self, signal: str) -> Endpoint | None:
        """Return where a signal goes."""
        found: Endpoint | None = getattr(self, signal)
        return found


def read_settings(
    url: str | None, environ: Mapping[str, str], *, per_second: int = SPANS_PER_SECOND
) -> TelemetrySettings:
    """Return the settings of an URL, which wins over `..._ENDPOINT`, and of the variables.

    Args:
        url: of the collector; None for that of the variables, or loopback.
        environ: the environment.
        per_second: spans a second after which new traces are left out.

    Raises:
        UsageError: one of them makes no sense; the message names it, and never its value where it is secret.
    """
    if is_true(environ, "OTEL_SDK_DISABLED"):
        return TelemetrySettings()
    if per_second < 1:
        raise UsageError(f"--otlp-rate {per_second}: spans a second are wanted, such as 1000", code=_CODE)
    ends = {signal: _endpoint(signal, url, environ) for signal in SIGNALS}
    return TelemetrySettings(
        **ends,
        resource=_resource(environ),
        sampling=_sampling(environ, per_second),
        batch_seconds=_milliseconds(environ, "OTEL_BSP_SCHEDULE_DELAY", 1.0, 60.0),
        metric_seconds=_milliseconds(environ, "OTEL_METRIC_EXPORT_INTERVAL", 60.0, 3600.0),
    )


def shown_url(url: str) -> str:
    """Return an URL without user, password and query."""
    try:
        parts = urlsplit(url)
        host = parts.netloc.rpartition("@")[2]
    except ValueError:
        return "an URL that cannot be read"
    return urlunsplit((parts.scheme, host, parts.path, "", ""))


def _endpoint(signal: str, url: str | None, environ: Mapping[str, str]) -> Endpoint | None:
    exporter = (environ.get(f"OTEL_{signal.upper()}_EXPORTER") or "otlp").strip().lower()
    if exporter == "none":
        return None
    if exporter != "otlp":
        raise UsageError(
            f"OTEL_{signal.upper()}_EXPORTER={exporter[:40]}: dnworker has otlp and none; set one of them",
            code=_CODE,
        )
    protocol = _of(environ, signal, "PROTOCOL")[1] or "http/protobuf"
    if protocol != "http/protobuf":
        raise UsageError(
            f"OTEL_EXPORTER_OTLP_PROTOCOL={protocol[:40]}: dnworker sends http/protobuf; "
            "name the collector's port for that, most often 4318, and set http/protobuf",
            code=_CODE,
        )
    address, headers = _address(signal, url, environ)
    name, compression = _of(environ, signal, "COMPRESSION")
    if compression not in ("", "none", "gzip"):
        raise UsageError(f"{name}={compression[:40]}: gzip or none is wanted", code=_CODE)
    timeout_name, _ = _of(environ, signal, "TIMEOUT")
    return Endpoint(
        address,
        headers | _headers(*_of(environ, signal, "HEADERS")),
        timeout=_milliseconds(environ, timeout_name, 10.0, MAX_TIMEOUT),
        gzip=compression == "gzip",
        certificate=_file(*_of(environ, signal, "CERTIFICATE")),
        client_certificate=_file(*_of(environ, signal, "CLIENT_CERTIFICATE")),
        client_key=_file(*_of(environ, signal, "CLIENT_KEY")),
    )


def _address(signal: str, url: str | None, environ: Mapping[str, str]) -> tuple[str, dict[str, str]]:
    """Return where a signal is posted to; user and password of an URL become a header."""
    import httpx  # it takes long, and most runtimes have no telemetry

    own = environ.get(f"OTEL_EXPORTER_OTLP_{signal.upper()}_ENDPOINT")
    if url is None and own:
        name, text, is_whole = f"OTEL_EXPORTER_OTLP_{signal.upper()}_ENDPOINT", own, True
    else:
        given = url or environ.get("OTEL_EXPORTER_OTLP_ENDPOINT")
        name = "--otlp" if url is not None else "OTEL_EXPORTER_OTLP_ENDPOINT"
        text, is_whole = given or DEFAULT_URL, False
    try:
        parsed = httpx.URL(text.strip())
        is_right = parsed.scheme in ("http", "https") and bool(parsed.host) and not parsed.fragment
        is_right = is_right and urlsplit(text.strip()).port != 0  # which raises where there is none
    except (httpx.InvalidURL, ValueError):
        is_right = False
    if not is_right:
        raise UsageError(
            f"{name} {shown_url(text)[:200]}: the URL of a collector is wanted, such as {DEFAULT_URL}",
            code=_CODE,
        )
    headers = {}
    if parsed.userinfo and url is not None:  # others see options: processes, and `dnworker config`
        raise UsageError(
            f"--otlp {shown_url(text)}: it has a user or a password, which belong into the variable "
            "OTEL_EXPORTER_OTLP_HEADERS",
            code=_CODE,
        )
    if parsed.userinfo:
        user, password = (unquote(part) for part in (parsed.username, parsed.password))
        basic = httpx.BasicAuth(user, password)
        request = next(basic.auth_flow(httpx.Request("POST", "http://x")))
        headers["authorization"] = request.headers["authorization"]
    bare = parsed.copy_with(username=None, password=None)
    path = bare.path if is_whole else f"{bare.path.rstrip('/')}/v1/{signal}"
    return str(bare.copy_with(path=path)), headers


def _of(environ: Mapping[str, str], signal: str, what: str) -> tuple[str, str]:
    """Return the name and value of a signal's variable, or of that for all signals."""
    own = f"OTEL_EXPORTER_OTLP_{signal.upper()}_{what}"
    name = own if environ.get(own) else f"OTEL_EXPORTER_OTLP_{what}"
    return name, environ.get(name, "").strip()


def _headers(name: str, text: str) -> dict[str, str]:
    """Return the headers of a variable; an error tells no value."""
    found = {}
    for number, part in enumerate(filter(None, map(str.strip, text.split(","))), start=1):
        key, separator, value = part.partition("=")
        key, value = unquote(key).strip().lower(), unquote(value).strip()
        is_right = separator and key and key.isascii() and key.replace("-", "").replace("_", "").isalnum()
        if not is_right or not value.isascii() or not value.isprintable():
            raise UsageError(f"{name}: part {number} is no NAME=VALUE, as in api-key=...", code=_CODE)
        found[key] = value
    return found


def _file(name: str, text: str) -> Path | None:
    if not text:
        return None
    if not (path := Path(text)).is_file():
        raise UsageError(f"{name} {path}: there is no such file; name one in PEM format", code=_CODE)
    return path


def _milliseconds(environ: Mapping[str, str], name: str, default: float, most: float) -> float:
    """Return seconds of a variable in milliseconds, within bounds."""
    text = environ.get(name, "").strip()
    if not text:
        return default
    value = _number(text)
    if value is None or value <= 0:
        raise UsageError(f"{name}={text[:40]}: milliseconds are wanted, such as 10000", code=_CODE)
    return min(max(value / 1000, 0.01), most)


def _number(text: str) -> float | None:
    try:
        value = float(text)
    except ValueError:
        return None
    return value if math.isfinite(value) else None


def _resource(environ: Mapping[str, str]) -> dict[str, str]:
    found = {}
    text = environ.get("OTEL_RESOURCE_ATTRIBUTES", "")
    for number, part in enumerate(filter(None, map(str.strip, text.split(","))), start=1):
        key, separator, value = part.partition("=")
        if not separator or not key.strip():
            raise UsageError(f"OTEL_RESOURCE_ATTRIBUTES: part {number} is no NAME=VALUE", code=_CODE)
        found[unquote(key).strip()] = unquote(value).strip()
    if name := environ.get("OTEL_SERVICE_NAME", "").strip():
        found["service.name"] = name
    return found


def _sampling(environ: Mapping[str, str], per_second: int) -> Sampling:
    text = environ.get("OTEL_TRACES_SAMPLER", "").strip().lower() or "parentbased_always_on"
    is_parent_based, kind = text.startswith("parentbased_"), text.removeprefix("parentbased_")
    if kind not in ("always_on", "always_off", "traceidratio"):
        raise UsageError(
            f"OTEL_TRACES_SAMPLER={text[:40]}: always_on, always_off or traceidratio is wanted, or one of "
            "them after parentbased_",
            code=_CODE,
        )
    ratio = {"always_on": 1.0, "always_off": 0.0}.get(kind, 1.0)
    if kind == "traceidratio" and (argument := environ.get("OTEL_TRACES_SAMPLER_ARG", "").strip()):
        given = _number(argument)
        if given is None or not 0 <= given <= 1:
            raise UsageError(
                f"OTEL_TRACES_SAMPLER_ARG={argument[:40]}: a number from 0 to 1 is wanted", code=_CODE
            )
        ratio = given
    return Sampling(ratio, is_parent_based, per_second)
