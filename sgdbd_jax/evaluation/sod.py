"""Scores of masks against ground truths: protocol `sod`, the measures of salient object detection.

Masks are stretched to the range [0, 1] before anything is measured; a ground truth above 0.5 is in focus. The measures
themselves take what they need as arguments and can be used alone.
"""

import numpy as np
from scipy import ndimage

from sgdbd_jax.evaluation.protocols import (
    Floats,
    ImageScores,
    Protocol,
    adaptive_threshold,
    checked,
    f_measure,
    precision_recall,
    precision_recall_curves,
    threshold_counts,
)

EPSILON = np.finfo(np.float64).eps


def sod_measures(mask: Floats, truth: Floats) -> ImageScores:
    """Protocol `sod` on one image.

    >>> mask, truth = np.array([[1.0, 0.6, 0.4, 0.0]]), np.array([[1.0, 1.0, 0.0, 0.0]])
    >>> values = sod_measures(mask, truth).values  # threshold 2 * 0.5: one pixel is chosen, one of the two true ones
    >>> {name: round(values[name], 4) for name in ("f_measure", "mae", "precision", "recall")}
    {'f_measure': 0.8125, 'mae': 0.2, 'precision': 1.0, 'recall': 0.5}

    Args:
        mask: `[H, W]` float in [0, 1], 1 = in focus.
        truth: `[H, W]` float in [0, 1], same shape.

    Returns:
        `f_measure`, `precision` and `recall` at the adaptive threshold, `mae`, `mean_f` and `e_measure` (means over
        256 thresholds), `e_measure_adaptive`, `s_measure`, `weighted_f`; curves of precision, recall, F-measure and
        E-measure, whose maxima are max-F and max-E.

    Raises:
        ValueError: shapes that differ, or values that are not floats in [0, 1].
    """
    mask, truth = checked(mask, truth, level=0.5)
    mask = stretch(mask)
    chosen = mask >= adaptive_threshold(mask, 2.0)
    precision, recall = precision_recall(chosen, truth)
    inside, outside = threshold_counts(mask, truth)
    positives = int(truth.sum())
    curves = precision_recall_curves(inside, outside)
    curves["e_measure"] = e_measure(inside, outside, positives=positives, size=truth.size)
    hits, strays = int((chosen & truth).sum()), int((chosen & ~truth).sum())
    values = {
        "f_measure": float(f_measure(precision, recall)),
        "mae": float(np.abs(mask - truth).mean()),
        "precision": precision,
        "recall": recall,
        "mean_f": float(curves["f_measure"].mean()),
        "s_measure": s_measure(mask, truth),
        "e_measure": float(curves["e_measure"].mean()),
        "e_measure_adaptive": float(e_measure(hits, strays, positives=positives, size=truth.size)),
        "weighted_f": weighted_f(mask, truth),
    }
    return ImageScores(values, curves)


SOD = Protocol(name="sod", size=None, measure=sod_measures, maxima={"max_f": "f_measure", "e_measure_max": "e_measure"})


def sod_curves(mask: Floats, truth: Floats) -> ImageScores:
    """The curves that max-F is read off, in a small part of the time that all of `sod_measures` takes.

    Args, Raises: as `sod_measures`.

    Returns:
        No values; curves of precision, recall and F-measure.
    """
    mask, truth = checked(mask, truth, level=0.5)
    return ImageScores({}, precision_recall_curves(*threshold_counts(stretch(mask), truth)))


MAX_F = Protocol(name="sod", size=None, measure=sod_curves, maxima={"max_f": "f_measure"})


def stretch(mask: Floats) -> Floats:
    """Maps the smallest value to 0 and the largest to 1, as float64; a constant mask stays as it is.

    >>> stretch(np.array([[0.25, 0.5, 0.75]])).tolist()
    [[0.0, 0.5, 1.0]]

    Args:
        mask: `[H, W]` float in [0, 1].
    """
    mask = mask.astype(np.float64)
    low, high = mask.min(), mask.max()
    return (mask - low) / (high - low) if high > low else mask


def e_measure(inside: np.ndarray | int, outside: np.ndarray | int, *, positives: int, size: int) -> Floats:
    """Enhanced-alignment measure of binary masks, from their pixel counts.

    >>> perfect, empty = (float(e_measure(hits, 0, positives=2, size=5)) for hits in (2, 0))
    >>> round(perfect, 4)  # 5 pixels that score 1 each, divided by 5 - 1
    1.25
    >>> round(empty, 4)  # 5 pixels that score 1/4 each
    0.3125

    A binary mask and a binary truth make four kinds of pixel. All pixels of a kind score alike, so their counts are
    enough. The sum is divided by `size - 1`, so a perfect mask scores a little over 1.

    Args:
        inside: pixels chosen by the mask inside the truth, an integer or an array of them.
        outside: pixels chosen outside the truth, same shape.
        positives: pixels of the truth.
        size: pixels of the image.

    Returns:
        float64 of the shape of `inside`, in [0, size / (size - 1)].

    Source: Fan et al., "Enhanced-alignment Measure for Binary Foreground Map Evaluation", IJCAI 2018, Eq. 1 to 5.
    """
    inside, outside = np.asarray(inside), np.asarray(outside)
    negatives = size - positives
    if positives == 0:  # nothing to align with: the share of pixels rightly left out
        total = (negatives - outside).astype(np.float64)
    elif negatives == 0:
        total = inside.astype(np.float64)
    else:
        mean, truth_mean = (inside + outside) / size, positives / size
        total = np.zeros(inside.shape)
        for count, chosen, true in (
            (inside, 1, 1),
            (outside, 1, 0),
            (positives - inside, 0, 1),
            (negatives - outside, 0, 0),
        ):
            bias, truth_bias = chosen - mean, true - truth_mean
            alignment = 2 * bias * truth_bias / (bias**2 + truth_bias**2 + EPSILON)
            total += count * (alignment + 1) ** 2 / 4
    return total / max(size - 1, 1)


