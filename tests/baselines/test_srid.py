"""SRID: what takes many atoms, which maps come of it, what it refuses, and its training."""

import cv2
import numpy as np
import pytest
import scipy.ndimage
from formulas import domain_transform
from sharp_photos import blurred, left_blurred, sharp_photo

from sgdbd_jax.baselines import pursuit, srid
from sgdbd_jax.baselines.joint_filters import joint_bilateral
from sgdbd_jax.errors import UserError
from sgdbd_jax.training.run import Reporter
from sgdbd_jax.weights import save_weights


@pytest.fixture(autouse=True)
def small_passes(monkeypatch):
    """Of few signals, for the photos are small."""
    monkeypatch.setattr(pursuit, "AT_ONCE", 64)


@pytest.fixture(scope="module")
def learned():
    """A dictionary of the cosines of 8x8 pixels, slowest first, and as many of their sums."""
    rng = np.random.default_rng(0)
    waves = np.cos(np.pi * (np.arange(8)[:, None] + 0.5) * np.arange(8) / 8)
    cosines = np.einsum("iu,jv->ijuv", waves, waves).reshape(64, 64)[:, 1:]
    order = np.argsort(np.hypot(*np.mgrid[:8, :8]).ravel()[1:], kind="stable")
    mixed = cosines[:, order[:20]] @ rng.normal(size=(20, 65))
    dictionary = np.hstack([cosines, mixed])
    return {"dictionary": (dictionary / np.linalg.norm(dictionary, axis=0)).astype(np.float32)}


def test_a_block_that_is_one_atom_takes_one(learned):
    dictionary = learned["dictionary"]
    for atom in (0, 17, 100):
        block = 128 + 100 * dictionary[:, atom].reshape(8, 8)
        assert srid.count_atoms(block.astype(np.float32), dictionary) == [[1]]


def test_a_flat_block_takes_none_at_any_level(learned):
    levels = np.repeat(np.float32([0, 90, 255]), 8)[None].repeat(8, 0)
    assert (srid.count_atoms(levels, learned["dictionary"])[0, [0, 8, 16]] == 0).all()


def test_weak_texture_takes_none(learned):
    """Its length is 8 times its amplitude, and the tolerance 18.4."""
    checker = np.indices((8, 8)).sum(0) % 2 * 2 - 1
    assert srid.count_atoms((100 + 2.2 * checker).astype(np.float32), learned["dictionary"]) == 0
    assert srid.count_atoms((100 + 2.4 * checker).astype(np.float32), learned["dictionary"]) > 0


