"""Scores of masks against ground truths: protocol `paper`, and what every protocol shares.

A protocol measures one image at a time; `score` walks over a set and averages. The salient-object protocol, `sod`, is
in `sod.py`. Masks and ground truths are `[H, W]` floats in [0, 1], 1 = in focus.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

import numpy as np

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


@dataclass(frozen=True)
class SetScores:
    """What a protocol says of a set of images.

    Attributes:
        result: `protocol`, `images`, the averaged measures, and in `floors` those of constant masks on the same truths.
        rows: the measures of each image, in order.
        curves: `[256]` float64 each, averaged over images.
    """

    result: dict
    rows: list[dict[str, float]]
    curves: dict[str, Floats]


def f_measure(precision: Floats | float, recall: Floats | float) -> Floats:
    """F-measure with beta^2 = 0.3; 0 where precision and recall are 0.

    Args:
        precision, recall: floats in [0, 1] or arrays of them, of one shape.

    Returns:
        float64 of that shape, in [0, 1].
    """
    precision, recall = np.asarray(precision, np.float64), np.asarray(recall, np.float64)
    weighted = BETA_SQUARED * precision + recall
    return (1 + BETA_SQUARED) * precision * recall / np.where(weighted > 0, weighted, 1)


def adaptive_threshold(mask: Floats, factor: float) -> float:
    """`min(factor * mean(mask), 1)`; 1.5 is the paper's factor, 2 that of salient objects."""
    return min(factor * float(mask.mean(dtype=np.float64)), 1.0)


def precision_recall(chosen: np.ndarray, truth: np.ndarray) -> tuple[float, float]:
    """Precision and recall of one binary mask; 0 where nothing was chosen, or there was nothing to choose.

    Args:
        chosen, truth: `[H, W]` bool.
    """
    hits = int((chosen & truth).sum())
    return hits / max(int(chosen.sum()), 1), hits / max(int(truth.sum()), 1)


def threshold_counts(mask: Floats, truth: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Counts the pixels at or above every threshold, in one pass.

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

    Returns:
        `precision`, `recall` and `f_measure`, `[256]` float64 each. The first threshold is 0, which every pixel
        reaches, so `inside[0]` is the size of the truth.
    """
    precision = inside / np.maximum(inside + outside, 1)
    recall = inside / max(inside[0], 1)
    return {"precision": precision, "recall": recall, "f_measure": f_measure(precision, recall)}


def paper_measures(mask: Floats, truth: Floats) -> ImageScores:
    """Protocol `paper` on one image: the evaluation that gave the paper's Tables 1 to 4.

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


def score(pairs: Iterable[tuple[Floats, Floats]], protocol: Protocol = PAPER) -> SetScores:
    """Scores a set of masks, beside the constant masks "zeros" and "ones" on the same ground truths.

    Args:
        pairs: `(mask, truth)`, each `[H, W]` float in [0, 1], taken one at a time.
        protocol: `PAPER` or `sod.SOD`.

    Returns:
        The averages, the rows and the averaged curves.

    Raises:
        ValueError: no pairs, or a pair that cannot be scored.
    """
    own, zeros, ones = _Mean(), _Mean(), _Mean()
    rows = []
    for mask, truth in pairs:
        rows.append(own.add(protocol.measure(mask, truth)))
        zeros.add(protocol.measure(np.zeros_like(mask), truth))
        ones.add(protocol.measure(np.ones_like(mask), truth))
    if not rows:
        raise ValueError("no images to score")
    result = {
        "protocol": protocol.name,
        **own.result(protocol),
        "images": len(rows),
        "floors": {"zeros": zeros.result(protocol), "ones": ones.result(protocol)},
    }
    return SetScores(result, rows, own.mean_curves())


def checked(mask: Floats, truth: Floats, *, level: float) -> tuple[Floats, np.ndarray]:
    """Refuses what cannot be scored, and makes the ground truth binary: above `level` is in focus."""
    mask, truth = np.asarray(mask), np.asarray(truth)
    if mask.shape != truth.shape:
        raise ValueError(f"a mask of shape {mask.shape} cannot be scored against a ground truth of {truth.shape}")
    for what, values in (("mask", mask), ("ground truth", truth)):
        if not np.issubdtype(values.dtype, np.floating) or not (values.min() >= 0 and values.max() <= 1):
            raise ValueError(
                f"a {what} must be floats in [0, 1], here {values.dtype} from {values.min()} to {values.max()}"
            )
    return mask, truth > level


class _Mean:
    """Sums of image scores, so that a set's curves need not be kept."""

    def __init__(self) -> None:
        self.images = 0
        self.values: dict[str, float] = {}
        self.curves: dict[str, Floats] = {}

    def add(self, scores: ImageScores) -> dict[str, float]:
        self.images += 1
        for name, value in scores.values.items():
            self.values[name] = self.values.get(name, 0.0) + value
        for name, curve in scores.curves.items():
            self.curves[name] = self.curves.get(name, np.zeros(THRESHOLDS)) + curve
        return scores.values

    def mean_curves(self) -> dict[str, Floats]:
        return {name: total / self.images for name, total in self.curves.items()}

    def result(self, protocol: Protocol) -> dict[str, float]:
        values = {name: total / self.images for name, total in self.values.items()}
        curves = self.mean_curves()
        return values | {name: float(curves[curve].max()) for name, curve in protocol.maxima.items()}
