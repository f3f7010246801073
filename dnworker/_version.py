"""The version of dnworker; whoever shows or writes it reads it here, without loading anything else."""

__version__ = "0.1.0"
