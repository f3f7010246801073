"""Attacks on real processes: what a worker, a client, a disk or a clock does to a runtime that must hold.

`python -m tests.attack` runs all of them in full and prints what held; `test_attacks.py` runs their short forms.
Each file holds the attacks of one subject.
"""
