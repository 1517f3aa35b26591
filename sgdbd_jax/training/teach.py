"""Self-training: the generator's masks of whole source photos, refined, are what it learns next from their crops."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from sgdbd_jax.detector import Detector
from sgdbd_jax.refine import Refinement
from sgdbd_jax.training.state import NetState
from sgdbd_jax.weights import write_atomically

if TYPE_CHECKING:
    from sgdbd_jax.training.run import Run


def make_targets(run: Run, teacher: NetState) -> list[np.ndarray]:
    """The teacher's refined masks of all source photos, kept in the work folder.

    Args:
        run: the run, whose source photos keep the sizes they have in training.
        teacher: the generator so far.

    Returns:
        `[H, W]` uint8 a photo, 255 = in focus.
    """
    photos, folder = run.photos.training.source, run.workdir / "targets"
    detect = Detector(run.config.generator, teacher.predicting, work_size="native", refinement=Refinement())
    targets = []
    run.reporter.stage("targets", 0, len(photos.names))
    for number, photo in enumerate(photos.images):
        path = folder / f"{number:05d}.png"
        if not path.exists():
            file = io.BytesIO()
            Image.fromarray(np.rint(255 * detect(photo)).astype(np.uint8)).save(file, "png")
            write_atomically(path, file.getvalue())
        targets.append(np.array(Image.open(path)))
        run.reporter.step(None)
    return targets
