"""The options of `serve` for several nodes that work on the same events: `--broker` and what goes with it."""

from __future__ import annotations

import argparse
import os
import re
from pathlib import Path
from typing import TYPE_CHECKING

from dnworker.cli.durable_options import start_of
from dnworker.cli.process_title import hide_arguments
from dnworker.core.errors import UsageError
from dnworker.engine.node_names import check_name

if TYPE_CHECKING:
    from dnworker.events.brokers.jetstream.broker import JetStreamBroker
    from dnworker.events.brokers.jetstream.connecting import ServerSettings
    from dnworker.runtime import Runtime

_WORKER = re.compile(r"[^\s:=]+:[^\s:=]+")
SECRET_VARIABLES = ("NATS_PASSWORD", "NATS_TOKEN")
_WITH_BROKER = ("namespace", "creds", "node", "stream_replicas", "broker_ca", "broker_cert", "broker_key")


def add_cluster_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    group = parser.add_argument_group("several nodes", "docs/how-to/several-machines.md walks through")
    group.add_argument(
        "--broker",
        metavar="URL[,URL]...",
        help="NATS servers with JetStream, which all nodes share, such as nats://10.0.0.5:4222; "
        "tls:// encrypts",
    )
    group.add_argument("--namespace", metavar="NAME", help="what nodes that work together have in common")
    group.add_argument("--node", metavar="NAME", help="this node's name (default: the host's, and 4 digits)")
    group.add_argument(
        "--label", action="append", default=[], metavar="LABEL", help="what this node has, such as gpu"
    )
    group.add_argument(
        "--require",
        action="append",
        default=[],
        metavar="CAP:WORKER=LABEL[,LABEL]",
        help="run a worker only on nodes that have these labels; give all nodes the same",
    )
    group.add_argument(
        "--replicas",
        action="append",
        default=[],
        metavar="CAP:WORKER=N",
        help="run a worker that keeps no state as N members, each of which gets its share of the events; "
        "give all nodes the same",
    )
    group.add_argument(
        "--ordered-by",
        action="append",
        default=[],
        metavar="CAP:WORKER=session",
        help="with --replicas: all events of a session go to one member, in order",
    )
    _add_connection_arguments(group)


def _add_connection_arguments(group: argparse._ArgumentGroup) -> None:
    group.add_argument(
        "--creds",
        type=Path,
        metavar="FILE",
        help="sign in with a .creds file or the seed of an nkey (or by NATS_USER and NATS_PASSWORD)",
    )
    group.add_argument(
        "--broker-ca", type=Path, metavar="FILE", help="the CA that signed the servers' certificates"
    )
    group.add_argument("--broker-cert", type=Path, metavar="FILE", help="this node's certificate")
    group.add_argument("--broker-key", type=Path, metavar="FILE", help="the key of --broker-cert")
    group.add_argument(
        "--stream-replicas",
        type=int,
        choices=(1, 3),
        metavar="1|3",
        help="servers that keep each event (default: 3 where there are three, else 1)",
    )


def shared_broker_of(options: argparse.Namespace) -> JetStreamBroker | None:
    """Return the broker that several nodes share; None where none is named.

    What is secret is removed from the process's arguments and environment.

    Raises:
        UsageError: the options do not go together, or cannot be read.
    """
    settings = shared_settings_of(options)
    if settings is None:
        return None
    from dnworker.events.brokers.jetstream.servers import secrets_in  # only where nodes share a broker

    hide_arguments(secrets_in(options.broker))
    options.broker = settings.address
    for variable in SECRET_VARIABLES:
        os.environ.pop(variable, None)  # worker processes inherit the environment
    from dnworker.events.brokers.jetstream.broker import JetStreamBroker

    return JetStreamBroker(settings, start=start_of(options))


def shared_settings_of(options: argparse.Namespace) -> ServerSettings | None:
    """Return how the broker is reached that several nodes share; None where none is named.

    Raises:
        UsageError: the options do not go together, or a file cannot be read.
    """
    if options.broker is None:
        _refuse_without_broker(options)
        return None
    if options.durable is not None:
        raise UsageError(
            f"--durable {options.durable} keeps events in a file of one node, and --broker with all nodes; "
            "leave out one of both",
            code="DN709",
        )
    from dnworker.events.brokers.jetstream.settings import Files, read_settings

    files = Files(creds=options.creds, ca=options.broker_ca, cert=options.broker_cert, key=options.broker_key)
    return read_settings(
        options.broker,
        options.namespace,
        os.environ,
        files,
        node=place_of(options)[0],
        replicas=options.stream_replicas,
    )


def place_of(options: argparse.Namespace) -> tuple[str | None, list[str], dict[str, list[str]]]:
    """Return the name of this node, None for one that is made up, its labels, and those that workers require.

    Raises:
        UsageError: one of them is no name, or an entry of `--require` is not `CAPABILITY:WORKER=LABEL`.
    """
    node: str | None = options.node
    if node is not None:
        _check(node, "--node")
    labels = [_check(label, "--label") for label in options.label]
    require: dict[str, list[str]] = {}
    for text in options.require:
        worker, _, wanted = text.partition("=")
        if not wanted or not _WORKER.fullmatch(worker):
            raise UsageError(
                f"--require {text[:160]!r}: CAP:WORKER=LABEL[,LABEL] is wanted, such as demo:bridge=gpu",
                code="DN811",
            )
        checked = [_check(label, f"a label of --require {worker}") for label in wanted.split(",")]
        require.setdefault(worker, []).extend(checked)
    return node, labels, require


def joined_to_json(runtime: Runtime) -> dict[str, str]:
    """Return which node of what a runtime is; nothing where it shares its events with no others."""
    settings = getattr(runtime.bus.broker, "settings", None)
    if settings is None:
        return {}
    return {"node": runtime.holdings.node, "namespace": settings.namespace, "broker": settings.address}


def _check(label: str, what: str) -> str:
    try:
        return check_name(label, what)
    except ValueError as exc:
        raise UsageError(str(exc), code="DN811") from exc


def _refuse_without_broker(options: argparse.Namespace) -> None:
    given = [f"--{name.replace('_', '-')}" for name in _WITH_BROKER if getattr(options, name) is not None]
    several = ("label", "require", "replicas", "ordered_by")
    given += [f"--{name.replace('_', '-')}" for name in several if getattr(options, name)]
    if given:
        raise UsageError(
            f"{given[0]} is for several nodes; name the servers that they share: --broker nats://HOST",
            code="DN811",
        )
