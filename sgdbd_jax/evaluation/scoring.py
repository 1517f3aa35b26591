"""Scores of a set of masks: a protocol's measures averaged over images, beside those of the constant masks."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np

from sgdbd_jax.data.sources import PhotoSet
from sgdbd_jax.evaluation.protocols import PAPER, THRESHOLDS, Floats, ImageScores, Protocol

Detect = Callable[..., np.ndarray]


@dataclass(frozen=True)
class SetScores:
    """What a protocol says of a set of images.

    Attributes:
        result: `protocol`, `images`, the averaged measures, and in `floors` those of constant masks on the same truths.
        per_image: the measures of each image, in order.
        curves: `[256]` float64 each, averaged over images.
    """

    result: dict[str, Any]
    per_image: list[dict[str, float]]
    curves: dict[str, Floats]


def score(pairs: Iterable[tuple[Floats, Floats]], protocol: Protocol = PAPER) -> SetScores:
    """Scores a set of masks, beside the constant masks "zeros" and "ones" on the same ground truths.

    >>> truth = np.array([[1.0, 1.0, 0.0, 0.0]])
    >>> result = score([(truth, truth), (1 - truth, truth)]).result  # one mask right, one wrong everywhere
    >>> result["images"], result["f_measure"], result["mae"], result["floors"]["zeros"]["mae"]
    (2, 0.5, 0.5, 0.5)

    Args:
        pairs: `(mask, truth)`, each `[H, W]` float in [0, 1] as `Protocol.prepare` gives them; taken one at a time.
        protocol: `protocols.PAPER` or `sod.SOD`.

    Returns:
        The averages, the measures of each image and the averaged curves.

    Raises:
        ValueError: no pairs, or a pair that cannot be scored.
    """
    tally = Tally(protocol)
    for mask, truth in pairs:
        tally.add(mask, truth)
    return tally.scores()


def score_detector(detect: Detect, photos: PhotoSet, protocol: Protocol = PAPER) -> SetScores:
    """Scores a detector on photos with masks.

    >>> photo, truth = np.zeros((8, 8, 3), np.uint8), np.full((8, 8), 255, np.uint8)
    >>> def half_sure(photo, size):
    ...     return np.full(size, 0.5)
    >>> round(score_detector(half_sure, PhotoSet(("a.png",), [photo], [truth])).result["mae"], 4)  # 0.5 is 128 / 255
    0.498

    Args:
        detect: `Detector`, or any function of a photo `[H, W, 3]` uint8 and `size=(height, width)` that gives its mask,
            `[height, width]` float in [0, 1].
        photos: with masks, any sizes.
        protocol: `PAPER` or `SOD`; masks are asked for at its size.

    Returns:
        What `score` returns.

    Raises:
        ValueError: the photos have no masks, or the set is empty.
    """
    if photos.masks is None:
        raise ValueError("photos without masks cannot be scored")
    return score(
        (
            protocol.prepare(detect(photo, size=protocol.size_of(photo)), truth)
            for photo, truth in zip(photos.images, photos.masks, strict=True)
        ),
        protocol,
    )


class Tally:
    """The scores of a set that comes image by image; no image is kept.

    Args:
        protocol: `PAPER` or `SOD`.
    """

    def __init__(self, protocol: Protocol = PAPER) -> None:
        self._protocol = protocol
        self._masks, self._zeros, self._ones = _Mean(), _Mean(), _Mean()
        self._per_image: list[dict[str, float]] = []

    def add(self, mask: Floats, truth: Floats) -> None:
        """Scores one mask.

        Args:
            mask, truth: `[H, W]` float in [0, 1].

        Raises:
            ValueError: they cannot be scored.
        """
        measure = self._protocol.measure
        scores = measure(mask, truth)
        self._per_image.append(scores.values)
        self._masks.add(scores)
        self._zeros.add(measure(np.zeros_like(mask), truth))
        self._ones.add(measure(np.ones_like(mask), truth))

    def scores(self) -> SetScores:
        """The scores of what was added.

        Raises:
            ValueError: nothing was.
        """
        if not self._per_image:
            raise ValueError("no images to score")
        result = {
            "protocol": self._protocol.name,
            **self._masks.result(self._protocol),
            "images": len(self._per_image),
            "floors": {"zeros": self._zeros.result(self._protocol), "ones": self._ones.result(self._protocol)},
        }
        return SetScores(result, self._per_image, self._masks.curves())


class _Mean:
    """The mean of image scores, kept as sums."""

    def __init__(self) -> None:
        self._images = 0
        self._values: dict[str, float] = {}
        self._curves: dict[str, Floats] = {}

    def add(self, scores: ImageScores) -> None:
        self._images += 1
        for name, value in scores.values.items():
            self._values[name] = self._values.get(name, 0.0) + value
        for name, curve in scores.curves.items():
            self._curves[name] = self._curves.get(name, np.zeros(THRESHOLDS)) + curve

    def curves(self) -> dict[str, Floats]:
        return {name: total / self._images for name, total in self._curves.items()}

    def result(self, protocol: Protocol) -> dict[str, float]:
        values = {name: total / self._images for name, total in self._values.items()}
        curves = self.curves()
        return values | {name: float(curves[curve].max()) for name, curve in protocol.maxima.items()}
