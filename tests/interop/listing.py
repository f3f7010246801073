"""Run by the reference's Python: lists the components of capabilities as its loader does, as JSON."""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path

from dreadnode.capabilities import load_capability
from loguru import logger


def listing(root: Path) -> dict[str, object]:
    """Return the components, and the agents with what sessions see of them."""
    try:
        capability = asyncio.run(load_capability(root))
    except Exception:
        return {"components": [["capability", root.name, "error"]], "agents": []}
    for kind in ("tools", "hooks", "policies"):  # these are looked for when they are first asked for
        getattr(capability, kind)
    entries = [[e["kind"], e["name"], e["status"]] for e in capability.component_health]
    agents = [[a.name, a.description, a.model] for a in capability.agents]
    return {"components": sorted(entries), "agents": agents}


logger.remove()
json.dump({root: listing(Path(root)) for root in sys.argv[1:]}, sys.stdout)
