"""`read_settings`: the settings of a connection, made of what a user gives; each mistake is one line."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from dnworker.core.errors import UsageError
from dnworker.events.brokers.jetstream.credentials import is_seed, tls_context
from dnworker.events.brokers.jetstream.servers import SignIn, check_namespace, parse_servers, sign_in_of

if TYPE_CHECKING:
    from dnworker.events.brokers.jetstream.connecting import ServerSettings

LACKING = "needs nats-py; install it with: pip install 'dnworker[cluster]'"


class Files(msgspec.Struct, frozen=True, kw_only=True):
    """The files of a user that a node signs in with."""

    creds: Path | None = None
    ca: Path | None = None
    cert: Path | None = None
    key: Path | None = None


def read_settings(
    url: str,
    namespace: str | None,
    environment: Mapping[str, str],
    files: Files | None = None,
    *,
    node: str | None = None,
    replicas: int | None = None,
    option: str = "--broker",
) -> ServerSettings:
    """Return the settings that a user's words describe.

    Args:
        url: the servers, `nats://HOST[:PORT][,...]`; it may have a user and a password.
        namespace: what the nodes have in common.
        environment: may have `NATS_USER`, `NATS_PASSWORD` and `NATS_TOKEN`, where the URL has no user.
        files: to sign in with.
        node: the name of this node, which servers show with its connection.
        replicas: 1, 3, or None to decide by the servers.
        option: what the URL was given to, for errors.

    Raises:
        UsageError: something of it cannot be used; the text has nothing that is secret.
    """
    files = files or Files()
    servers = parse_servers(url, option)
    if namespace is None:
        way = "name what the nodes have in common, such as --namespace prod"
        raise UsageError(f"{option}: {way}", code="DN803")
    check_namespace(namespace)
    sign_in = _only(servers.sign_in or sign_in_of(environment), files)
    has_seed = files.creds is not None and is_seed(files.creds)
    context = tls_context(files.ca, files.cert, files.key)
    return _kind(option)(
        servers=tuple(servers.urls_with(is_tls=context is not None)),
        namespace=namespace,
        node=node or "node",
        user=sign_in.user,
        password=sign_in.password,
        token=sign_in.token,
        creds=None if has_seed else files.creds,
        nkey=files.creds if has_seed else None,
        tls=context,
        replicas=replicas,
    )


def _only(sign_in: SignIn, files: Files) -> SignIn:
    """Return with what one signs in beside files, unless there are both."""
    if sign_in and files.creds is not None:
        raise UsageError(
            f"--creds {files.creds}: there are a user or a token, too, in the address or the environment; "
            "leave out one",
            code="DN804",
        )
    return sign_in


def _kind(option: str) -> type[ServerSettings]:
    """Return the class of settings, which needs the library."""
    try:
        from dnworker.events.brokers.jetstream.connecting import ServerSettings
    except ModuleNotFoundError as exc:
        if exc.name is not None and exc.name.startswith("dnworker"):
            raise
        raise UsageError(f"{option} {LACKING}", code="DN902") from exc
    return ServerSettings
