"""Rules for handlers, as decorators below `@worker.on_event(...)`: how often, how many, and how many at once.

They are plain Python over asyncio: an export for a runtime without dnworker carries their code with it. Time
is that of the runtime, which `%clock virtual` and tests can advance.
"""

from __future__ import annotations

from dnworker.patterns.batching import batch
from dnworker.patterns.debouncing import debounce
from dnworker.patterns.doing_once import once
from dnworker.patterns.limiting import limit
from dnworker.patterns.throttling import throttle

__all__ = ["batch", "debounce", "limit", "once", "throttle"]
