"""What to measure, what it should be, and the rows that several parts have."""

from __future__ import annotations

import statistics
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from experiments.benchmark import timing
from experiments.benchmark.report import Row
from experiments.benchmark.sides import OURS, Size, gpu, told
from sgdbd_jax.config import Config
from sgdbd_jax.presets import LITE, RELEASE

Limits = tuple[float | None, float | None]  # of the release's networks and step, and of the light network's
NONE: Limits = (None, None)
# How many times as fast as a twin ours must be.
STEP_RATIOS: dict[str, Limits] = {"torch release": (1.5, None), "torch best": (1.1, None)}
FIT_RATIOS: dict[str, Limits] = {"torch best": (None, 1.0), "torch bfloat16": (None, 1.0)}
PREDICT_RATIOS: dict[str, Limits] = {"torch best": (1.3, 1.1), "onnxruntime": (None, 1.0)}
GPU_RATIOS: dict[str, Limits] = {"torch best": (1.5, None), "torch compiled": (1.1, None)}
GPU_PHOTO: Limits = (1, 0.3)  # milliseconds, of 320x320 in a batch of 16 or more
# What is asked of a GPU: part, what, unit, at least, at most.
ON_GPU: tuple[tuple[str, str, str, Limits, Limits], ...] = (
    ("step", "ours", "s", NONE, (0.04, None)),
    ("step", "ours against torch best", "times as fast", GPU_RATIOS["torch best"], NONE),
    ("step", "ours against torch compiled", "times as fast", GPU_RATIOS["torch compiled"], NONE),
    ("predict", "a photo of 320x320, batch 16 or more", "ms", NONE, GPU_PHOTO),
    ("predict", "share of bfloat16 products", "%", (40, None), NONE),
    ("predict", "ours against torch best", "times as fast", GPU_RATIOS["torch best"], NONE),
    ("predict", "ours against torch compiled", "times as fast", GPU_RATIOS["torch compiled"], NONE),
)


@dataclass(frozen=True)
class Plan:
    """What to measure."""

    config: Config  # of the steps; its generator predicts
    twins: Sequence[str]  # keys of `sides.TWINS`
    rounds: int  # timed runs of each side
    step_rounds: int  # the same of a step, and of a run over a folder
    sizes: Sequence[Size]  # of predicted photos
    batches: Sequence[int]
    photos: int  # in a folder that is decoded
    names: int  # in a folder that is indexed
    onnx: bool = False  # whether onnxruntime predicts too
    large_photos: int = 1  # in a folder of which masks are made
    small_photos: int = 1
    blur_detector: bool = False  # whether it makes masks of the small ones too

    def target(self, release: float | None, lite: float | None = None) -> float | None:
        """A target that holds for the release's networks and step alone, or the light ones'; `None` with others."""
        return release if self.config == RELEASE else lite if self.config == LITE else None


def times(
    plan: Plan,
    part: str,
    seconds: Mapping[str, Sequence[float]],
    size: Size,
    batch: int,
    ratios: Mapping[str, Limits],
    *,
    at_most: float | None = None,
) -> Iterator[Row]:
    """Each side's time, ours beside what it may be, and ours against each other's, beside `ratios` by the other."""
    what = f"{told(size)}, batch {batch}"
    for who, runs in seconds.items():
        about = {"who": who, "size": told(size), "batch": batch}
        yield Row.timed(part, f"{who}, {what}", runs, at_most=at_most if who == OURS else None, about=about)
    for other in seconds:
        if other != OURS:
            value, least = timing.ratio(seconds[OURS], seconds[other]), plan.target(*ratios.get(other, NONE))
            yield Row(part, f"ours against {other}, {what}", value, "times as fast", at_least=least)


def rate(part: str, what: str, operations: float, known: Sequence[Row]) -> Row:
    """Operations a second, beside the machine's."""
    ceiling = max(row.value or 0 for row in known if "float32 matrix product" in row.what)
    note = f"{operations / 1e9 / ceiling:.0%} of the fastest float32 product, operations as counted above"
    return Row(part, f"rate, {what}", operations / 1e9, "GFLOP/s", note=note)


def rates(part: str, seconds: Mapping[str, Sequence[float]], operations: float, known: Sequence[Row]) -> Iterator[Row]:
    """A step's operations, and each side's rate."""
    yield Row(part, "operations", operations / 1e9, "GFLOP", note="of plain convolutions and matrix products")
    for who, runs in seconds.items():
        yield rate(part, who, operations / statistics.median(runs), known)


def on_gpu(plan: Plan, part: str) -> Iterator[Row]:
    """What would be asked of a GPU, where there is none."""
    for of, what, unit, at_least, at_most in ON_GPU:
        if of == part and not gpu():
            yield Row(part, f"on a GPU: {what}", None, unit, plan.target(*at_least), plan.target(*at_most), "no GPU")