def s_measure(mask: Floats, truth: np.ndarray) -> float:
    """Structure measure: half likeness of objects, half likeness of regions.

    >>> truth = np.array([[True, True, False, False]])
    >>> round(s_measure(truth.astype(float), truth), 4), s_measure(1.0 - truth, truth)  # perfect; inverted
    (1.0, 0.0)
    >>> s_measure(np.full((2, 2), 0.25), np.ones((2, 2), bool))  # all is true: how full the mask is
    0.25

    Args:
        mask: `[H, W]` float64 in [0, 1].
        truth: `[H, W]` bool.

    Returns:
        A number in [0, 1]; without any or with only true pixels, how empty or how full the mask is.

    Source: Fan et al., "Structure-measure: A New Way to Evaluate Foreground Maps", ICCV 2017, Eq. 1 to 9.
    """
    share = truth.mean()
    if share in (0, 1):
        return float(mask.mean() if share == 1 else 1 - mask.mean())
    objects = share * _object_likeness(mask[truth]) + (1 - share) * _object_likeness(1 - mask[~truth])
    return max(0.0, float(0.5 * objects + 0.5 * _region_likeness(mask, truth.astype(np.float64))))


def weighted_f(mask: Floats, truth: np.ndarray) -> float:
    """Weighted F-measure: errors near the truth or beside other errors count for less (beta = 1).

    >>> truth = np.zeros((9, 9), bool)
    >>> truth[4, 4] = True
    >>> [round(weighted_f(level * truth, truth), 4) for level in (1.0, 0.5, 0.0)]  # 0.5: precision 1, recall 1/2
    [1.0, 0.6667, 0.0]

    Args:
        mask: `[H, W]` float64 in [0, 1].
        truth: `[H, W]` bool.

    Returns:
        A number in [0, 1]; 0 for an empty truth.

    Source: Margolin et al., "How to Evaluate Foreground Maps?", CVPR 2014, Eq. 8 to 14.
    """
    if not truth.any():
        return 0.0
    distance, nearest = ndimage.distance_transform_edt(~truth, return_indices=True)
    error = np.abs(mask - truth)
    # Outside the truth an error stands in for that of the nearest true pixel, so that blurring does not leak across.
    blurred = ndimage.convolve(error[tuple(nearest)], _gaussian(side=7, sigma=5.0), mode="constant")
    dependent = np.where(truth, np.minimum(error, blurred), error)
    weighted = dependent * np.where(truth, 1.0, 2.0 - np.exp(np.log(0.5) / 5 * distance))

    recall = 1 - weighted[truth].mean()
    hits = truth.sum() - weighted[truth].sum()
    precision = hits / (hits + weighted[~truth].sum() + EPSILON)
    return float(2 * precision * recall / (precision + recall + EPSILON))


def _object_likeness(values: Floats) -> float:
    """`2 mean / (mean^2 + 1 + deviation)` of what should be ones; ICCV 2017, Eq. 5."""
    deviation = values.std(ddof=1) if values.size > 1 else 0.0
    return 2 * values.mean() / (values.mean() ** 2 + 1 + deviation + EPSILON)


def _region_likeness(mask: Floats, truth: Floats) -> float:
    """Structural similarity of the four blocks around the truth's centre, weighted by area; ICCV 2017, Eq. 2."""
    # One past the rounded centre: the pixel of the centre belongs to the upper left block.
    row, column = (int(centre) + 1 for centre in np.argwhere(truth).mean(axis=0).round())
    blocks = [(rows, columns) for rows in np.s_[:row, row:] for columns in np.s_[:column, column:]]
    return sum(
        _structural_similarity(mask[block], truth[block]) * truth[block].size / truth.size
        for block in blocks
        if truth[block].size
    )


def _structural_similarity(a: Floats, b: Floats) -> float:
    """SSIM of two blocks as a whole, without the stabilising constants; 1 where both are constant and dark."""
    count = max(a.size - 1, 1)
    mean_a, mean_b = a.mean(), b.mean()
    variances = (((a - mean_a) ** 2).sum() + ((b - mean_b) ** 2).sum()) / count
    covariance = ((a - mean_a) * (b - mean_b)).sum() / count
    above = 4 * mean_a * mean_b * covariance
    below = (mean_a**2 + mean_b**2) * variances
    if above != 0:
        return above / (below + EPSILON)
    return 1.0 if below == 0 else 0.0


def _gaussian(*, side: int, sigma: float) -> Floats:
    """`[side, side]` Gaussian that sums to 1."""
    offsets = np.arange(side) - (side - 1) / 2
    kernel = np.exp(-(offsets[:, None] ** 2 + offsets**2) / (2 * sigma**2))
    return kernel / kernel.sum()
