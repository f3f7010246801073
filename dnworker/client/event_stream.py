"""`EventStream`: what a stream of events asks for, and which event it gave last; over several sockets."""

from __future__ import annotations

import os
from collections.abc import Collection
from urllib.parse import urlencode

from dnworker.core.envelope import RESUMED, EventEnvelope, decode, decode_fed
from dnworker.core.ids import new_id
from dnworker.core.invocation import feeds_handlers

FOR, HANDLERS = "for", "handlers"
"""The query parameter by which an event stream names whom it feeds."""

STREAM, AFTER_SEQ = "stream", "after_seq"
"""Those by which it names itself, and the last event that it gave: a worker gets what came after that."""

ACK, EXPLICIT = "ack", "explicit"
"""The one by which a client says that it acknowledges each event by itself, over the socket."""

DELIVERY = "delivery"
"""The one by which a client asks how often it was given an event, if more than once."""

NO_GROUPS = "dnworker-no-groups"
"""A header of our handshake, and of the answer that we are ready: this runtime keeps no session groups, so
that no handler asks for one first."""

TRACES, TRACES_VARIABLE = "traces", "DNWORKER_TRACES"
"""The one by which it asks for the `traceparent` of each event, and the variable of a process that says
that its runtime sends traces: the share of those."""

VIA = "via"
"""The one by which a runtime that is attached asks by which runtimes a copy has come: it drops its own."""


class EventStream:
    """What one iterator asks for, and which event it gave last."""

    def __init__(self, kinds: Collection[str]) -> None:
        self._parameters = [("kinds", kind) for kind in kinds]
        self._feeds_handlers = feeds_handlers.get()
        if self._feeds_handlers:  # for our runtime, as those below; any other ignores them
            self._parameters += [(FOR, HANDLERS), (DELIVERY, "1")]
        self._is_traced = self._feeds_handlers and TRACES_VARIABLE in os.environ
        if self._is_traced:
            self._parameters.append((TRACES, "1"))
        self._parameters.append((STREAM, new_id()))
        self._newest = 0
        self._is_first = False

    @property
    def query(self) -> str:
        """The query of the next socket."""
        return urlencode([*self._parameters, (AFTER_SEQ, self._newest)])

    def read(self, frame: str | bytes) -> EventEnvelope:
        """Return the event of a frame."""
        if self._is_traced:
            return decode_fed(frame)
        envelope = decode(frame)
        return decode_fed(frame) if envelope.replay and self._feeds_handlers else envelope

    def begin(self) -> None:
        """Note that there is a new socket."""
        self._is_first = True

    def is_new(self, envelope: EventEnvelope) -> bool:
        """Return whether the event was not given yet."""
        if self._is_first and envelope.kind != RESUMED:
            self._newest = 0  # it begins anew, perhaps of another runtime
        self._is_first = False
        if not envelope.seq:
            return True
        if envelope.seq <= self._newest:
            return False
        self._newest = envelope.seq
        return True
