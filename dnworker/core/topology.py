"""The topologies of a worker: in-process, python, uv; used by manifests, exports and magics."""

from __future__ import annotations

from typing import Literal

Topology = Literal["uv", "python", "in-process"]
"""`uv run SCRIPT`, `python SCRIPT`, or on the runtime's own loop."""

TOPOLOGIES: tuple[Topology, ...] = ("uv", "python", "in-process")
"""All of them, the default of an export first."""

SILENT = "runs without reporting"
"""What is shown of a process in the place of handlers and figures, where it reports none."""
