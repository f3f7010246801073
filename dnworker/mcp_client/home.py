"""`Home` and `Declaring`: what is needed of a capability with MCP servers; used by `servers` and `server`."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from dnworker.capability.components import Components
    from dnworker.capability.flags import Flag
    from dnworker.capability.manifest import CapabilityManifest
    from dnworker.capability.mcp import McpState


class Home(Protocol):
    """The capability of a server."""

    mcp_states: dict[str, McpState]
    """What became of its servers, by name."""

    @property
    def name(self) -> str:
        """Its name."""

    @property
    def root(self) -> Path:
        """Its directory."""

    @property
    def manifest(self) -> CapabilityManifest:
        """What it declares."""

    @property
    def flags(self) -> Mapping[str, Flag]:
        """Its flags, as they are resolved now."""


class Declaring(Home, Protocol):
    """A capability that may declare servers."""

    failure: str | None
    """Why it could not be loaded."""

    parts: Components
    """What it declares beside workers."""
