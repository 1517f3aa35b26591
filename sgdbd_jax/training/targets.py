"""Self-training: a generator's masks of whole source photos, refined, are what is learned next from their crops."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import jax
import numpy as np

from sgdbd_jax.data.photos import load_mask
from sgdbd_jax.data.sources import KEEP, FileImages
from sgdbd_jax.data.threads import work_ahead
from sgdbd_jax.detection.detector import Detector
from sgdbd_jax.detection.refine import Refinement
from sgdbd_jax.detection.shipped import weight_file
from sgdbd_jax.errors import UserError
from sgdbd_jax.files import file_sha256, write_atomically
from sgdbd_jax.pictures import png
from sgdbd_jax.training.parallel import any_process, wait_for_all
from sgdbd_jax.training.run import Run, Stopped
from sgdbd_jax.training.samples import predicting, prediction

ASK_EVERY = 8  # targets between the times at which several processes agree whether to stop


def own_targets(run: Run, generator: Mapping[str, Any]) -> Sequence[np.ndarray]:
    """The generator's own refined masks of all source photos, kept in the work folder as `targets/NUMBER.png`.

    Args:
        run: the run, whose source photos keep the sizes they have in training.
        generator: its variables so far.

    Returns:
        `[H, W]` uint8 a photo, 255 = in focus; those that do not fit into memory are read from their files.

    Raises:
        UserError: a mask is not finite, the disk refuses.
        Stopped: the run was asked to stop; the masks made so far are kept.
    """
    work_size, refinement = prediction(run.config)[0], Refinement()
    generator = predicting(run.config.prediction, generator)
    detect = Detector(run.config.generator, generator, work_size=work_size, refinement=refinement)
    made_by = {"teacher": _digest(generator), "work_size": work_size, "refinement": asdict(refinement)}
    return _make_targets(run, detect, made_by, run.workdir / "targets")


def teacher_targets(run: Run) -> Sequence[np.ndarray]:
    """As `own_targets`, but of the config's teacher, refined as its file asks, in `teacher_targets/NUMBER.png`.

    Raises:
        UserError: also, its file is not a generator's.
    """
    path = weight_file(run.config.self_training.teacher)
    made_by = {"teacher": file_sha256(path)}
    return _make_targets(run, Detector.load(path), made_by, run.workdir / "teacher_targets")


def _make_targets(run: Run, detect: Detector, made_by: Mapping[str, Any], folder: Path) -> Sequence[np.ndarray]:
    """Masks of all source photos; those that something else left in the folder are made again."""
    photos = run.photos.training.source
    known = _made_by(folder) == made_by
    if run.main and not known:
        shutil.rmtree(folder, ignore_errors=True)
        write_atomically(folder / "made_by.json", json.dumps(made_by, indent=1).encode())
    paths = [folder / f"{number:05d}.png" for number in range(len(photos.names))]

    def target(number: int) -> np.ndarray:
        photo = photos.images[number]
        made = _kept(paths[number], photo) if known or run.main else None
        if made is None:
            made = np.rint(255 * detect(photo)).astype(np.uint8)
            if run.main:
                write_atomically(paths[number], png(made))
        return made

    targets = FileImages(lambda path: load_mask(path, white="focused", labels=False), keep=KEEP)
    run.reporter.stage(folder.name, 0, len(paths))
    for made in work_ahead(target, range(len(paths)), workers=2, ahead=2):  # one refines while the other detects
        targets.append(paths[len(targets)], made)
        run.reporter.step(None)
        if len(targets) % ASK_EVERY == 0 and any_process(run.should_stop())[0]:
            raise Stopped(f"stopped at target {len(targets)} of {len(paths)}, which are kept")
    wait_for_all(folder.name)  # the first of those that memory does not hold may be read from its file at once
    return targets


def _digest(variables: Mapping[str, Any]) -> str:
    """What tells a generator from others."""
    digest = hashlib.sha256()
    for leaf in jax.tree.leaves(jax.device_get(variables)):
        digest.update(np.ascontiguousarray(leaf).tobytes())
    return digest.hexdigest()


def _made_by(folder: Path) -> object:
    try:
        return json.loads((folder / "made_by.json").read_text())
    except (OSError, ValueError):
        return None


def _kept(path: Path, photo: np.ndarray) -> np.ndarray | None:
    """The mask made before, or `None` where there is none that fits the photo."""
    try:
        mask = load_mask(path, white="focused", labels=False)
    except UserError:  # none yet, or damaged: it is made again
        return None
    return mask if mask.shape == photo.shape[:2] else None
