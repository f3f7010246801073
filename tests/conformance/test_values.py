"""Keys and values, which are compared before they are set."""

from __future__ import annotations

import asyncio


async def test_a_value_is_there_once_it_is_put_and_gone_once_it_is_deleted(stage):
    assert await stage.broker.get("a") is None
    await stage.broker.put("a", b"\x00one")
    assert (await stage.broker.get("a")).value == b"\x00one"
    await stage.broker.put("a", b"two")
    assert (await stage.broker.get("a")).value == b"two"
    await stage.broker.delete("a")
    await stage.broker.delete("a")
    assert await stage.broker.get("a") is None


async def test_a_value_is_written_only_over_the_revision_that_was_read(stage):
    first = await stage.broker.put("a", b"one", revision=0)
    assert await stage.broker.put("a", b"two", revision=0) is None
    second = await stage.broker.put("a", b"two", revision=first.revision)
    assert second.revision > first.revision
    assert await stage.broker.put("a", b"three", revision=first.revision) is None
    assert (await stage.broker.get("a")).value == b"two"


async def test_of_many_that_compare_one_writes(stage):
    written = await asyncio.gather(*(stage.broker.put("a", b"%d" % n, revision=0) for n in range(10)))
    assert sum(entry is not None for entry in written) == 1


async def test_a_revision_does_not_come_again_with_its_key(stage):
    first = await stage.broker.put("a", b"one")
    await stage.broker.delete("a")
    again = await stage.broker.put("a", b"one", revision=0)
    assert again.revision > first.revision


async def test_a_value_is_gone_after_its_time(stage):
    await stage.broker.put("a", b"one", seconds=10)
    assert await stage.broker.get("a") is not None  # from when it is known, where others have written it
    await stage.advance(9)
    assert await stage.broker.get("a") is not None
    await stage.advance(2)
    assert await stage.broker.get("a") is None
    assert await stage.broker.keys("") == []
    assert await stage.broker.put("a", b"two", revision=0) is not None


async def test_keys_are_found_by_how_they_begin_in_order(stage):
    for key in ("b/2", "a/1", "b/1", "b%", "B/1"):
        await stage.broker.put(key, b"")
    assert await stage.broker.keys("b/") == ["b/1", "b/2"]
    assert await stage.broker.keys("b") == ["b%", "b/1", "b/2"]


async def test_entries_are_the_values_under_a_prefix_by_their_keys(stage):
    for key in ("b.2", "b.1", "a.1", "b"):
        await stage.broker.put(key, key.encode())
    found = await stage.broker.entries("b.")
    assert [(one.key, one.value) for one in found] == [("b.1", b"b.1"), ("b.2", b"b.2")]


async def test_who_watches_a_prefix_is_told_of_its_changes_until_it_ends_it(stage):
    told = asyncio.Event()
    end = stage.broker.watch("w.", told.set)
    await stage.broker.put("v.1", b"")
    await stage.broker.put("w.1", b"")
    await asyncio.wait_for(told.wait(), 10)
    told.clear()
    await stage.broker.delete("w.1")
    await asyncio.wait_for(told.wait(), 10)
    end()
    told.clear()
    await stage.broker.put("w.2", b"")
    await stage.broker.get("w.2")
    await asyncio.sleep(0)
    assert not told.is_set()
