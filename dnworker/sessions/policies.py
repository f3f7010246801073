"""Policies: how much a session's agent may do without asking (contract 6.6).

With `interactive` an agent may ask a person; with `headless` it may not; with `guard` every tool call needs
the permission of a person, or of the model named as `judge_model`.
"""

from __future__ import annotations

import msgspec
from msgspec.structs import replace


class Policy(msgspec.Struct, frozen=True):
    """One policy; `asks` is whether every tool call needs permission."""

    name: str
    autonomous: bool = False
    asks: bool = False
    label: str = ""
    max_steps: int | None = None
    judge_model: str | None = None


INTERACTIVE = Policy("interactive")
_KNOWN = {
    "interactive": INTERACTIVE,
    "headless": Policy("headless", autonomous=True, label="auto"),
    "guard": Policy("guard", asks=True, label="guard"),
}


def resolve_policy(given: object) -> Policy:
    """Return the policy of a name, or of a mapping with `name` and parameters; nothing is `interactive`.

    Raises:
        ValueError: there is no such policy, or a parameter is wrong.
    """
    if given is None or given == {}:
        return INTERACTIVE
    fields = dict(given) if isinstance(given, dict) else {"name": given}
    name = fields.pop("name", None)
    known = _KNOWN.get(name) if isinstance(name, str) else None
    if known is None:
        raise ValueError(f"there is no policy {name!r}; there are: {', '.join(_KNOWN)}")
    steps = fields.pop("max_steps", None) if known.name == "headless" else None
    judge = fields.pop("judge_model", None) if known.name == "guard" else None
    if fields:
        raise ValueError(f"policy {name!r} has no parameter {', '.join(map(repr, sorted(map(str, fields))))}")
    if steps is not None and (not isinstance(steps, int) or isinstance(steps, bool) or steps < 1):
        raise ValueError(f"max_steps of policy {name!r} must be a whole number over 0, not {steps!r}")
    if judge is not None and not (isinstance(judge, str) and judge):
        raise ValueError(f"judge_model of policy {name!r} must be the name of a model, not {judge!r}")
    return replace(
        known, autonomous=known.autonomous or judge is not None, max_steps=steps, judge_model=judge
    )
