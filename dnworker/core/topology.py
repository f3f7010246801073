"""How a worker runs: in the runtime's process, or as one of its own; whatever names the ways uses these."""

from __future__ import annotations

from typing import Literal

Topology = Literal["uv", "python", "in-process"]
"""`uv run SCRIPT`, `python SCRIPT`, or on the runtime's own loop."""

TOPOLOGIES: tuple[Topology, ...] = ("uv", "python", "in-process")
"""All of them, the default of an export first."""
