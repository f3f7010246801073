"""`Reloader`: reads the configuration again on SIGHUP, applies it, and names what needs a restart."""

from __future__ import annotations

import argparse
import asyncio
import copy
import logging
from typing import TYPE_CHECKING

from dnworker.capability.flags import parse_cli_flags
from dnworker.cli.announcing import say
from dnworker.cli.config_options import Sources, level_of
from dnworker.cli.made_runtime import check_options, placed
from dnworker.cli.retry_options import retry_of
from dnworker.cli.service_manager import ServiceManager
from dnworker.cli.settings.resolving import Resolved
from dnworker.cli.storm_options import apply_storm_options
from dnworker.core.errors import DnworkerError, with_code

if TYPE_CHECKING:
    from dnworker.runtime import Runtime

log = logging.getLogger("dnworker.serve")

APPLIED = frozenset(("flag", "log-level", "verbose", "retry", "storm", "storm-limit"))
"""Settings that change while the runtime runs."""


class Reloader:
    """Reloads one `serve`.

    Args:
        sources: what settings come from.
        resolved: the settings that hold.
        manager: is told when a reload begins and ends.
    """

    def __init__(self, sources: Sources, resolved: Resolved, manager: ServiceManager) -> None:
        self._sources = sources
        self._manager = manager
        self._holds = resolved
        self._wanted = asyncio.Event()

    def request(self) -> None:
        """Ask for a reload; several that are asked for before one begins are one."""
        self._wanted.set()

    async def run(self, runtime: Runtime) -> None:
        """Reload each time that it is asked for, until cancelled."""
        while True:
            await self._wanted.wait()
            self._wanted.clear()
            self._manager.reloading()
            try:
                await self.reload(runtime)
            except (DnworkerError, OSError) as exc:
                say(f"not reloaded: {with_code(exc)}", "error")
            except Exception:
                log.exception("not reloaded, by a mistake of its own")
            finally:
                self._manager.ready()

    async def reload(self, runtime: Runtime) -> None:
        """Read the settings, apply what can be applied, and say in one line what was.

        Raises:
            UsageError: they make no sense; then nothing has changed.
        """
        fresh = await asyncio.to_thread(self._sources.read)
        options = _options(fresh)
        try:
            await asyncio.to_thread(check_options, copy.copy(options))
        except DnworkerError as exc:
            raise placed(exc, fresh.values) from exc
        for note in fresh.notes:
            say(note)
        changed = [key for key, one in fresh.values.items() if one.value != self._holds.values[key].value]
        applied = [key for key in changed if key in APPLIED]
        self._apply(runtime, options, fresh, applied)
        late = [
            f"{key} changed in {one.source}: takes effect at the next start"
            for key, one in fresh.values.items()
            if key not in APPLIED and one.value != self._holds.values[key].value
        ]
        runtime.tokens.refresh()
        done = ["certificate"] if _has_new_certificate(runtime) else []
        info = await runtime.reload()
        names = [one.name for one in info.capabilities]
        what = [*applied, *done, f"capabilities ({', '.join(names)})" if names else "capabilities"]
        where = "" if fresh.file is None else f" by {fresh.file.place()}"
        failed = [c.root.name for c in runtime.capabilities.all() if c.failure is not None]
        wrong = [f"could not be loaded: {', '.join(failed)}"] if failed else []
        say("; ".join([f"reloaded{where}: {', '.join(what)}", *wrong, *late]), "warning" if late else "info")

    def _apply(
        self, runtime: Runtime, options: argparse.Namespace, fresh: Resolved, changed: list[str]
    ) -> None:
        if "flag" in changed:
            flags = runtime.capabilities.given_flags
            flags.clear()
            flags.update(parse_cli_flags(options.flag))
        if "retry" in changed:
            wanted = retry_of(options)
            for worker in {*runtime.retries.policies} - {*wanted}:
                runtime.retries.put(worker, None)
            for worker, policies in wanted.items():
                runtime.retries.put(worker, policies)
        if "storm" in changed or "storm-limit" in changed:
            runtime.storms.limit = runtime.limits.storm
            apply_storm_options(options, runtime)
        logging.getLogger().setLevel(level_of(fresh.values).upper())
        self._holds = Resolved(
            {key: fresh.values[key] if key in APPLIED else one for key, one in self._holds.values.items()},
            fresh.file,
            [],
        )


def _has_new_certificate(runtime: Runtime) -> bool:
    """Read the files of TLS again, and return whether they count now; what is wrong with them is logged."""
    if runtime.listening is None or runtime.listening.tls is None or runtime.server is None:
        return False
    return runtime.server.reload_tls()


def _options(resolved: Resolved) -> argparse.Namespace:
    options = argparse.Namespace()
    resolved.put_into(options)
    return options
