"""The doctor on limits, cgroups, the clock and time zones."""

from __future__ import annotations

import resource

import pytest

from dnworker.doctor import machine


@pytest.mark.parametrize(("limit", "mark"), [(256, "warning"), (4096, "ok"), (resource.RLIM_INFINITY, "ok")])
def test_few_open_files_are_a_warning(limit, mark):
    assert [one.mark for one in machine.open_files(limit)] == [mark]


@pytest.mark.parametrize(("limit", "mark"), [(100, "warning"), (4096, "ok"), (resource.RLIM_INFINITY, "ok")])
def test_few_processes_are_a_warning(limit, mark):
    assert [one.mark for one in machine.processes(limit)] == [mark]


def test_cgroups_are_named_ours_or_not(tmp_path):
    assert "there is none" in next(iter(machine.cgroup(None))).text
    assert "is ours" in next(iter(machine.cgroup(tmp_path))).text
    (one,) = machine.cgroup(tmp_path / "no")
    assert "Delegate=yes" in one.remedy


def test_a_clock_before_2024_is_a_problem():
    assert [one.mark for one in machine.clock(0.0)] == ["problem"]
    assert [one.mark for one in machine.clock()] == ["ok"]


def test_a_machine_without_time_zones_is_a_warning():
    assert [one.mark for one in machine.time_zones({}, zone="No/Where")] == ["warning"]
    assert [one.mark for one in machine.time_zones({}, zone="UTC")] == ["ok"]


@pytest.mark.parametrize(("zone", "mark"), [("Europe/Berln", "warning"), ("UTC", "ok"), ("EST5EDT", "ok")])
def test_a_local_zone_that_is_none_is_a_warning(zone, mark):
    assert [one.mark for one in machine.time_zones({"TZ": zone}, zone="UTC")] == [mark]
