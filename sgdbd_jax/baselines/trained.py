"""Weight files of baselines that are trained here, in a folder: made once, and never from photos that are scored."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from sgdbd_jax.baselines.detectors import Entry
from sgdbd_jax.errors import UserError
from sgdbd_jax.weights import load_weights, save_weights

if TYPE_CHECKING:
    from sgdbd_jax.data.sources import PhotoSet
    from sgdbd_jax.training.run import Reporter

SEED = 0
PHOTOS = "learned_from"  # in the metadata: the digests of the photos, and of their masks


def trained_file(entry: Entry, folder: Path) -> Path:
    """Where a baseline's weights are, once they are trained."""
    return folder / f"{entry.key}.safetensors"


def learned_from(entry: Entry, weights: Path, scored: Collection[str]) -> int:
    """From how many of the photos that are scored weights have learned.

    Args:
        entry: the detector.
        weights: a file of `train`, or a shipped one.
        scored: digests of the photos that are scored.

    Raises:
        UserError: the file cannot be read.
    """
    known = load_weights(weights, kind=entry.key)[1].get(PHOTOS)
    return len(set(known) & set(scored)) if isinstance(known, list) else 0


def train(
    entry: Entry,
    folder: Path,
    load: Callable[[], PhotoSet],
    digests: Sequence[str],
    *,
    white: str = "",
    reporter: Reporter,
    should_stop: Callable[[], bool] | None = None,
) -> Path:
    """Trains a baseline, unless it was trained on these photos before.

    Args:
        entry: a detector that learns.
        folder: of the weight files; what a training goes on from lies in it too, where the detector's keeps anything.
        load: gives the photos, with masks if the detector needs them.
        digests: of the photos, and of their masks: what tells whether they are those of an earlier training.
        white: what white means in the masks.
        reporter: told of progress.
        should_stop: as the detector's training takes it, if it does: see `stops`.

    Returns:
        The weight file.

    Raises:
        UserError: the file is of another training; the photos or the folder cannot be used.
        Unavailable: this installation lacks what the training needs.
        Stopped: as `should_stop` wanted.
    """
    path = trained_file(entry, folder)
    made_of = {"seed": SEED, PHOTOS: sorted(set(digests)), "white": white, "code": entry.code()}
    if path.exists():
        metadata = load_weights(path, kind=entry.key)[1]
        if other := [name for name, value in made_of.items() if metadata.get(name) != value]:
            raise UserError(
                f"{path}: was trained otherwise than it would be now ({', '.join(other)}); move it away, or choose"
                " another --out"
            )
        return path
    photos = load()
    options: dict[str, object] = {"reporter": reporter}
    accepted = _options(entry)
    if "folder" in accepted:
        options["folder"] = folder
    if "should_stop" in accepted and should_stop is not None:
        options["should_stop"] = should_stop
    sets = [photos.images] if entry.needs == "clear" else [photos.images, photos.masks]
    tree, metadata = entry.train(*sets, SEED, **options)
    return save_weights(path, tree, {**metadata, **made_of})


def stops(entry: Entry) -> bool:
    """Whether a detector's training can be asked to stop, and goes on from there."""
    return "should_stop" in _options(entry)


def _options(entry: Entry) -> Collection[str]:
    return inspect.signature(entry.module().train).parameters.keys()
