"""Self-training: the generator's masks of whole source photos, refined, are what it learns next from their crops."""

from __future__ import annotations

import io
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from sgdbd_jax.data.photos import load_mask
from sgdbd_jax.data.threads import work_ahead
from sgdbd_jax.detector import Detector
from sgdbd_jax.errors import UserError
from sgdbd_jax.refine import Refinement
from sgdbd_jax.training.loop import Stopped
from sgdbd_jax.training.state import NetState
from sgdbd_jax.weights import write_atomically

if TYPE_CHECKING:
    from sgdbd_jax.training.run import Run


def make_targets(run: Run, teacher: NetState) -> list[np.ndarray]:
    """The teacher's refined masks of all source photos, kept in the work folder as `targets/NUMBER.png`.

    Args:
        run: the run, whose source photos keep the sizes they have in training.
        teacher: the generator so far.

    Returns:
        `[H, W]` uint8 a photo, 255 = in focus.

    Raises:
        Stopped: the run was asked to stop; the masks made so far are kept.
    """
    photos = run.photos.training.source
    detect = Detector(run.config.generator, teacher.predicting, work_size="native", refinement=Refinement())
    paths = [run.workdir / "targets" / f"{number:05d}.png" for number in range(len(photos.names))]

    def target(number: int) -> np.ndarray:
        photo = photos.images[number]
        made = _kept(paths[number], photo) if run.main else None
        if made is None:
            made = np.rint(255 * detect(photo)).astype(np.uint8)
            if run.main:
                write_atomically(paths[number], _png(made))
        return made

    targets: list[np.ndarray] = []
    run.reporter.stage("targets", 0, len(paths))
    for made in work_ahead(target, range(len(paths)), workers=2, ahead=2):  # one refines while the other detects
        targets.append(made)
        run.reporter.step(None)
        if run.should_stop():
            raise Stopped(f"stopped at target {len(targets)} of {len(paths)}, which are kept")
    return targets


def _kept(path: Path, photo: np.ndarray) -> np.ndarray | None:
    """The mask made before, or `None` where there is none that fits the photo."""
    try:
        mask = load_mask(path, white="focused")
    except UserError:  # none yet, or damaged: it is made again
        return None
    return mask if mask.shape == photo.shape[:2] else None


def _png(mask: np.ndarray) -> bytes:
    from PIL import Image

    file = io.BytesIO()
    Image.fromarray(mask).save(file, "png")
    return file.getvalue()
