"""`Settings`: what a deployment is called and where it listens, checked before anything is written."""

from __future__ import annotations

import re
from dataclasses import dataclass

from dnworker._version import __version__
from dnworker.capability.reading import shown
from dnworker.core.errors import UsageError

TARGETS = ("systemd", "container", "compose", "kubernetes")

BASE_IMAGE = "docker.io/library/python:3.12-slim-bookworm"
"""What images are made of: Python 3.11 or later, with `groupadd` and `useradd`."""

NATS_IMAGE = "docker.io/library/nats:2.12-alpine"
"""The broker of a compose file: NATS 2.11 or later, with `wget` for its health check."""

CONTAINER_USER = 10001
"""The user in an image: a number above those of a distribution's own users, as clusters want to see one."""

_NAME = re.compile(r"[a-z]([a-z0-9-]{0,29}[a-z0-9])?")
_USER = re.compile(r"[a-z_][a-z0-9_-]{0,30}")
_HOST = re.compile(r"[A-Za-z0-9_.:-]{1,253}")
_IMAGE = re.compile(
    r"[a-z0-9]+([.:/_-][A-Za-z0-9._-]*[A-Za-z0-9])*(:[A-Za-z0-9_][A-Za-z0-9_.-]{0,127})?(@sha256:[0-9a-f]{64})?"
)
_TAG = re.compile(r":[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}$")
_BROKER = re.compile(r"(nats|tls)://[A-Za-z0-9_.:\[\]-]+(,((nats|tls)://)?[A-Za-z0-9_.:\[\]-]+)*")
_NAMESPACE = re.compile(r"[a-z0-9][a-z0-9_-]{0,47}")
_RELEASED = re.compile(r"[0-9]+\.[0-9]+\.[0-9]+(rc[0-9]+)?")

MOST_REPLICAS = 100


@dataclass(frozen=True)
class Settings:
    """What the options of `dnworker deploy` say.

    Attributes:
        target: one of `TARGETS`.
        name: of the service, its directories, its user and its image.
        port: where it listens.
        host: the address that it listens at; in a container that is always all of them.
        user: whom a systemd service runs as; empty for one of the service's name.
        durable: whether accepted events are kept in a file until workers have handled them.
        broker: addresses of NATS servers that several nodes share; None for one node.
        namespace: what nodes that work together have in common; None for the name.
        image: the image's name and tag; empty for one of the service's name and the release.
        replicas: nodes, where a broker is.
        base_image: what the image is made of.
        nats_image: the broker of a compose file.
        stop_within: seconds that what runs gets at the end, as `serve --stop-within`; None for its default.
    """

    target: str
    name: str = "dnworker"
    port: int = 8787
    host: str = "127.0.0.1"
    user: str = ""
    durable: bool = True
    broker: str | None = None
    namespace: str | None = None
    image: str = ""
    replicas: int = 2
    base_image: str = BASE_IMAGE
    nats_image: str = NATS_IMAGE
    stop_within: float | None = None

    @property
    def run_as(self) -> str:
        """The user of a systemd service."""
        return self.user or self.name

    @property
    def shared_namespace(self) -> str:
        """What nodes that work together have in common."""
        return self.namespace or self.name

    @property
    def shares_broker(self) -> bool:
        """Whether several nodes share a broker: the one that is named, or the one of the compose file."""
        return self.broker is not None or self.target == "compose"

    @property
    def keeps_file(self) -> bool:
        """Whether events are kept in a file of one node."""
        return self.durable and not self.shares_broker

    def image_of(self, release: str) -> str:
        """Return the name of the image with its tag."""
        return self.image or f"{self.name}:{release}"

    def requirement(self) -> str:
        """Return what is installed of dnworker, as pip reads it."""
        extras = "runtime,metrics,cluster" if self.shares_broker else "runtime,metrics"
        return f"dnworker[{extras}]=={__version__}" if is_released() else f"dnworker[{extras}]"


def is_released() -> bool:
    """Return whether an index can have this version of dnworker."""
    return _RELEASED.fullmatch(__version__) is not None and __version__ != "0.0.0"