def test_a_sharp_checker_takes_more_than_its_blurred_copy(learned):
    checker = (np.indices((20, 20)) // 3).sum(0) % 2 * 200 + 20
    sharp = checker.astype(np.uint8)
    counts, fewer = (
        srid.count_atoms(levels.astype(np.float32), learned["dictionary"]) for levels in (sharp, blurred(sharp, 1.5))
    )
    assert counts.mean() > 2 * fewer.mean() > 0


def test_a_photo_of_several_passes_is_counted_as_its_parts_are(learned, monkeypatch):
    levels = sharp_photo(side=18)[..., 0].astype(np.float32)
    whole = srid.count_atoms(levels, learned["dictionary"])
    monkeypatch.setattr(srid, "BLOCKS_AT_ONCE", 100)
    np.testing.assert_array_equal(srid.count_atoms(levels, learned["dictionary"]), whole)


def test_what_is_sharp_is_bright(learned):
    photo = left_blurred(sharp_photo(side=48)[:40])
    found = srid.detect(photo, learned)
    assert found[:, :20].mean() < found[:, -20:].mean() - 0.2
    assert found.shape == (40, 48) and found.dtype == np.float32
    assert found.min() == 0 and found.max() == 1
    np.testing.assert_array_equal(srid.detect(photo, learned), found)


@pytest.mark.parametrize("shape", ((1, 1), (7, 20), (8, 8), (12, 9)))
def test_a_photo_that_is_smaller_than_a_window_has_a_map(learned, shape):
    found = srid.detect(sharp_photo()[: shape[0], : shape[1]], learned)
    assert found.shape == shape and np.isfinite(found).all() and 0 <= found.min() <= found.max() <= 1


def test_counts_are_spread_from_sharp_edges_as_the_program_does(monkeypatch, learned):
    """Of counts that are known: those above 3, eroded, are spread by two filters with the photo as guide."""
    photo = sharp_photo(side=40)[:30]
    rng = np.random.default_rng(0)
    counts = np.where(rng.random((23, 33)) < 0.97, 9, 2).astype(np.float32) + rng.integers(0, 3, (23, 33))
    counts[:, :9] = 1
    monkeypatch.setattr(srid, "count_atoms", lambda levels, dictionary: counts)
    known = scipy.ndimage.binary_erosion(counts > 3, np.hypot(*np.mgrid[-2:3, -2:3]) <= 2, border_value=1)
    assert 0 < known.sum() < known.size
    inner = (photo @ (0.299, 0.587, 0.114) / 255)[3:-4, 3:-4]
    guide = cv2.GaussianBlur(inner, (5, 5), 1, borderType=cv2.BORDER_CONSTANT)
    above, below = (domain_transform(x, guide, 15, 0.15) for x in (counts * known, known.astype(float)))
    spread = np.where(below < 1e-6, 0, above / np.maximum(below, 1e-6))
    smooth = joint_bilateral(spread, guide, radius=8, spatial=5, range_=0.1)  # which has tests of its own
    expected = np.pad((smooth - smooth.min()) / np.ptp(smooth), (3, 4), mode="edge")
    np.testing.assert_allclose(srid.detect(photo, learned), expected, atol=1e-3)


def test_a_constant_photo_gives_zeros(learned):
    np.testing.assert_array_equal(srid.detect(np.full((24, 20, 3), 77, np.uint8), learned), np.zeros((24, 20)))


def test_what_is_no_photo_is_refused(learned):
    with pytest.raises(ValueError, match=r"a photo must be uint8 \[H, W, 3\], here float64 \(8, 8, 3\); of values in"):
        srid.detect(np.zeros((8, 8, 3)), learned)
    with pytest.raises(ValueError, match="it has no pixels"):
        srid.detect(np.zeros((0, 8, 3), np.uint8), learned)


@pytest.fixture
def quick(monkeypatch):
    monkeypatch.setattr(srid, "PATCHES", 600)
    monkeypatch.setattr(srid, "ROUNDS", 2)


def test_a_dictionary_is_learned_written_and_read(quick, tmp_path):
    told = []

    class Listening(Reporter):
        def stage(self, name, done, steps):
            told.append((name, done, steps))

        def step(self, metrics):
            told.append(sorted(metrics))

    photos = [sharp_photo(seed, cell=12) for seed in (1, 2)]
    tree, metadata = srid.train(photos, 5, reporter=Listening())
    assert told == [("SRID's dictionary", 0, 2), ["atoms"], ["atoms"]]
    dictionary = tree["dictionary"]
    assert dictionary.shape == (64, 128) and dictionary.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(dictionary, axis=0), 1, atol=1e-5)
    np.testing.assert_allclose(dictionary.sum(0), 0, atol=1e-4)
    assert metadata["kind"] == "srid" and metadata["seed"] == 5 and metadata["patches"] == 600
    read = srid.read(save_weights(tmp_path / "a.safetensors", tree, metadata))
    np.testing.assert_array_equal(read["dictionary"], dictionary)


def test_the_seed_decides_what_is_learned(quick):
    photos = [sharp_photo(cell=12)]
    first, again, other = (srid.train(photos, seed)[0]["dictionary"] for seed in (0, 0, 1))
    np.testing.assert_array_equal(first, again)
    assert np.abs(first - other).max() > 0.01


@pytest.mark.parametrize("photos", ([], [np.full((90, 90, 3), 9, np.uint8)], [sharp_photo(side=7)]))
def test_photos_without_texture_teach_nothing(photos):
    with pytest.raises(UserError, match=rf"these {len(photos)} photos have 0 that are not flat; give it more photos"):
        srid.train(photos, 0)


def test_another_file_s_arrays_are_refused(tmp_path):
    path = save_weights(tmp_path / "a.safetensors", {"dictionary": np.zeros((64, 64))}, {"kind": "srid"})
    with pytest.raises(UserError, match=r"a\.safetensors: weights of another architecture \(of another shape: dict"):
        srid.read(path)
    path = save_weights(tmp_path / "a.safetensors", {"dictionary": np.zeros((64, 128))}, {"kind": "dhcf"})
    with pytest.raises(UserError, match=r"a\.safetensors: holds weights of kind 'dhcf', 'srid' was asked for"):
        srid.read(path)
