"""What the command line and a kernel that it started say to each other; used by execute.py and magics."""

from __future__ import annotations

import json
from collections.abc import Mapping

PROGRESS = "application/vnd.dnworker.progress+json"
"""The MIME type of what is displayed for each step of an export."""


def request_code(request: Mapping[str, object]) -> str:
    """Return the code that makes a kernel export itself."""
    return f"await __import__('dnworker_jupyter')._answer({json.dumps(request)!r})"
