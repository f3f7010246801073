"""`CapabilityHead`: what a `%%capability` cell says of the capability that live workers are exported as."""

from __future__ import annotations

import dataclasses

from dnworker.capability.manifest import CapabilityManifest
from dnworker.runtime import LIVE_CAPABILITY, Runtime


class CapabilityHead:
    """The head of one notebook's manifest."""

    def __init__(self, runtime: Runtime) -> None:
        self.name: str | None = None
        """The name that it gives the capability; None until such a cell has run."""
        self._runtime = runtime

    def declare(self, manifest: CapabilityManifest) -> None:
        """Take the head from a cell."""
        self.name = manifest.name
        # Live workers stay in the capability "notebook", whatever the export is called.
        self._runtime.capability(LIVE_CAPABILITY).declare(dataclasses.replace(manifest, name=LIVE_CAPABILITY))
