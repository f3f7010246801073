"""The version of dnworker: it stands here alone, and the build reads it."""

__version__ = "0.1.0"
