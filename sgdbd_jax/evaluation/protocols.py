"""How one mask is scored against its ground truth: protocol `paper`, and what every protocol shares.

A protocol first brings both to one size (`Protocol.prepare`), then measures. `scoring.py` averages over a set. The
salient-object protocol, `sod`, is in `sod.py`. What is measured are `[H, W]` floats in [0, 1], 1 = in focus.
"""

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from sgdbd_jax.data.resizing import resize_mask, resize_photo

BETA_SQUARED = 0.3  # weighs precision over recall, as the paper and the salient-object literature do
THRESHOLDS = 256  # thresholds 0/255, 1/255, ..., 255/255 of every curve

Floats = np.ndarray


@dataclass(frozen=True)
class ImageScores:
    """What a protocol says of one image.

    Attributes:
        values: the measures that are averaged over images, by name.
        curves: `[256]` float64 each, by name: a measure at thresholds 0/255 to 255/255.
    """

    values: dict[str, float]
    curves: dict[str, Floats]


@dataclass(frozen=True)
class Protocol:
    """A way to score: how images come in, what is measured, and what is read off the averaged curves.

    Attributes:
        name: printed beside every number.
        size: side of the square that masks and ground truths are resized to before; `None`: the ground truth's size.
        measure: takes a mask and a ground truth.
        maxima: name of a result -> name of the curve whose maximum it is. The maximum is that of the curve averaged
            over images: one threshold for the whole set.
    """

    name: str
    size: int | None
    measure: Callable[[Floats, Floats], ImageScores]
    maxima: dict[str, str] = field(default_factory=dict)

    def size_of(self, image: np.ndarray) -> tuple[int, int]:
        """Height and width at which a photo or its ground truth, `[H, W, ...]`, is scored."""
        return (self.size, self.size) if self.size else image.shape[:2]

    def prepare(self, mask: np.ndarray, truth: np.ndarray) -> tuple[Floats, Floats]:
        """Brings a mask and its ground truth to what `measure` takes.

        >>> mask, truth = PAPER.prepare(np.full((10, 20), 0.999), np.zeros((10, 20), np.uint8))
        >>> mask.shape, truth.shape
        ((320, 320), (320, 320))
        >>> float(mask[0, 0])  # the nearest of 0/255 to 255/255
        1.0

        Both are resized bilinearly to `size_of(truth)`. A mask from a network is then rounded to the 256 levels of an
        8-bit file, because the published tables were scored on such files. This matters: where a mask covers two thirds
        of a photo, protocol `paper` counts only pixels at exactly 1. A mask that was read from a file has been rounded
        before, and is not rounded again after it was resized.

        Args:
            mask: `[h, w]` float in [0, 1] from a network, or `[h, w]` uint8 from a file; 1 or 255 = in focus.
            truth: `[H, W]` uint8, 255 = in focus.

        Returns:
            The mask and the ground truth, each `[height, width]` float32 in [0, 1], of one shape.
        """
        size, from_file = self.size_of(truth), mask.dtype == np.uint8
        if from_file:
            mask = mask.astype(np.float32) / 255
        if mask.shape != size:
            mask = resize_mask(mask, size)
        if not from_file:
            mask = (np.rint(255 * mask) / 255).astype(np.float32)
        return mask, resize_photo(truth, size).astype(np.float32) / 255


def f_measure(precision: Floats | float, recall: Floats | float) -> Floats:
    """F-measure with beta^2 = 0.3; 0 where precision and recall are 0.

    >>> round(float(f_measure(1.0, 0.5)), 4)  # (1 + 0.3) * 1 * 0.5 / (0.3 * 1 + 0.5)
    0.8125

    Args:
        precision, recall: floats in [0, 1] or arrays of them, of one shape.

    Returns:
        float64 of that shape, in [0, 1].
    """
    precision, recall = np.asarray(precision, np.float64), np.asarray(recall, np.float64)
    weighted = BETA_SQUARED * precision + recall
    return (1 + BETA_SQUARED) * precision * recall / np.where(weighted > 0, weighted, 1)


def adaptive_threshold(mask: Floats, factor: float) -> float:
    """`min(factor * mean(mask), 1)`; 1.5 is the paper's factor, 2 that of salient objects.

    >>> adaptive_threshold(np.array([[0.0, 0.5, 1.0]]), 1.5)
    0.75

    Args:
        mask: `[H, W]` float in [0, 1].
        factor: of the mask's mean.

    Returns:
        A number in [0, 1].
    """
    return min(factor * float(mask.mean(dtype=np.float64)), 1.0)


