"""What several workers share, exported from a notebook by dnworker."""

import json
from datetime import UTC, datetime

PREFIX = "capability.demo"


# How every worker says it.
def kind(name):
    return f"{PREFIX}.{name}"


def stamp():
    return json.dumps(datetime.now(UTC).isoformat())
