# /// script
# requires-python = ">=3.11"
# dependencies = ["dreadnode>=2.0,<3.0", "msgspec>=0.19"]
# ///
from __future__ import annotations

import msgspec
from dreadnode.capabilities.worker import EventEnvelope, RuntimeClient, Worker

from stages import next_stage

audit = Worker(name="auditor")
SEEN: list[str] = []


@audit.on_event("stage.begun")
@audit.on_event("change.closed")
async def note(event: EventEnvelope, client: RuntimeClient) -> None:
    SEEN.append(event.kind)
    audit.state["last"] = msgspec.json.encode(event.payload).decode()
    if event.kind == "stage.begun" and next_stage(event.payload["stage"]) is None:
        await client.publish("audit.last-stage", {"change": event.payload["change"], "seen": len(SEEN)})


if __name__ == "__main__":
    audit.run()
