"""Exports a notebook: `slicing` reads, `planning` makes files, `check` tries them, `disk` writes."""
