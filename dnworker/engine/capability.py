"""One capability of a runtime: its manifest, flags, checks and workers; `capabilities` holds them."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterable, Mapping
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

from msgspec.structs import asdict

from dnworker.capability.components import Components, read_components
from dnworker.capability.flags import Flag, gate_is_open, read_persisted, resolve_flags, write_persisted
from dnworker.capability.manifest import CapabilityManifest
from dnworker.capability.mcp import McpState
from dnworker.core.errors import ManifestError, NotFound, with_code
from dnworker.core.files import home_directory, working_directory
from dnworker.core.models import CapabilityInfo, ComponentInfo
from dnworker.core.text import closest, shorten
from dnworker.engine.checks import run_checks

if TYPE_CHECKING:
    from dnworker.workers.managed import ManagedWorker

log = logging.getLogger("dnworker.capabilities")

MOST_SHOWN = 5
"""Workers that the repr of a capability names."""

LONGEST_NAME = 80
"""Characters of a name that is not known, in an error."""

LIVE_CAPABILITY = "notebook"
"""What the capability of added workers is called until a head names it."""


def state_file() -> Path:
    """Where flags that were set by hand are kept (contract 4.5)."""
    return home_directory() / ".dreadnode" / "local-capability-state.json"


def undeclared(name: str) -> CapabilityManifest:
    """Return the manifest of a capability of added workers, of which nobody has written one."""
    return CapabilityManifest(working_directory(), name, "0.1.0", "Workers added to the running process")


def why_unread(root: Path, exc: Exception) -> str:
    """Log why a capability could not be read, and return it."""
    if isinstance(exc, ManifestError):
        text = with_code(exc)
        log.error("%s", text)
        return text
    log.error("%s could not be read", root, exc_info=exc)
    return f"{root} could not be read: {type(exc).__name__}: {exc}"


class Capability:
    """A loaded capability, or one that failed to load and says why.

    Args:
        manifest: what it declares.
        parts: its components; read here when None.
        cli_flags: flags given on the command line.
        agreed: flags that were set on any node of the cluster, by capability.
        failure: why it could not be loaded; then it has no workers.
        live: whether its workers were added here, so that there is no manifest to read again.
    """

    def __init__(
        self,
        manifest: CapabilityManifest,
        parts: Components | None = None,
        *,
        cli_flags: Mapping[str, bool] | None = None,
        agreed: Mapping[str, Mapping[str, bool]] | None = None,
        failure: str | None = None,
        live: bool = False,
    ) -> None:
        self.live = live
        self.is_declared = not live
        """Whether somebody wrote its manifest; that of added workers is made up until a head is declared."""
        self.failure = failure
        self.workers: dict[str, ManagedWorker] = {}
        self.checks: list[ComponentInfo] = []
        self.flags: dict[str, Flag] = {}
        self.mcp_states: dict[str, McpState] = {}
        """What became of its MCP servers, by name, while a runtime runs."""
        self.digest: str | None = None
        """Of its files as they were when it was read, where other nodes have it too."""
        self._cli_flags, self._agreed = dict(cli_flags or {}), {} if agreed is None else agreed
        self._set_here: dict[str, bool] = {}
        self.manifest, self.parts = manifest, parts or Components()
        if parts is None:
            self.read_again()
        else:
            self.resolve_flags()

    def __repr__(self) -> str:
        if self.failure is not None:
            return f"<capability {self.name}: not loaded>"
        shown = islice(self.workers.values(), MOST_SHOWN)
        workers = ", ".join(f"{worker.name} {worker.state}" for worker in shown)
        more = f" and {len(self.workers) - MOST_SHOWN} more" if len(self.workers) > MOST_SHOWN else ""
        return f"<capability {self.name}: {workers or 'no workers'}{more}>"

    @property
    def name(self) -> str:
        """The manifest's name: the capability's identity."""
        return self.manifest.name

    @property
    def root(self) -> Path:
        """Its directory, absolute."""
        return self.manifest.root

    def declare(
        self,
        manifest: CapabilityManifest,
        parts: Components | None = None,
        *,
        cli_flags: Mapping[str, bool] | None = None,
        is_declared: bool = True,
    ) -> bool:
        """Take a head and its components, and resolve the flags anew.

        Args:
            manifest: the head.
            parts: what is in its directory; read there when None.
            cli_flags: flags given on the command line for its name; those known already when None.
            is_declared: whether somebody wrote it.

        Returns whether anything is another than before.
        """
        parts = read_components(manifest) if parts is None else parts
        before = (self.is_declared, self.manifest, self.parts)
        self.is_declared, self.manifest, self.parts = is_declared, manifest, parts
        if cli_flags is not None:
            self._cli_flags = dict(cli_flags)
        self.resolve_flags()
        return before != (is_declared, manifest, parts)

    def read_again(self) -> None:
        """Read the components and resolve the flags as they are now, by the manifest that there is."""
        if self.is_declared and self.failure is None:
            self.parts = read_components(self.manifest)
        self.resolve_flags()

    def effect_of(self, flag: str) -> tuple[list[str], list[str]]:
        """Return the workers that the other value of a flag would start, and those that it would stop.

        Where another flag of its gate is on, a worker runs whatever this one is.
        """
        starts: list[str] = []
        stops: list[str] = []
        for worker in self.workers.values():
            others = [name for name in worker.definition.when if name != flag]
            is_alone = flag in worker.definition.when and not (others and gate_is_open(others, self.flags))
            if is_alone:
                (stops if self.flags[flag].effective else starts).append(worker.name)
        return starts, stops

    def resolve_flags(self) -> None:
        """Resolve the flags from their four layers as they are now.

        What is set in a notebook for its own workers counts there before what the cluster has agreed on.
        """
        manifest, agreed = self.manifest, self._agreed.get(self.manifest.name, {})
        if self.live:
            agreed = {**agreed, **self._set_here}
        self.flags = resolve_flags(
            manifest,
            persisted=None if self.live else read_persisted(state_file(), manifest.name),
            agreed=agreed,
            environ=os.environ,
            cli=self._cli_flags,
        )

    def is_agreed(self, flag: str) -> bool:
        """Return whether a flag has the value that was set for all nodes."""
        is_here = self.live and flag in self._set_here
        return not is_here and flag in self._agreed.get(self.name, {})

    def set_flag(self, flag: str, value: bool) -> None:
        """Set a flag and resolve all anew: for this user; of a live capability for this process.

        What is tried in a notebook must hold neither in others nor where the capability is deployed.

        Raises:
            OSError: it cannot be kept.
        """
        if self.live:
            self._set_here[flag] = value
        else:
            write_persisted(state_file(), self.name, flag, value, version=self.manifest.version)
        self.resolve_flags()

    async def run_checks(self) -> None:
        """Run the declared checks side by side; a failed one never blocks loading (contract 4.2)."""
        self.checks = await run_checks(self.manifest.checks, self.root, self.manifest.path_entries)

    def info(self) -> CapabilityInfo:
        """Return what the API shows of the capability."""
        if self.failure is not None:
            broken = ComponentInfo(
                kind="capability",
                name=self.root.name,
                status="error",
                error=self.failure,
                detail="mend the manifest",
            )
            return CapabilityInfo(
                name=self.root.name,
                display_name=self.root.name,
                local_path=str(self.root),
                components=[broken],
            )
        manifest, parts = self.manifest, self.parts
        return CapabilityInfo(
            name=manifest.name,
            display_name=manifest.name,
            local_path=str(manifest.root),
            version=manifest.version,
            description=manifest.description,
            author=manifest.author,
            license=manifest.license,
            flags=[asdict(flag) for flag in self.flags.values()],
            components=self._components(),
            checks=[asdict(check) for check in manifest.checks],
            entry_agent=parts.agents[0].name if parts.agents else None,
            skills_paths=[str(path) for path in parts.skills_paths],
            agents=[agent.info() for agent in parts.agents],
        )

    def _components(self) -> list[ComponentInfo]:
        parts = self.parts
        return [
            *(ComponentInfo(kind="agent", name=a.name, status="ok", detail=a.note) for a in parts.agents),
            *(worker.component() for worker in self.workers.values()),
            *(ComponentInfo(kind="skill", name=skill.name, status="ok") for skill in parts.skills),
            *(one.component(self.flags, self.mcp_states.get(one.name)) for one in parts.mcp.values()),
            *self.checks,
            *parts.others,
        ]


def no_capability(name: str, known: Iterable[str]) -> NotFound:
    """Return the error of a name that no capability has, with what was probably meant."""
    names = list(known)
    near = closest(name.partition(":")[0], names)  # perhaps a worker was named
    hint = f"; did you mean {near}?" if near else ""
    listed = ", ".join(names) or "none"
    return NotFound(f"no capability {shorten(name, LONGEST_NAME)!r}; there are: {listed}{hint}", code="DN404")
