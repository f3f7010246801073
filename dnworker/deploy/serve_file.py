"""`serve_file` returns `serve.toml`: the options of `dnworker serve` that a deployment starts with."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator

from dnworker.deploy.settings import Settings

DRAIN = 5
"""Seconds in which load balancers notice that a node ends."""

STOP_WITHIN, END = 6.5, 10
"""Seconds of `serve --stop-within` by default, and how long the end takes then at most, without the drain."""

_HEAD = """\
# Options of `dnworker serve`, one a line, without their dashes; `dnworker serve --help` has all.
# {after}
"""

_AFTER = {
    "systemd": "After a change on this machine: systemctl reload {name}",
    "container": "After a change: build the image again.",
    "compose": "After a change: docker compose restart node",
    "kubernetes": "After a change: kubectl apply --kustomize .",
}


def options_of(settings: Settings) -> dict[str, object]:
    """Return the options by name."""
    is_unit = settings.target == "systemd"
    state = f"/var/lib/{settings.name}" if is_unit else "/var/lib/dnworker"
    options: dict[str, object] = {
        "host": settings.host if is_unit else "0.0.0.0",  # noqa: S104 - what publishes the port bounds it
        "port": settings.port,
        "capabilities-dir": [f"/opt/{settings.name if is_unit else 'dnworker'}/current"],
    }
    options["token-file"] = (
        f"/run/credentials/{settings.name}.service/token" if is_unit else "/run/secrets/token"
    )
    options |= {"insecure-token-file": True, "worker-scope": "worker", "restart": "on-failure"}
    if settings.target in ("compose", "kubernetes"):
        options["allowed-host"] = ["node" if settings.target == "compose" else settings.name]
        options["drain"] = DRAIN
    if settings.stop_within is not None:
        options["stop-within"] = settings.stop_within
    if settings.keeps_file:
        options["durable"] = f"{state}/events.db"
    if settings.shares_broker:
        options["broker"] = settings.broker or "nats://nats:4222"
        options["namespace"] = settings.shared_namespace
    return options


def stop_seconds(settings: Settings) -> int:
    """Return after how many seconds a runtime that is to end is killed: well after it ends by itself."""
    drain = DRAIN if "drain" in options_of(settings) else 0
    within = STOP_WITHIN if settings.stop_within is None else settings.stop_within
    return math.ceil(drain + END * max(1.0, within / STOP_WITHIN)) + 10


_WHY = {
    "insecure-token-file": "the file's mode has more than the owner, and only this service sees the file",
    "worker-scope": "what a worker process may do: what workers need",
    "allowed-host": "names that requests may ask for",
    "drain": "seconds in which requests are answered on, after /api/ready says that this node ends",
    "stop-within": "seconds that what runs gets to end; what waits for that end is set for so long, too",
    "durable": "accepted events stay here until workers have handled them",
    "broker": "accepted events stay there until workers have handled them",
}


def serve_file(settings: Settings) -> str:
    """Return the text of the file."""
    head = _HEAD.format(after=_AFTER[settings.target].format(name=settings.name))
    return head + "".join(f"{line}\n" for line in _lines(options_of(settings)))


def _lines(options: dict[str, object]) -> Iterator[str]:
    for key, value in options.items():
        why = f"  # {_WHY[key]}" if key in _WHY else ""
        yield f"{key} = {json.dumps(value)}{why}"  # of text, numbers, flags and lists, JSON is TOML
