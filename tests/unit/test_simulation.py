"""The simulation of a large cluster."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "scripts"))

from simulation import Costs, Plan, Simulation, lines_of

COSTS = Costs(write=1e-4, publish=5e-5)
SECONDS = 4.0


@pytest.mark.parametrize(("workers", "is_late"), [(1_000, False), (200_000, True)])
def test_leases_are_lost_where_their_bucket_is_asked_for_more_than_it_does(workers, is_late):
    found = Simulation(Plan("p", 2, workers, 1.0), COSTS, SECONDS).run()
    assert (found.buckets[0].asked > SECONDS) == bool(found.late) == is_late


def test_each_lease_is_renewed_every_three_seconds():
    found = Simulation(Plan("p", 2, 300, 1.0), COSTS, 30.0).run()
    assert found.renewals == pytest.approx(300 * 10, rel=0.02)


def test_partitions_share_what_one_stream_does():
    one, four = (Simulation(Plan("p", 2, 10, 1_000.0, n), COSTS, SECONDS).run().streams for n in (1, 4))
    assert max(line.asked for line in four) == pytest.approx(one[0].asked / 4, rel=0.02)


def test_it_says_where_it_breaks():
    text = "\n".join(lines_of(Plan("large", 10, 100, 100_000.0), COSTS, SECONDS))
    assert "stream leader        500% of one  BREAKS" in text
    assert "cursors written" in text
