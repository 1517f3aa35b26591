"""A weight file's scores, of a detector whose mask is the photo's own brightness."""

import types

import numpy as np
import pytest

from sgdbd_jax.data.sources import PhotoSet
from sgdbd_jax.detection.detector import Detector
from sgdbd_jax.evaluation.weight_scores import MEASURES, REFINEMENTS, SIZES, score_weights

SIDE = 32


@pytest.fixture
def photos():
    """Grey levels 51, 102 and 204, a quarter, half and all in focus: predicted shares are 0.8 times the true ones."""
    levels, columns = (51, 102, 204), (8, 16, 32)
    truths = [np.zeros((SIDE, SIDE), np.uint8) for _ in levels]
    for truth, column in zip(truths, columns):
        truth[:, :column] = 255
    return PhotoSet(("a", "b", "c"), [np.full((SIDE, SIDE, 3), level, np.uint8) for level in levels], truths)


@pytest.fixture
def sizes_seen(monkeypatch):
    """The shapes of the photos that detectors saw, by working size."""
    shapes = {}

    def load(weights, *, work_size=None, refine=True):
        if refine:
            return types.SimpleNamespace(refinement=None)

        def detect(photo):
            shapes.setdefault(work_size, set()).add(photo.shape)
            return photo[..., 0].astype(np.float32) / 255

        return detect

    monkeypatch.setattr(Detector, "load", load)
    return shapes


def test_every_size_and_refinement_has_every_measure(photos, sizes_seen, tmp_path):
    done = []
    scores = score_weights(tmp_path, photos, progress=lambda *counts: done.append(counts))
    assert list(scores) == [(size, how) for size in SIZES for how in REFINEMENTS]
    assert all(values.keys() == MEASURES for values in scores.values())
    assert sizes_seen == {"max:1024": {(SIDE, SIDE, 3)}, 320: {(320, 320, 3)}}
    assert done == [(1, 3), (2, 3), (3, 3)]


def test_the_networks_mask_scores_as_computed_by_hand(photos, sizes_seen, tmp_path):
    """MAE of level p where a share s is true: s (1 - p) + (1 - s) p; the edges of the enlarged truths add a little."""
    values = score_weights(tmp_path, photos)["320", "none"]
    pairs = ((0.2, 0.25), (0.4, 0.5), (0.8, 1.0))
    assert values["mae"] == pytest.approx(np.mean([s * (1 - p) + (1 - s) * p for p, s in pairs]), abs=0.01)
    assert values["correlation"] == pytest.approx(1)


def test_a_share_that_does_not_vary_has_no_correlation(photos, sizes_seen, tmp_path):
    same = PhotoSet(("a", "b"), [photos.images[0]] * 2, [photos.masks[0], photos.masks[1]])
    assert score_weights(tmp_path, same)["own", "none"]["correlation"] is None


def test_photos_without_masks_cannot_be_scored(photos, sizes_seen, tmp_path):
    with pytest.raises(ValueError, match="without masks"):
        score_weights(tmp_path, PhotoSet(photos.names, photos.images))
