"""Masks by tiles, and carried from a small photo to a large one: seams, edges, memory."""

import tracemalloc

import numpy as np
import pytest
from PIL import Image

from sgdbd_jax.detection import tiling
from sgdbd_jax.detection.refine import guided_filter
from sgdbd_jax.detection.tiling import MARGIN, OVERLAP, RAMP, by_tiles, carry

TILE = 640  # pixels a side
RED, BLUE = (200, 60, 40), (40, 80, 190)


def first_channel(photo: np.ndarray) -> np.ndarray:
    return photo[..., 0].astype(np.float32) / 255


def noise(height: int, width: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (height, width, 3), np.uint8)


def level(height: int, width: int) -> np.ndarray:
    """A random mask."""
    return np.random.default_rng(1).random((height, width), np.float32)


def small(photo: np.ndarray, height: int, width: int) -> np.ndarray:
    return np.asarray(Image.fromarray(photo).resize((width, height), Image.Resampling.BILINEAR))


def two_colours(height: int, width: int, edge: int) -> np.ndarray:
    """Blue, and red from column `edge` on."""
    return np.where(np.arange(width)[:, None] >= edge, RED, BLUE).astype(np.uint8)[None].repeat(height, 0)


@pytest.mark.parametrize("shape", [(1, 1), (640, 640), (641, 30), (1025, 1300)])
def test_what_has_no_neighbours_to_miss_is_the_same_by_tiles(shape):
    photo = noise(*shape)
    sizes = []

    def detect(tile: np.ndarray) -> np.ndarray:
        sizes.append(tile.shape[:2])
        return first_channel(tile)

    np.testing.assert_allclose(by_tiles(detect, photo, TILE), first_channel(photo), atol=1e-6)
    assert all(max(size) <= TILE for size in sizes)
    assert len(sizes) == 1 or max(shape) > TILE


def test_what_goes_wrong_near_a_tile_s_border_is_not_seen():
    """But at the photo's own border, where the whole photo would go wrong too."""

    def detect(tile: np.ndarray) -> np.ndarray:
        mask = np.zeros(tile.shape[:2], np.float32)
        mask[MARGIN:-MARGIN, MARGIN:-MARGIN] = 1
        return mask

    photo = np.zeros((1000, 1400, 3), np.uint8)
    np.testing.assert_array_equal(by_tiles(detect, photo, TILE), detect(photo))


def test_a_tile_fades_into_the_next():
    levels = iter((0.0, 1.0))
    mask = by_tiles(
        lambda tile: np.full(tile.shape[:2], next(levels), np.float32), np.zeros((9, 1000, 3), np.uint8), TILE
    )
    begin = TILE - OVERLAP + MARGIN
    assert (mask[:, :begin] == 0).all() and (mask[:, begin + RAMP :] == 1).all()
    np.testing.assert_allclose(mask[4, begin : begin + RAMP], (np.arange(RAMP) + 0.5) / RAMP, atol=1e-6)


def test_carried_to_its_own_size_a_mask_is_filtered():
    photo, mask = noise(20, 30), level(20, 30)
    expected = guided_filter(mask, photo, radius=tiling.RADIUS, epsilon=tiling.EPSILON)
    np.testing.assert_allclose(carry(mask, photo, photo), expected, atol=1e-5)


@pytest.mark.parametrize("shape", [(1, 1), (3, 700), (301, 203)])
def test_a_constant_mask_stays(shape):
    photo = noise(*shape)
    carried = carry(np.full((10, 13), 0.3, np.float32), small(photo, 10, 13), photo)
    assert carried.dtype == np.float32
    np.testing.assert_allclose(carried, np.full(shape, 0.3), atol=1e-5)


def test_a_mask_that_is_linear_in_the_colours_stays_so():
    photo = small(noise(8, 9), 120, 160)
    shown = small(photo, 30, 40)
    linear = np.array([0.5, 0.2, -0.3]) / 255
    np.testing.assert_allclose(carry(shown @ linear + 0.3, shown, photo), photo @ linear + 0.3, atol=0.02)


def test_an_edge_is_as_sharp_as_the_large_photo_s():
    """It falls between two pixels of the small photo, each of which is ten of the large."""
    photo = two_colours(200, 400, edge=204)
    shown = small(photo, 20, 40)
    mask = (shown[..., 0] > 120).astype(np.float32)
    before, after = carry(mask, shown, photo)[100, 203:205]
    assert after - before > 0.7


def test_stripes_leave_no_trace(monkeypatch):
    photo = noise(203, 90)
    shown, mask = small(photo, 41, 18), level(41, 18)
    whole = carry(mask, shown, photo)
    for rows in 1, 7, 50:
        monkeypatch.setattr(tiling, "STRIPE", rows * 90)
        np.testing.assert_allclose(carry(mask, shown, photo), whole, atol=1e-5)


def test_memory_grows_by_the_mask_alone(monkeypatch):
    monkeypatch.setattr(tiling, "STRIPE", 2**16)
    mask, shown = np.zeros((64, 64), np.float32), np.zeros((64, 64, 3), np.uint8)

    def beside_the_mask(work, height: int, width: int) -> int:
        photo = np.zeros((height, width, 3), np.uint8)
        tracemalloc.start()
        try:
            made = work(photo)
            return tracemalloc.get_traced_memory()[1] - made.nbytes
        finally:
            tracemalloc.stop()

    for work in (lambda photo: by_tiles(first_channel, photo, TILE)), (lambda photo: carry(mask, shown, photo)):
        beside_the_mask(work, 640, 640)  # what is imported in the first call
        large, larger = beside_the_mask(work, 1200, 1000), beside_the_mask(work, 4800, 2000)
        assert larger < 1.1 * large < 12e6
