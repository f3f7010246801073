"""`make_runtime` makes the runtime that the options of `serve` describe."""

from __future__ import annotations

import argparse
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from dnworker.capability.discovery import search_path
from dnworker.capability.flags import parse_cli_flags
from dnworker.capability.manifest import load_manifest
from dnworker.cli.cluster_options import place_of, shared_broker_of, shared_settings_of
from dnworker.cli.durable_options import broker_of, catchup_of, start_of
from dnworker.cli.listen_options import check_files, listening_of, mode_of, use_inherited
from dnworker.cli.loop_options import check_loop
from dnworker.cli.mcp_options import check_mcp
from dnworker.cli.restart_options import policy_of
from dnworker.cli.retry_options import retry_of
from dnworker.cli.roots import roots_of
from dnworker.cli.settings.resolving import Value
from dnworker.cli.stop_options import end_times_of
from dnworker.cli.storm_options import apply_storm_options, check_storm_options
from dnworker.cli.telemetry_options import telemetry_of
from dnworker.core.errors import UsageError
from dnworker.core.limits import parse_limits
from dnworker.engine.replicas_text import replicas_of
from dnworker.engine.tokens import exposure, read_token

if TYPE_CHECKING:
    from dnworker.runtime import Runtime


def make_runtime(options: argparse.Namespace) -> Runtime:
    """Return the runtime that the options describe."""
    check_mcp(options)
    from dnworker.runtime import Runtime

    token_file = _token_file(options)
    node, labels, require = place_of(options)
    replicas, ordered_by = replicas_of(options.replicas, options.ordered_by, options.keep_state)
    runtime = Runtime(
        host=options.host,
        port=options.port,
        token=token_of_environment(),
        token_file=token_file,
        worker_scope=options.worker_scope,
        runtime_id=os.environ.get("DREADNODE_RUNTIME_ID"),
        flags=parse_cli_flags(options.flag),
        capability_dirs=_directories(options),
        journal=options.journal,
        limits=parse_limits(options.limit),
        restart=policy_of(options),
        keep_state=options.keep_state,
        check_payloads=options.check_payloads,
        process_locals=options.locals,
        observe=not options.no_observe,
        broker=shared_broker_of(options) or broker_of(options),
        catchup=catchup_of(options),
        retry=retry_of(options),
        node=node,
        labels=labels,
        require=require,
        replicas=replicas,
        ordered_by=ordered_by,
        uds=options.uds,
        uds_mode=mode_of(options),
        tls_cert=options.tls_cert,
        tls_key=options.tls_key,
        tls_client_ca=options.tls_client_ca,
        trusted_proxies=options.trusted_proxy,
        allowed_hosts=options.allowed_host,
        telemetry=telemetry_of(options),
    )
    use_inherited(runtime)
    apply_storm_options(options, runtime)
    return runtime


def check_options(options: argparse.Namespace) -> None:
    """Check what the options say, as far as that can be seen without a runtime and most files.

    Raises:
        UsageError: something makes no sense.
    """
    _token_file(options)
    end_times_of(options)
    listening_of(options)
    check_mcp(options)
    parse_limits(options.limit)
    policy_of(options)
    retry_of(options)
    catchup_of(options)
    place_of(options)
    replicas_of(options.replicas, options.ordered_by, options.keep_state)
    check_storm_options(options)
    telemetry_of(options)
    if options.broker is None:
        shared_settings_of(options)
        broker_of(options)
    _directories(options)


def check_start(options: argparse.Namespace) -> None:
    """Check all that `serve` checks at its start, as far as that goes without listening and writing.

    Whether workers that options name are there, only a runtime knows that has loaded them.

    Raises:
        UsageError: something makes no sense, or a file cannot be used.
        ManifestError: a capability that is named is none, or its manifest breaks rules.
    """
    check_options(options)
    check_loop(options.loop)
    token_file = _token_file(options)
    if token_file is not None and os.path.lexists(token_file):  # else `serve` writes it
        read_token(token_file)
    check_files(listening_of(options))
    parse_cli_flags(options.flag)
    if options.broker is not None:
        shared_settings_of(options)
        start_of(options)
    for root in [root for path in options.path for root in roots_of(path)]:
        load_manifest(root.absolute())


def placed(exc: Exception, values: Mapping[str, Value]) -> Exception:
    """Return an error about an option that names the file or variable that the option is from."""
    if not isinstance(exc, UsageError):
        return exc
    named = re.match(r"--[a-z-]+", str(exc))
    for one in values.values():
        if named is not None and one.setting.option == named[0] and one.rank in (1, 2):
            return UsageError(f"{one.source}: {exc}", code=exc.code)
    return exc


def _token_file(options: argparse.Namespace) -> Path | None:
    """Return the file of the token.

    Raises:
        UsageError: others can read it.
    """
    named = os.environ.get("DREADNODE_RUNTIME_TOKEN_FILE")
    token_file: Path | None = options.token_file or (Path(named) if named else None)
    exposed = exposure(token_file) if token_file is not None else None
    if exposed is not None and not options.insecure_token_file:
        raise UsageError(f"{exposed}; --insecure-token-file takes it as it is", code="DN907")
    return token_file


def token_of_environment() -> str | None:
    """Return the token that the environment gives, if any."""
    return os.environ.get("DREADNODE_RUNTIME_TOKEN") or os.environ.get("SANDBOX_AUTH_TOKEN") or None


def _directories(options: argparse.Namespace) -> list[Path]:
    """Return what to search: everything when no capability is named, else only those."""
    for directory in options.capabilities_dir:
        if not directory.is_dir():
            raise UsageError(f"--capabilities-dir {directory}: there is no such directory", code="DN413")
    if options.path:
        return [directory.absolute() for directory in options.capabilities_dir]
    return search_path(options.capabilities_dir)
