"""The collector is off inside measured windows, and what survives between them is set aside without leaking."""

from __future__ import annotations

import gc
import weakref

import pytest

from weeyuga_core.measure.quiet import collector_off, settle


@pytest.fixture(autouse=True)
def _thawed():
    assert gc.isenabled()
    yield
    gc.unfreeze()
    gc.enable()


class Node:
    """Something that can be garbage in a cycle."""


def cycle() -> weakref.ref[Node]:
    one, other = Node(), Node()
    one.peer, other.peer = other, one
    return weakref.ref(one)


def test_windows_may_overlap_and_the_last_one_to_close_turns_it_on_again():
    first, second = collector_off(), collector_off()
    first.__enter__()
    assert not gc.isenabled()
    second.__enter__()
    first.__exit__(None, None, None)
    assert not gc.isenabled()
    second.__exit__(None, None, None)
    assert gc.isenabled()


def test_collector_that_was_off_stays_off():
    gc.disable()
    with collector_off():
        pass
    assert not gc.isenabled()


def test_an_exception_turns_it_on_again():
    with pytest.raises(KeyError), collector_off():
        raise KeyError
    assert gc.isenabled()


def test_settling_collects_and_sets_aside():
    lost = cycle()
    settle()
    assert lost() is None
    assert gc.get_freeze_count() > 0


def test_what_becomes_garbage_after_settling_is_collected_by_the_next():
    kept = Node()
    kept.peer = kept
    watched = weakref.ref(kept)
    settle()
    del kept
    gc.collect()
    assert watched() is not None, "a frozen cycle is out of the collector's sight"
    settle()
    assert watched() is None
