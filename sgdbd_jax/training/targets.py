"""Self-training: a generator's masks of whole source photos, refined, are what is learned next from their crops."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import jax
import numpy as np

from sgdbd_jax.data.photos import load_mask
from sgdbd_jax.data.sources import KEEP, FileImages
from sgdbd_jax.data.threads import work_ahead
from sgdbd_jax.detection.detector import Detector
from sgdbd_jax.detection.refine import Refinement, chosen
from sgdbd_jax.detection.shipped import weight_file
from sgdbd_jax.errors import UserError
from sgdbd_jax.files import file_sha256, write_atomically
from sgdbd_jax.pictures import png
from sgdbd_jax.training.parallel import any_process, wait_for_all
from sgdbd_jax.training.run import Run, Stopped
from sgdbd_jax.training.samples import predicting, prediction
from sgdbd_jax.training.teacher import Teacher

ASK_EVERY = 8  # targets between the times at which several processes agree whether to stop


@dataclass(frozen=True)
class Targets:
    """What is learned from the source photos.

    Attributes:
        masks: `[H, W]` uint8 a photo, 255 = in focus; those that do not fit into memory are read from their files.
        weights: what each of their pixels counts for, of the same shapes, 255 in full; `None`: all of them do.
        places: the photos that they are of, in order; `None`: all.
    """

    masks: Sequence[np.ndarray]
    weights: Sequence[np.ndarray] | None = None
    places: Sequence[int] | None = None


def own_targets(run: Run, generator: Mapping[str, Any]) -> Targets:
    """The generator's own refined masks of the source photos, kept in the work folder as `targets/NUMBER.png`.

    Where several views are averaged, how far they disagree is kept as `targets/NUMBER.doubt.png`.

    Args:
        run: the run, whose source photos keep the sizes they have in training.
        generator: its variables so far.

    Raises:
        UserError: a mask is not finite, the disk refuses.
        Stopped: the run was asked to stop; the masks made so far are kept.
    """
    work_size, how = prediction(run.config)[0], run.config.self_training.refinement
    refinement = Refinement() if how == "own" else chosen(None, how)
    generator = predicting(run.config.prediction, generator)
    detect = Detector(run.config.generator, generator, work_size=work_size, refinement=refinement)
    native = Detector(run.config.generator, generator, work_size="native")
    made_by = {"teacher": _digest(generator), "work_size": work_size, "refinement": asdict(refinement)}
    return _make_targets(run, [(detect, native)], made_by, run.workdir / "targets")


def teacher_targets(run: Run) -> Targets:
    """As `own_targets`, but of the config's teachers, refined as the first one's file asks, in `teacher_targets`.

    Raises:
        UserError: also, a file is not a generator's.
    """
    how, paths = run.config.self_training.refinement, [weight_file(name) for name in run.config.self_training.teachers]
    refine: Any = True if how == "own" else how
    detectors = [
        (Detector.load(path, refine=refine), Detector.load(path, work_size="native", refine=False)) for path in paths
    ]
    made_by = {"teacher": " ".join(file_sha256(path) for path in paths)} | ({"refined": how} if how != "own" else {})
    return _make_targets(run, detectors, made_by, run.workdir / "teacher_targets")


def _make_targets(
    run: Run, detectors: Sequence[tuple[Detector, Detector]], made_by: Mapping[str, Any], folder: Path
) -> Targets:
    """Masks of all source photos; those that something else left in the folder are made again."""
    taught, photos = run.config.self_training, run.photos.training.source
    teacher = Teacher(detectors, taught.sizes)
    made_by = {**made_by, **({"views": list(taught.sizes)} if taught.sizes else {})}
    known = _made_by(folder) == made_by
    if run.main and not known:
        shutil.rmtree(folder, ignore_errors=True)
        write_atomically(folder / "made_by.json", json.dumps(made_by, indent=1).encode())
    kinds = ("", ".doubt") if teacher.looks > 1 else ("",)
    paths = [[folder / f"{number:05d}{kind}.png" for kind in kinds] for number in range(len(photos.names))]

    def target(number: int) -> list[np.ndarray]:
        """The mask, and where there are several views, their doubt: 255 where half of them say no."""
        photo = photos.images[number]
        kept = [_kept(path, photo) for path in paths[number]] if known or run.main else []
        made = [each for each in kept if each is not None]
        if len(made) < len(kinds):
            mask, deviation = teacher(photo)
            made = [np.rint(255 * mask).astype(np.uint8), np.rint(510 * deviation).astype(np.uint8)][: len(kinds)]
            if run.main:
                for path, each in zip(paths[number], made):
                    write_atomically(path, png(each))
        return made

    counts = np.rint(255 * np.maximum(1 - taught.agreement * np.arange(256) / 510, 0)).astype(np.uint8)
    masks = FileImages(_read, keep=KEEP)
    weights = FileImages(lambda path: counts[_read(path)], keep=KEEP) if taught.agreement else None
    doubts: list[float] = []
    run.reporter.stage(folder.name, 0, len(paths))
    for made in work_ahead(target, range(len(paths)), workers=_workers(), ahead=_workers()):
        at = len(masks)
        masks.append(paths[at][0], made[0])
        if weights is not None:
            weights.append(paths[at][1], counts[made[1]])
        doubts.extend(float(doubt.mean()) for doubt in made[1:])
        run.reporter.step(None)
        if len(masks) % ASK_EVERY == 0 and any_process(run.should_stop())[0]:
            raise Stopped(f"stopped at target {len(masks)} of {len(paths)}, which are kept")
    wait_for_all(folder.name)  # the first of those that memory does not hold may be read from its file at once
    if not taught.leave_out:
        return Targets(masks, weights)
    places = sorted(np.argsort(doubts, kind="stable")[: max(1, round((1 - taught.leave_out) * len(paths)))].tolist())
    return Targets(masks.only(places), None if weights is None else weights.only(places), places)


def _workers() -> int:
    """Threads that make targets: at least one refines while another detects; a network elsewhere leaves cores free."""
    return 2 if jax.default_backend() == "cpu" else max(2, (os.cpu_count() or 2) // 2)


def _read(path: Path) -> np.ndarray:
    return load_mask(path, white="focused", labels=False)


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
        mask = _read(path)
    except UserError:  # none yet, or damaged: it is made again
        return None
    return mask if mask.shape == photo.shape[:2] else None
