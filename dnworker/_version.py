"""The version of the installed dnworker; server, command line and `dnworker.__version__` read it here.

The build takes it from the repository's newest tag, so no file of the source names it.
"""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version

try:
    __version__ = version("dnworker")
except PackageNotFoundError:  # the source is on the path, and nothing is installed
    __version__ = "0.0.0"