def check(settings: Settings) -> Settings:
    """Return the settings, unchanged.

    Raises:
        UsageError: one of them cannot be used; the message says what can.
    """
    _names(settings)
    _port(settings)
    _cluster(settings)
    within = settings.stop_within
    if within is not None and not 0.5 <= within <= 3600:
        raise UsageError(f"--stop-within {within:g}: use 0.5 to 3600 seconds", code="DN935")
    if settings.image:
        _image("--image", settings.image, settings.target != "systemd", "systemd runs no image", ":1.0")
    if settings.base_image != BASE_IMAGE:
        is_used = settings.target != "systemd"
        _image("--base-image", settings.base_image, is_used, "systemd runs no image", ":3.12-slim")
    if settings.nats_image != NATS_IMAGE:
        is_used = settings.target == "compose"
        _image(
            "--nats-image", settings.nats_image, is_used, "only a compose file has a broker", ":2.12-alpine"
        )
    return settings


def _image(option: str, image: str, is_used: bool, unused: str, tag: str) -> None:
    if not is_used:
        raise UsageError(f"{option} {shown(image, 80)}: {unused}; leave {option} out", code="DN935")
    if not (_IMAGE.fullmatch(image) and len(image) <= 255):
        raise UsageError(
            f"{option} {shown(image, 80)}: this is no image's name; use one such as "
            "registry.example.com/shop:1.0",
            code="DN935",
        )
    if not (_TAG.search(image) or "@" in image):
        raise UsageError(
            f"{option} {image}: a tag is missing, and without one nobody knows what runs; use {image}{tag}",
            code="DN935",
        )


def _names(settings: Settings) -> None:
    if not _NAME.fullmatch(settings.name):
        near = re.sub(r"[^a-z0-9]+", "-", settings.name.lower()).strip("-0123456789")[:31].strip("-")
        raise UsageError(
            f"--name {shown(settings.name, 80)}: units, users and hosts are not named so: lower-case "
            f"letters, digits and dashes, starting with a letter, at most 31; use {near or 'shop'}",
            code="DN935",
        )
    if settings.user and settings.target != "systemd":
        raise UsageError(
            f"--user {shown(settings.user, 40)}: a container runs as user {CONTAINER_USER}; leave --user out",
            code="DN935",
        )
    if settings.user and (not _USER.fullmatch(settings.user) or settings.user == "root"):
        why = (
            "a service of workers is not to run as root"
            if settings.user == "root"
            else "no user can be named so"
        )
        raise UsageError(
            f"--user {shown(settings.user, 40)}: {why}; leave --user out, and "
            f"the user {settings.name} is made",
            code="DN935",
        )
    if not _HOST.fullmatch(settings.host):
        raise UsageError(
            f"--host {shown(settings.host, 80)}: this is no address; use 127.0.0.1, or 0.0.0.0 for all",
            code="DN935",
        )
    if settings.host != "127.0.0.1" and settings.target != "systemd":
        raise UsageError(
            f"--host {settings.host}: in a container the runtime listens at all addresses, and what "
            "publishes its port says who reaches it; leave --host out",
            code="DN935",
        )


def _port(settings: Settings) -> None:
    if not 1 <= settings.port <= 65_535:
        raise UsageError(
            f"--port {settings.port}: ports are 1024 to 65535 here; the default is 8787", code="DN935"
        )
    if settings.port < 1024:
        raise UsageError(
            f"--port {settings.port}: a port below 1024 needs CAP_NET_BIND_SERVICE, which workers would "
            "have, too; use one from 1024 on, and a proxy before it (docs/how-to/behind-a-proxy.md)",
            code="DN935",
        )


def _cluster(settings: Settings) -> None:
    broker, namespace = settings.broker, settings.namespace
    if broker is not None:
        if settings.target == "compose":
            raise UsageError(
                "--broker: the compose file has a broker of its own; leave --broker out", code="DN935"
            )
        if not _BROKER.fullmatch(broker):
            raise UsageError(
                f"--broker {shown(broker.rpartition('@')[2], 80)}: use addresses such as "
                "nats://10.0.0.5:4222; passwords go into the file of secrets",
                code="DN935",
            )
    if namespace is not None and not _NAMESPACE.fullmatch(namespace):
        raise UsageError(
            f"--namespace {shown(namespace, 40)}: lower-case letters, digits, dashes and underscores, at "
            "most 48; use one such as prod",
            code="DN935",
        )
    if namespace is not None and not settings.shares_broker:
        raise UsageError(
            f"--namespace {shown(namespace, 40)}: it is for nodes that share a broker; add --broker, or "
            "leave it out",
            code="DN935",
        )
    if not 1 <= settings.replicas <= MOST_REPLICAS:
        raise UsageError(f"--replicas {settings.replicas}: use 1 to {MOST_REPLICAS}", code="DN935")
