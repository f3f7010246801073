"""Looks at environment variables: which are set, which are unknown, and proxies that catch loopback."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator, Mapping
from urllib.request import getproxies_environment, proxy_bypass

from dnworker.client.address import resolve_url
from dnworker.core.errors import Invalid
from dnworker.core.text import closest
from dnworker.doctor.findings import Finding, ok, problem, warning

KNOWN = frozenset(
    {
        "DNWORKER_CA",
        "DNWORKER_CLIENT_CERT",
        "DNWORKER_CLIENT_KEY",
        "DNWORKER_DEBUG",
        "DNWORKER_FENCE",
        "DNWORKER_JOURNAL",
        "DNWORKER_KEEP_STATE",
        "DNWORKER_LOCALS",
        "DNWORKER_MEMBER",
        "DNWORKER_MODEL",
        "DNWORKER_OBSERVE",
        "DNWORKER_OUTPUT",
        "DNWORKER_REPORTS",
        "DNWORKER_RUN",
        "DNWORKER_RUN_SCHEDULES",
        "DNWORKER_TRACES",
        "DNWORKER_URL",
        "DREADNODE_CAPABILITY_DIRS",
        "DREADNODE_CAPABILITY_LABEL",
        "DREADNODE_CAPABILITY_NAME",
        "DREADNODE_CAPABILITY_VERSION",
        "DREADNODE_HEADLESS",
        "DREADNODE_ORG",
        "DREADNODE_ORGANIZATION",
        "DREADNODE_PROJECT_ROOT",
        "DREADNODE_RUNTIME_HOST",
        "DREADNODE_RUNTIME_ID",
        "DREADNODE_RUNTIME_PORT",
        "DREADNODE_RUNTIME_TOKEN",
        "DREADNODE_RUNTIME_TOKEN_FILE",
        "DREADNODE_RUNTIME_URL",
        "DREADNODE_SERVER_HOST",
        "DREADNODE_SERVER_PORT",
        "DREADNODE_SESSION_GROUP_ID",
        "DREADNODE_SESSION_ORIGIN",
        "DREADNODE_WORKER_NAME",
    }
)
"""The variables that dnworker reads or gives to worker processes; a test compares them with its source."""

FLAG_PREFIX = "DREADNODE_CAPABILITY_FLAG__"

OTHERS = ("NATS_USER", "NATS_PASSWORD", "NATS_TOKEN", "SANDBOX_AUTH_TOKEN")
"""Variables with other names that dnworker reads, too."""

TELEMETRY_PREFIX = "OTEL_"
"""Standard variables of OpenTelemetry, which are read, too; other programs have more of them."""

HOSTS = ("127.0.0.1", "localhost")


def variables(environ: Mapping[str, str] = os.environ, options: Collection[str] = ()) -> Iterator[Finding]:
    """Name the variables that are set, without their values, and those that nothing reads.

    Args:
        environ: the environment.
        options: names of further variables that are read, of options of the command line.
    """
    known = KNOWN | set(options)
    names = sorted(name for name in environ if name.startswith(("DNWORKER_", "DREADNODE_")))
    for name in names:
        if name in known or name.startswith(FLAG_PREFIX):
            continue
        near = closest(name, known, cutoff=0.8)
        if near is not None:
            yield warning("variables", f"nothing reads {name}", f"did you mean {near}?")
        elif name.startswith("DNWORKER_"):  # DREADNODE_ has more readers than dnworker
            yield warning(
                "variables", f"nothing reads {name}", "unset it; docs/reference/environment.md has all"
            )
    names += [name for name in OTHERS if name in environ]
    names += sorted(name for name in environ if name.startswith(TELEMETRY_PREFIX) and environ[name])
    yield ok("variables", f"set: {', '.join(names)}" if names else "none of dnworker's is set")


def address(environ: Mapping[str, str] = os.environ) -> Iterator[Finding]:
    """Look at the address of the runtime that variables name."""
    if not (set(environ) & {"DREADNODE_RUNTIME_URL", "DREADNODE_RUNTIME_PORT", "DREADNODE_SERVER_PORT"}):
        return
    try:
        resolve_url()
    except Invalid as exc:
        yield problem("address", str(exc), "set the variable right, or unset it")
    else:
        text = "commands use the runtime that DREADNODE_RUNTIME_ variables name, not the one that runs here"
        yield ok("address", text, "unset them to find the one that runs here")


def proxies() -> Iterator[Finding]:
    """Look at whether a proxy is asked for what is on this machine.

    dnworker's own client asks none, as a proxy must not see tokens; programs of workers may.
    """
    found = getproxies_environment()
    named = sorted(scheme for scheme in found if scheme in ("http", "https", "all"))
    caught = [host for host in HOSTS if not proxy_bypass(host)]
    if named and caught and {"http", "all"} & set(named):
        text = f"a proxy is set for {' and '.join(named)}, also for {' and '.join(caught)}"
        text += ": dnworker does not ask it, but curl and workers in other languages do"
        yield warning("proxies", text, "set NO_PROXY=127.0.0.1,localhost")
    elif named:
        yield ok(
            "proxies", f"a proxy is set for {' and '.join(named)}, and what is on this machine goes past it"
        )
    else:
        yield ok("proxies", "none is set")
