"""Makes the environments that tests share, before a test waits for one; `make test` runs it beside the tests."""

from __future__ import annotations

import sys

import pytest

from .interop.environment import reference_python
from .kernel.versions import VERSIONS, kernel_python


def main() -> int:
    """Make each that is missing; one that cannot be made is reported, and its tests report it again."""
    for make in (reference_python, *(lambda version=version: kernel_python(version) for version in VERSIONS)):
        try:
            make()
        except (pytest.skip.Exception, Exception) as exc:
            print(f"an environment for tests could not be made: {exc}", file=sys.stderr)
    return 0


if __name__ == "__main__":
    sys.exit(main())
