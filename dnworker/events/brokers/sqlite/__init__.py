"""The broker that keeps everything in one SQLite file: begin with `broker.py`."""
