"""Work is done ahead, in order, within bounds; and it ends when its results are no longer wanted."""

import itertools
import threading

import pytest

from sgdbd_jax.data.threads import read_all, work_ahead
from sgdbd_jax.errors import UserError


def test_results_come_in_the_order_of_the_items():
    gates = [threading.Event() for _ in range(3)]

    def work(at):  # the last is done first
        if at < 2:
            assert gates[at + 1].wait(10)
        gates[at].set()
        return 10 * at

    assert list(work_ahead(work, range(3), workers=3)) == [0, 10, 20]
    assert list(work_ahead(work, [])) == []


@pytest.mark.parametrize("ahead", [0, 1, 5])
def test_no_item_is_taken_before_its_time(ahead):
    """So the memory is bounded, whatever the number of items: here without end."""
    taken = []
    items = (taken.append(at) or at for at in itertools.count())
    results = work_ahead(lambda at: at, items, workers=2, ahead=ahead)
    for at in range(4):
        assert next(results) == at
        assert taken == list(range(at + ahead + 1))
    results.close()


def test_by_default_every_thread_has_work():
    barrier = threading.Barrier(4)
    results = work_ahead(lambda at: barrier.wait(10), range(4), workers=4)
    assert sorted(results) == [0, 1, 2, 3]


def test_what_goes_wrong_is_raised_at_its_item_and_ends_the_threads():
    before = threading.active_count()
    results = work_ahead(lambda at: 1 // (2 - at), range(100), workers=2)
    assert [next(results), next(results)] == [0, 1]
    with pytest.raises(ZeroDivisionError):
        next(results)
    assert threading.active_count() == before


def test_what_cannot_be_read_stands_in_its_own_place():
    def read(item):
        if item == 1:
            raise UserError("item 1 is damaged")
        return 10 * item

    counts = []
    first, refusal, last = read_all(read, [0, 1, 2], progress=lambda *count: counts.append(count))
    assert (first, last) == (0, 20) and isinstance(refusal, UserError)
    assert counts == [(1, 3), (2, 3), (3, 3)]


def test_a_caller_that_stops_early_does_not_wait_for_the_rest():
    started = []

    def read(item):
        started.append(item)
        if item:
            gate.wait(0.01)

    gate = threading.Event()
    results = work_ahead(read, range(1000), workers=2)
    next(results)
    results.close()
    assert len(started) < 500
