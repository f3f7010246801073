"""Which of several running runtimes a command means: the only one that has what the command names.

`remote.with_client` asks here where neither `--url` nor the environment names a runtime.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
from collections.abc import Awaitable, Callable, Iterable
from typing import TYPE_CHECKING, Any, NamedTuple

import httpx

from dnworker.cli.text import printable
from dnworker.client.connection import in_path
from dnworker.core.errors import RuntimeUnavailable, UsageError
from dnworker.engine.running import Running

if TYPE_CHECKING:
    from dnworker.client.client import RuntimeClient

PATIENCE = 5.0
"""Seconds that a runtime has to say whether it has what is named."""

Fits = Callable[["RuntimeClient", argparse.Namespace], Awaitable[bool]]
"""Tells whether a runtime has what the command line names."""

Opens = Callable[[Running], "RuntimeClient"]


class Named(NamedTuple):
    """How a command says by what it chooses."""

    fits: Fits
    what: Callable[[argparse.Namespace], str | None]
    """Returns what a runtime must have, in words; None where the command line names nothing to go by."""


async def choose(named: Named, options: argparse.Namespace, here: list[Running], opens: Opens) -> Running:
    """Return the only runtime that has what is named, and say so on standard error.

    Args:
        named: by what it is chosen.
        options: of the command line.
        here: the runtimes that run, at least two.
        opens: returns a client of one.

    Raises:
        UsageError: none has it, several have it, or one does not say; lists the `--url` of each.
    """
    what = named.what(options)
    if what is None:
        raise several(here)
    answers = await asyncio.gather(*(_ask(named.fits, options, one, opens) for one in here))
    silent = [one for one, has in zip(here, answers, strict=True) if has is None]
    found = [one for one, has in zip(here, answers, strict=True) if has]
    if silent:
        raise several(here, f", and {silent[0].url} does not say whether it has {what}")
    if len(found) != 1:
        raise several(found or here, f", and {f'{len(found)} of them have' if found else 'none has'} {what}")
    line = f"{found[0].described} is meant: of {len(here)} runtimes here, it alone has {what}"
    print(printable(f"dnworker: {line}"), file=sys.stderr, flush=True)
    return found[0]


def several(here: Iterable[Running], why: str = "") -> UsageError:
    """Return the error of a command that may mean several runtimes, with what to add for each."""
    listed = "; ".join(f"--url {one.described}" for one in here)
    return UsageError(f"several runtimes run here{why}; name the one that is meant: {listed}", code="DN906")


async def _ask(fits: Fits, options: argparse.Namespace, one: Running, opens: Opens) -> bool | None:
    """Return whether a runtime has it; None where it does not say, as one whose kernel waits for us."""
    if one.waits_for_us:
        return None
    try:
        async with asyncio.timeout(PATIENCE), opens(one) as client:
            return await fits(client, options)
    except httpx.HTTPStatusError as exc:
        return False if exc.response.status_code == httpx.codes.NOT_FOUND else None
    except (httpx.HTTPError, RuntimeUnavailable, TimeoutError, UsageError):
        return None


# -- what commands name ------------------------------------------------------------------------------------


async def _has_workers(client: RuntimeClient, names: Iterable[str]) -> bool:
    info = await client.fetch_runtime_info()
    there = {
        f"{capability.name}:{component.name}"
        for capability in info.capabilities
        for component in capability.components
        if component.kind == "worker"
    }
    return there.issuperset(names)


def _joined(names: Iterable[str]) -> str:
    return " and ".join(names)


def by_workers() -> Named:
    """Choose by the names in `options.worker`, a list or one; all of them must be there."""
    return Named(
        lambda client, options: _has_workers(client, _names(options)),
        lambda options: f"worker {_joined(_names(options))}" if options.worker else None,
    )


def _names(options: argparse.Namespace) -> list[str]:
    return [options.worker] if isinstance(options.worker, str) else list(options.worker)


def by_listener() -> Named:
    """Choose by the session in `options.session`, or else by who hears `options.kind`."""

    async def fits(client: RuntimeClient, options: argparse.Namespace) -> bool:
        request = client.connection.request
        if options.session is not None:
            await request("GET", f"/api/sessions/{in_path(options.session)}")
            return True
        entry: dict[str, Any] = await request("GET", f"/api/catalogue/{in_path(options.kind)}")
        return bool(entry["heard_by"])

    def what(options: argparse.Namespace) -> str:
        if options.session is not None:
            return f"session {options.session}"
        return f"a handler of {options.kind}"

    return Named(fits, what)


def by_capability() -> Named:
    """Choose by the capability in `options.capability`, by its name or as `capability:worker`."""

    async def fits(client: RuntimeClient, options: argparse.Namespace) -> bool:
        info = await client.fetch_runtime_info()
        return options.capability.partition(":")[0] in {one.name for one in info.capabilities}

    return Named(
        fits, lambda options: None if options.capability is None else f"capability {options.capability}"
    )


def by_dead_letter() -> Named:
    """Choose by the dead letter in `options.id`, or else by the worker in `options.worker`."""

    async def fits(client: RuntimeClient, options: argparse.Namespace) -> bool:
        if options.id is None:
            return await _has_workers(client, [options.worker])
        query = {} if options.worker is None else {"worker": options.worker}
        await client.connection.request("GET", f"/api/dead-letters/{in_path(options.id)}", query=query)
        return True

    def what(options: argparse.Namespace) -> str | None:
        if options.id is not None:
            return f"dead letter {options.id}"
        return None if options.worker is None else f"worker {options.worker}"

    return Named(fits, what)
