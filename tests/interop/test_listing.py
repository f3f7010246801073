"""Real loader: what it lists of a capability, dnworker lists too, by name and status."""

from __future__ import annotations

import json
import os
import random
import subprocess
from pathlib import Path

import pytest

from ..listings import expected, listing, names, random_capability, write_listing
from .environment import LIMIT, reference_python

pytestmark = [pytest.mark.interop, pytest.mark.timeout(LIMIT)]

GENERATED = int(os.environ.get("GENERATED_CAPABILITIES", "60"))


def listed_by_the_reference(roots: list[Path]) -> dict[str, object]:
    """List capabilities in a process of the reference's; seconds for all together."""
    answer = subprocess.run(
        [reference_python(), Path(__file__).with_name("listing.py"), *roots],
        capture_output=True, text=True, check=False, timeout=LIMIT,
    )  # fmt: skip
    assert answer.returncode == 0, answer.stderr[-2000:]
    return {Path(root).name: found for root, found in json.loads(answer.stdout).items()}


@pytest.mark.clause("4.1 listing")
def test_the_real_loader_lists_what_the_expected_listings_say(tmp_path):
    roots = [write_listing(name, tmp_path) for name in names()]
    assert len(roots) >= 26
    assert listed_by_the_reference(roots) == {name: expected()[name] for name in names()}


def test_generated_capabilities_are_listed_alike(tmp_path):
    seed = int(os.environ.get("SEED", random.randrange(2**32)))
    numbers = random.Random(seed)
    roots = [random_capability(tmp_path / f"c{n}", numbers) for n in range(GENERATED)]
    for root, theirs in listed_by_the_reference(roots).items():
        assert listing(tmp_path / root) == theirs, f"SEED={seed}, {root}"


@pytest.mark.skipif("CAPABILITIES" not in os.environ, reason="CAPABILITIES=DIR names other people's")
def test_capabilities_of_others_are_listed_alike():
    roots = [file.parent for file in sorted(Path(os.environ["CAPABILITIES"]).glob("*/capability.yaml"))]
    found = listed_by_the_reference(roots)
    assert {root.name: listing(root) for root in roots} == found
