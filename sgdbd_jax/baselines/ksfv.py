"""KSFV: variances of a window's gradients after each of a pool of blurs, as features of a linear classifier.

Pang, Zhu, Li, Li, "Classifying Discriminative Features for Blur Detection", IEEE Transactions on Cybernetics 2015.

Grade: C throughout, a reconstruction from the paper's abstract: a feature multiplies the variance of a kernel's own
gradient with that of the window's gradient after that kernel. As the kernels are fixed, the first factor is a constant,
which the classifier's standardisation takes out again but for the floor under the logarithm; here it is left out, so
that the floor is the same for all. Kernels, window, classifier and what is done with its answer are guesses.

Learned from: masks of photos. Supervised.
"""

import functools
import os
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import cv2
import numpy as np
import scipy.signal
import scipy.special

from sgdbd_jax.baselines.labelled import check_labels, draw_centres
from sgdbd_jax.baselines.learned import read_learned
from sgdbd_jax.baselines.maps import checked, grey
from sgdbd_jax.data.blur import disk_kernel
from sgdbd_jax.data.threads import work_ahead
from sgdbd_jax.extra import needed
from sgdbd_jax.training.run import Reporter

TRAINED_WITH = ("sklearn",)
SIDE = 17  # pixels of a window
RADII, LENGTHS = (1, 2, 3, 4, 5), (5, 9, 13)  # of the pool's discs and lines
LEAST_VARIANCE = 1e-8
FEATURES = 44
MEDIAN = 5  # pixels a side, of the last filter

EACH = 100  # windows of a photo to learn from, in focus, and as many out of it
LEAST_WINDOWS = 50


def detect(photo: Any, learned: Mapping[str, Any] | None = None) -> np.ndarray:
    """How probably each pixel is in focus.

    Args:
        photo: `[H, W, 3]` uint8, or as `Detector` takes one.
        learned: as `read` and `train` give it; what is shipped by default.

    Returns:
        `[H, W]` float32 probability of focus; zeros for a photo of one grey.

    Raises:
        ValueError, TypeError, UserError: no photo; or nothing is shipped.
    """
    levels = grey(checked(photo)) / np.float32(255)
    learned = _shipped() if learned is None else learned
    if levels.min() == levels.max():
        return np.zeros(levels.shape, np.float32)
    score = np.full(levels.shape, learned["bias"], np.float64)
    for weight, feature in zip(learned["weights"], features(levels), strict=True):
        score += weight * feature
    return cv2.medianBlur(scipy.special.expit(score).astype(np.float32), MEDIAN)


def read(path: str | os.PathLike | None = None) -> dict[str, Any]:
    """What was learned, from a weight file; `None` for the shipped one.

    Returns:
        `{"weights": [44], "bias": []}`, float32: the log-odds of focus are linear in the features.

    Raises:
        UserError: as `read_learned`.
    """
    return read_learned(path, "ksfv", {"weights": np.zeros(FEATURES), "bias": np.zeros(())})


def train(
    photos: Sequence[np.ndarray], masks: Sequence[np.ndarray], seed: int, *, reporter: Reporter | None = None
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Learns a logistic regression from windows on both sides of the masks; keeps nothing on the way.

    Args:
        photos: `[H, W, 3]` uint8.
        masks: `[H, W]` uint8 each, 255 = in focus.
        seed: of all that is drawn.
        reporter: told of progress.

    Returns:
        The tree and the metadata of a weight file: `save_weights(path, *train(photos, masks, 0))`.

    Raises:
        UserError: there are too few windows on either side of the masks; or scikit-learn is missing.
    """
    linear = needed("sklearn.linear_model", "KSFV's training")
    scaling = needed("sklearn.preprocessing", "KSFV's training")
    reporter = reporter or Reporter()
    reporter.stage("KSFV's features", 0, len(photos))

    def work(place: int) -> tuple[np.ndarray, np.ndarray]:
        rows, columns, in_focus = draw_centres(masks[place], SIDE, EACH, np.random.default_rng([seed, place]))
        if not len(rows):
            return np.zeros((0, FEATURES)), in_focus
        levels = grey(photos[place]) / np.float32(255)
        return np.stack([each[rows, columns] for each in features(levels)], axis=-1), in_focus

    examples, labels = [np.zeros((0, FEATURES))], [np.zeros(0, bool)]
    for found, in_focus in work_ahead(work, range(len(photos))):
        examples.append(found)
        labels.append(in_focus)
        reporter.step(None)
    all_labels, used = np.concatenate(labels), sum(map(any, labels))
    check_labels(all_labels, len(photos), detector="KSFV", least=LEAST_WINDOWS)
    scaler = scaling.StandardScaler()
    model = linear.LogisticRegression(max_iter=1000).fit(scaler.fit_transform(np.concatenate(examples)), all_labels)
    weights = model.coef_[0] / scaler.scale_
    bias = model.intercept_[0] - weights @ scaler.mean_
    metadata = {"kind": "ksfv", "seed": seed, "windows": len(all_labels), "photos": used}
    return {"weights": np.float32(weights), "bias": np.float32(bias)}, metadata


def features(levels: np.ndarray) -> Iterator[np.ndarray]:
    """Logarithms of the variance, in the window around each pixel, of gradients after each kernel of the pool.

    Args:
        levels: `[H, W]` float32 in [0, 1].

    Yields:
        44 times `[H, W]` float64: for each kernel, the gradient across and the gradient down.
    """
    padded = np.pad(levels, 1, mode="edge")
    gradients = (padded[1:-1, 2:] - padded[1:-1, :-2]) / 2, (padded[2:, 1:-1] - padded[:-2, 1:-1]) / 2
    for kernel in pool():
        for gradient in gradients:
            blurred = cv2.filter2D(gradient, cv2.CV_32F, kernel, borderType=cv2.BORDER_REPLICATE)
            mean, square = (
                box(blurred, cv2.CV_64F, (SIDE, SIDE), borderType=cv2.BORDER_REPLICATE)
                for box in (cv2.boxFilter, cv2.sqrBoxFilter)
            )
            yield np.log(LEAST_VARIANCE + np.maximum(square - mean**2, 0))


@functools.cache
def pool() -> tuple[np.ndarray, ...]:
    """22 kernels of sum 1: none, discs, lines in four directions, and a disc along each line of length 9."""
    discs = {radius: disk_kernel(radius) for radius in RADII}
    lines = {length: _lines(length) for length in LENGTHS}
    both = [scipy.signal.convolve2d(discs[2], line) for line in lines[9]]
    return (np.ones((1, 1)), *discs.values(), *(line for length in LENGTHS for line in lines[length]), *both)


def _lines(length: int) -> list[np.ndarray]:
    """So many pixels in a line: across, rising, down, falling."""
    falling = np.eye(length) / length
    across = np.full((1, length), 1 / length)
    return [across, falling[::-1], across.T, falling]


@functools.cache
def _shipped() -> dict[str, Any]:
    return read()
