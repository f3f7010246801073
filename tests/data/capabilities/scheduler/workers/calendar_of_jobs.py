"""What scheduler and sweeper know of jobs."""

RULE = "a job is due when its time has come"


def due(job: dict, now: float) -> bool:
    """Tell whether a job's time has come."""
    return job["at"] <= now


def key_of(job: dict) -> str:
    """Return what a job is known by."""
    return f"{job['name']}@{job['at']:g}"
