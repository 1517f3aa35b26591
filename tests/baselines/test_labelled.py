"""Which windows are drawn: of one side of a mask each, inside the photo, as many of both."""

import numpy as np
import pytest

from sgdbd_jax.baselines.labelled import check_labels, draw_centres
from sgdbd_jax.errors import UserError


def test_windows_lie_on_one_side_and_in_the_photo():
    mask = np.zeros((40, 60), np.uint8)
    mask[:, 30:] = 255
    mask[:, 29:32] = 128  # neither
    rows, columns, in_focus = draw_centres(mask, 9, 5000, np.random.default_rng(0))
    assert {*zip(rows, columns)} <= {
        (row, column) for row in range(4, 36) for column in (*range(4, 25), *range(36, 56))
    }
    assert {*columns[in_focus]} == set(range(36, 56)) and {*columns[~in_focus]} <= set(range(4, 25))
    assert in_focus.sum() == (~in_focus).sum() == 32 * 20  # the smaller side has no more


def test_no_more_are_drawn_than_asked_for_and_the_seed_decides_which():
    mask = np.repeat(np.uint8([0, 255]), 30)[None].repeat(30, 0)
    first, again, other = (draw_centres(mask, 5, 7, np.random.default_rng(seed)) for seed in (1, 1, 2))
    assert len(first[0]) == 14
    np.testing.assert_array_equal(first, again)
    assert (np.array(first) != np.array(other)).any()


@pytest.mark.parametrize("level", (0, 128, 255))
def test_a_mask_of_one_side_has_none(level):
    rows, columns, in_focus = draw_centres(np.full((30, 30), level, np.uint8), 5, 7, np.random.default_rng(0))
    assert len(rows) == len(columns) == len(in_focus) == 0


def test_too_few_are_refused():
    check_labels([True] * 10, 3, detector="X", least=5)
    with pytest.raises(UserError, match=r"X learns from 5 windows .* the masks of these 3 photos have 4 of both"):
        check_labels([True] * 8, 3, detector="X", least=5)
