"""The stages of a change, in their order."""

STAGES = ("triage", "review", "verdict")


def next_stage(stage):
    """Return the stage after this one; None after the last."""
    place = STAGES.index(stage) + 1
    return STAGES[place] if place < len(STAGES) else None
