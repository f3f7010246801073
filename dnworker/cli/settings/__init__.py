"""The options of `serve` as settings: from the command line, the environment, a file, or a default."""
