"""Work ahead of whoever wants it: in order, bounded, and ended when it is given up."""

import itertools
import threading

import pytest

from sgdbd_jax.data.threads import work_ahead


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
