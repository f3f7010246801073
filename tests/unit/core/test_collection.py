"""Holding garbage collection for a while leaves it as it was found."""

from __future__ import annotations

import gc
import os
import threading
import weakref

import pytest

from dnworker.core.collection import collection_held


class _Node:
    """An object that may be in a cycle."""

    other: object = None


@pytest.fixture(autouse=True)
def as_it_was():
    was_on, threshold = gc.isenabled(), gc.get_threshold()
    gc.enable()
    gc.unfreeze()  # what a command that ran in this process has frozen
    yield
    gc.set_threshold(*threshold)
    (gc.enable if was_on else gc.disable)()


def test_no_collection_runs_within_the_block():
    generations = []

    def note(phase, info):
        generations.append(info["generation"])

    with collection_held():
        gc.callbacks.append(note)
        try:
            kept = [[] for _ in range(100_000)]
        finally:
            gc.callbacks.remove(note)
    assert generations == []
    assert gc.isenabled()
    assert len(kept) == 100_000


def test_the_block_ends_with_its_objects_in_the_oldest_generation():
    with collection_held():
        kept = [[] for _ in range(1_000)]
    young = {id(one) for generation in (0, 1) for one in gc.get_objects(generation)}
    assert not young & {id(one) for one in kept}


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, GeneratorExit])
def test_a_block_that_fails_lets_collection_go_on(error):
    with pytest.raises(error), collection_held():
        raise error
    assert gc.isenabled()


def test_the_outer_one_of_two_blocks_lets_collection_go_on():
    with collection_held():
        with collection_held():
            assert not gc.isenabled()
        assert not gc.isenabled()
    assert gc.isenabled()


def test_the_last_thread_lets_collection_go_on():
    is_in, may_end = threading.Event(), threading.Event()

    def hold():
        with collection_held():
            is_in.set()
            assert may_end.wait(10)

    thread = threading.Thread(target=hold)
    thread.start()
    assert is_in.wait(10)
    with collection_held():
        pass
    assert not gc.isenabled()  # the other one still computes
    may_end.set()
    thread.join(10)
    assert gc.isenabled()


def test_collection_that_was_off_stays_off():
    gc.disable()
    with collection_held(), collection_held():
        pass
    assert not gc.isenabled()


def test_collection_that_is_turned_on_within_the_block_stays_on():
    with collection_held():
        gc.enable()
        with collection_held():
            assert not gc.isenabled()
        gc.enable()
    assert gc.isenabled()


def test_thresholds_stay_as_they_were():
    gc.set_threshold(123, 4, 5)
    with collection_held():
        pass
    assert gc.get_threshold() == (123, 4, 5)


def test_cycles_of_the_block_are_collected_afterwards():
    with collection_held():
        node = _Node()
        node.other = node
        gone = weakref.ref(node)
        del node
    gc.collect()
    assert gone() is None


def test_objects_that_the_program_has_frozen_stay_frozen():
    gc.freeze()
    try:
        frozen = gc.get_freeze_count()
        with collection_held():
            pass
        assert gc.get_freeze_count() > frozen * 0.9
    finally:
        gc.unfreeze()


def test_what_stays_is_never_visited_again():
    try:
        with collection_held(stays=True):
            kept = [[] for _ in range(1_000)]
        assert gc.get_freeze_count() >= len(kept)
        assert gc.isenabled()
    finally:
        gc.unfreeze()


@pytest.mark.filterwarnings("ignore:.*use of fork:DeprecationWarning")
def test_a_child_that_is_forked_beside_a_block_of_another_thread_collects():
    begun, end = threading.Event(), threading.Event()

    def hold():
        with collection_held():
            begun.set()
            end.wait(30)

    thread = threading.Thread(target=hold)
    thread.start()
    try:
        assert begun.wait(30)
        assert not gc.isenabled()
        if (child := os.fork()) == 0:
            os._exit(0 if gc.isenabled() else 1)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        assert not gc.isenabled()
    finally:
        end.set()
        thread.join()


@pytest.mark.filterwarnings("ignore:.*use of fork:DeprecationWarning")
def test_a_child_that_is_forked_within_a_block_collects_after_it():
    with collection_held():
        child = os.fork()
        is_held = not gc.isenabled()
    if child == 0:
        os._exit(0 if is_held and gc.isenabled() else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
