"""`CapabilityHead`: the head of the manifest, from a `%%capability` cell; used by magics."""

from __future__ import annotations

import dataclasses

from dnworker.capability.manifest import CapabilityManifest
from dnworker.engine.capability import LIVE_CAPABILITY
from dnworker.engine.engine import Engine


class CapabilityHead:
    """The head of one notebook's manifest."""

    def __init__(self, engine: Engine) -> None:
        self.name: str | None = None
        """The name that it gives the capability; None until such a cell has run."""
        self._engine = engine

    def declare(self, manifest: CapabilityManifest) -> None:
        """Take the head from a cell."""
        self.name = manifest.name
        # Live workers stay in the capability "notebook", whatever the export is called.
        self._engine.capability(LIVE_CAPABILITY).declare(dataclasses.replace(manifest, name=LIVE_CAPABILITY))
