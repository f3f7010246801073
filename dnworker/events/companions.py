"""`COMPANIONS`: the files of SQLite beside a database, for `damage` and who looks at files without SQLite."""

COMPANIONS = ("-wal", "-shm", "-journal")
"""Endings of the files that SQLite keeps beside a database."""
