"""Attacks on `serve` as a whole."""

from __future__ import annotations

from tests.attack.attack import Scale, attack
from tests.attack.served import make_capability, serving

PRINTS = """
from dnworker import Worker
worker = Worker("talker")

@worker.on_event("talk")
async def talk(event, client):
    print("x" * 100)
"""


@attack()
async def a_signal_ends_it(scale: Scale) -> str:
    """SIGTERM ends a runtime in which nothing is wrong, with exit code 0."""
    root = make_capability(scale.directory / "cap", "talker: {path: talker.py}", {"talker.py": PRINTS})
    async with serving(scale.directory, root) as served:
        await served.publish("talk")
        code = await served.stop()
        assert code == 0, f"exit code {code}"
    return "exit code 0"
