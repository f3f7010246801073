"""A copy of a capability's directory: files and links, and nothing else."""

from __future__ import annotations

import os
from pathlib import Path

from dnworker_jupyter.export.disk.copy import copy_capability


async def test_links_lead_where_they_led_and_pipes_are_left_out(tmp_path):
    directory = tmp_path / "demo"
    directory.mkdir()
    (tmp_path / "outside.txt").write_text("outside")
    (directory / "inside.txt").write_text("inside")
    (directory / "out").symlink_to("../outside.txt")
    (directory / "in").symlink_to("inside.txt")
    os.mkfifo(directory / "pipe")
    copy = tmp_path / "far" / "away" / "demo"
    await copy_capability(directory, copy)
    assert {p.name for p in copy.iterdir()} == {"inside.txt", "out", "in"}
    assert (copy / "out").read_text() == "outside"
    assert (copy / "in").readlink() == Path("inside.txt")