def precision_recall(chosen: np.ndarray, truth: np.ndarray) -> tuple[float, float]:
    """Precision and recall of one binary mask; 0 where nothing was chosen, or there was nothing to choose.

    >>> chosen = np.array([[True, True, False, False]])
    >>> precision_recall(chosen, truth=np.array([[True, False, False, False]]))
    (0.5, 1.0)

    Args:
        chosen, truth: `[H, W]` bool.

    Returns:
        The share of the chosen pixels that are true, and the share of the true pixels that were chosen.
    """
    hits = int((chosen & truth).sum())
    return hits / max(int(chosen.sum()), 1), hits / max(int(truth.sum()), 1)


def threshold_counts(mask: Floats, truth: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Counts the pixels at or above every threshold, in one pass.

    >>> inside, outside = threshold_counts(np.array([[1.0, 0.6, 0.4, 0.0]]), np.array([[True, True, False, False]]))
    >>> inside[[0, 128, 255]].tolist(), outside[[0, 128, 255]].tolist()
    ([2, 2, 1], [2, 0, 0])

    Args:
        mask: `[H, W]` float in [0, 1].
        truth: `[H, W]` bool.

    Returns:
        `[256]` int64 each: the pixels that reach a threshold inside `truth`, and outside it.
    """
    # The product stays in the mask's own precision: there, k / 255 * 255 is k again.
    levels = np.floor(mask * mask.dtype.type(THRESHOLDS - 1)).astype(np.int64)
    inside, outside = (np.bincount(levels[where], minlength=THRESHOLDS) for where in (truth, ~truth))
    return inside[::-1].cumsum()[::-1], outside[::-1].cumsum()[::-1]


def precision_recall_curves(inside: np.ndarray, outside: np.ndarray) -> dict[str, Floats]:
    """Precision, recall and F-measure at every threshold, from `threshold_counts`.

    >>> curves = precision_recall_curves(np.array([2, 2, 1]), np.array([2, 0, 0]))  # three thresholds, two true pixels
    >>> curves["precision"].tolist(), curves["recall"].tolist()
    ([0.5, 1.0, 1.0], [1.0, 1.0, 0.5])

    Args:
        inside, outside: `[256]` integers, the pixels that reach a threshold inside and outside the truth. The first
            threshold is 0, which every pixel reaches, so `inside[0]` is the size of the truth.

    Returns:
        `precision`, `recall` and `f_measure`, `[256]` float64 each.
    """
    precision = inside / np.maximum(inside + outside, 1)
    recall = inside / max(inside[0], 1)
    return {"precision": precision, "recall": recall, "f_measure": f_measure(precision, recall)}


def paper_measures(mask: Floats, truth: Floats) -> ImageScores:
    """Protocol `paper` on one image: the evaluation that gave the paper's Tables 1 to 4.

    >>> mask, truth = np.array([[1.0, 0.6, 0.4, 0.0]]), np.array([[1.0, 1.0, 0.0, 0.0]])
    >>> scores = paper_measures(mask, truth)  # threshold 1.5 * 0.5: one pixel is chosen, one of the two true ones
    >>> {name: round(value, 4) for name, value in scores.values.items()}
    {'f_measure': 0.8125, 'mae': 0.2, 'precision': 1.0, 'recall': 0.5}

    Args:
        mask: `[H, W]` float in [0, 1], 1 = in focus; 320x320 for figures that compare with the paper's.
        truth: `[H, W]` float in [0, 1], same shape; above 0.1 is in focus.

    Returns:
        `f_measure`, `mae` (of the soft mask), `precision`, `recall`; curves of precision, recall and F-measure.

    Raises:
        ValueError: shapes that differ, or values that are not floats in [0, 1].
    """
    mask, truth = checked(mask, truth, level=0.1)
    precision, recall = precision_recall(mask >= adaptive_threshold(mask, 1.5), truth)
    values = {
        "f_measure": float(f_measure(precision, recall)),
        "mae": float(np.abs(mask - truth).mean(dtype=np.float64)),
        "precision": precision,
        "recall": recall,
    }
    return ImageScores(values, precision_recall_curves(*threshold_counts(mask, truth)))


PAPER = Protocol(name="paper", size=320, measure=paper_measures)


def checked(mask: Floats, truth: Floats, *, level: float) -> tuple[Floats, np.ndarray]:
    """Refuses what cannot be scored, and makes the ground truth binary: above `level` is in focus.

    Raises:
        ValueError: shapes that differ, or values that are not floats in [0, 1].
    """
    mask, truth = np.asarray(mask), np.asarray(truth)
    if mask.shape != truth.shape:
        raise ValueError(f"a mask of shape {mask.shape} cannot be scored against a ground truth of {truth.shape}")
    for what, values in (("mask", mask), ("ground truth", truth)):
        if not np.issubdtype(values.dtype, np.floating) or not (values.min() >= 0 and values.max() <= 1):
            raise ValueError(
                f"a {what} must be floats in [0, 1], here {values.dtype} from {values.min()} to {values.max()}"
            )
    return mask, truth > level
