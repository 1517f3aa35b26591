"""What a generator makes of some photos, while it trains: a score, a picture."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import jax.numpy as jnp
import numpy as np

from sgdbd_jax import pictures
from sgdbd_jax.config import Config, PredictionConfig
from sgdbd_jax.data.batches import make_batch
from sgdbd_jax.data.sources import PhotoSet
from sgdbd_jax.detection.detector import Detector
from sgdbd_jax.detection.refine import QUICK, Refinement
from sgdbd_jax.errors import UserError
from sgdbd_jax.evaluation.scoring import Detect, score_detector
from sgdbd_jax.game.composites import composed, composites
from sgdbd_jax.models.layers import to_unit
from sgdbd_jax.training.run import Run
from sgdbd_jax.training.state import NetState

OWN_SIZE = "max:1024"  # working size of a generator that learned from photos at their own size
SAMPLES = 6  # photos in a picture
SAMPLE_STREAM = 14  # of random numbers, which no stage uses


def prediction(config: Config) -> tuple[int | str, Refinement | None]:
    """How a run's generator is used, in validation and after it: the working size, and the refinement of its masks."""
    refinement = Refinement() if config.prediction.colours else QUICK
    return config.sets.photo_size or OWN_SIZE, refinement if config.prediction.refine else None


def predicting(prediction: PredictionConfig, variables: Mapping[str, Any]) -> dict[str, Any]:
    """A generator's variables as they are delivered: with the config's middle and gain in its last layer."""
    gain, head = prediction.gain, variables["params"]["head"]
    return _with_head(variables, gain * head["kernel"], gain * (head["bias"] - _logit(prediction.middle)))


def learning(prediction: PredictionConfig, variables: Mapping[str, Any]) -> dict[str, Any]:
    """Inverse of `predicting`: a delivered generator's variables as they were learned, from which training goes on."""
    gain, head = prediction.gain, variables["params"]["head"]
    return _with_head(variables, head["kernel"] / gain, head["bias"] / gain + _logit(prediction.middle))


def _with_head(variables: Mapping[str, Any], kernel: Any, bias: Any) -> dict[str, Any]:
    return {**variables, "params": {**variables["params"], "head": {"kernel": kernel, "bias": bias}}}


def _logit(level: float) -> float:
    return math.log(level / (1 - level))


def score_generator(run: Run, net: NetState, photos: PhotoSet) -> dict[str, Any]:
    """Scores a generator as `evaluate` would its weights."""
    detect = _detect(run, net, *prediction(run.config))
    return score_detector(detect, photos).result


def sample_picture(run: Run, net: NetState) -> bytes:
    """Source, mask as the network gives it, truth (where known) and its composites of a few photos, always the same."""
    config = run.config
    places = range(SAMPLES)
    data = make_batch(run.examples.game, seed=config.seed, stream=SAMPLE_STREAM, step=0, batch=SAMPLES, places=places)
    truth, held_out = None, run.photos.held_out
    if held_out is not None and held_out.masks is not None:
        corner = slice(config.crops.crop)  # as large as the photos it is shown beside
        data["source"] = np.stack([image[corner, corner] for image in held_out.images[:SAMPLES]])
        truth = np.stack([mask[corner, corner] for mask in held_out.masks[:SAMPLES]])
    detect = _detect(run, net, "native")
    masks = np.stack([detect(photo) for photo in data["source"]])[..., None]
    photos = (to_unit(jnp.asarray(data[name])) for name in ("source", "clear", "blur"))
    clear, blur = composites(composed(jnp.asarray(masks), config.game), *photos)
    columns = {"source": data["source"], "mask": masks}
    columns |= {"truth": truth} if truth is not None else {}
    return pictures.sample_grid(columns | {"composite_clear": np.asarray(clear), "composite_blur": np.asarray(blur)})


def _detect(run: Run, net: NetState, work_size: int | str, refinement: Refinement | None = None) -> Detect:
    """The detector of a generator, which refuses a mask that has no score and cannot be shown."""
    variables = predicting(run.config.prediction, net.predicting)
    detector = Detector(run.config.generator, variables, work_size=work_size, refinement=refinement)

    def detect(photo: np.ndarray, **options: Any) -> np.ndarray:
        mask = detector(photo, **options)
        if not np.isfinite(mask).all():
            raise UserError("a mask is not finite: the generator has diverged; lower the learning rates")
        return mask

    return detect
