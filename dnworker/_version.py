"""The version of dnworker; the build and `dnworker.__version__` read it here."""

__version__ = "0.1.0"
