"""The choices of an export and the callback for its progress; used by planning, disk, check and importer."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

TargetName = Literal["dreadnode", "dnworker"]
"""The package that exported scripts import their Worker from."""

OnProgress = Callable[[str, int, int], None]
"""Takes what is waited for, how many steps are done, and how many there are."""
