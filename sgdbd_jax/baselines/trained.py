"""Weight files of baselines that are trained here, in a folder: made once, and never from photos that are scored."""

from __future__ import annotations

import inspect
import shutil
import zlib
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from sgdbd_jax.baselines.detectors import Entry
from sgdbd_jax.detection.shipped import shipped
from sgdbd_jax.errors import UserError
from sgdbd_jax.files import file_sha256
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

    Our own shipped ones learned from the photos, not the masks, of the shipped DBDF, and from the clear ones of SRID.

    Args:
        entry: the detector.
        weights: a file of `train`, or a shipped one.
        scored: digests of the photos that are scored.

    Raises:
        UserError: the file cannot be read.
    """
    if entry.kind == "ours":
        sources = {name: shipped(f"baselines/{name}.safetensors") for name in ("dbdf", "srid")}
    else:
        sources = {entry.key: weights}
    known = [load_weights(path, kind=kind)[1].get(PHOTOS) for kind, path in sources.items()]
    return len({digest for each in known if isinstance(each, list) for digest in each} & set(scored))


def train(
    entry: Entry,
    folder: Path,
    load: Callable[[], PhotoSet],
    digests: Sequence[str],
    *,
    white: str = "",
    steps: int | None = None,
    vgg16: Path | None = None,
    reporter: Reporter,
    should_stop: Callable[[], bool] | None = None,
) -> Path:
    """Trains a baseline, unless it was trained on these photos before.

    Args:
        entry: a detector that learns.
        folder: of the weight files; what a training goes on from lies in it too, until it has ended.
        load: gives the photos, with masks if the detector needs them.
        digests: of the photos, and of their masks: what tells whether they are those of an earlier training.
        white: what white means in the masks.
        steps: how many, instead of the detector's own number.
        vgg16: a file of `python -m experiments.port_vgg16` to begin at.
        reporter: told of progress.
        should_stop: as the detector's training takes it, if it does: see `stops`.

    Returns:
        The weight file.

    Raises:
        UserError: the file is of another training; its training takes no `steps` or `vgg16`; the photos, the folder or
            `vgg16` cannot be used.
        Unavailable: this installation lacks what the training needs.
        Stopped: as `should_stop` wanted.
    """
    check_options(entry, steps=steps, vgg16=vgg16)
    path, unfinished = trained_file(entry, folder), folder / f"{entry.key}.unfinished"
    accepted = _options(entry)
    made_of = {"seed": SEED, PHOTOS: sorted(set(digests)), "white": white, "code": entry.code(packages=False)}
    if "steps" in accepted:
        made_of["steps"] = steps or accepted["steps"].default
    if "vgg16" in accepted:
        made_of["vgg16"] = file_sha256(vgg16)[:16] if vgg16 else "none"
    if path.exists():
        metadata = load_weights(path, kind=entry.key)[1]
        if other := [name for name, value in made_of.items() if metadata.get(name) != value]:
            raise UserError(
                f"{path}: was trained otherwise than it would be now ({', '.join(other)}); move it away, or choose"
                " another --out"
            )
        return path
    photos = load()
    kept = unfinished / f"{zlib.crc32(repr(made_of).encode()):08x}"  # what goes on is this very training
    options = {"reporter": reporter, "folder": kept, "should_stop": should_stop, "steps": steps, "vgg16": vgg16}
    options = {name: value for name, value in options.items() if name in accepted and value is not None}
    sets = [photos.images] if entry.needs == "clear" else [photos.images, photos.masks]
    tree, metadata = entry.train(*sets, SEED, **options)
    save_weights(path, tree, {**metadata, **made_of})
    shutil.rmtree(unfinished, ignore_errors=True)
    return path


def check_options(entry: Entry, *, steps: int | None, vgg16: Path | None) -> None:
    """Refuses what a detector's training cannot take.

    Raises:
        UserError: it has no steps, or no VGG16; there is no such file.
    """
    accepted = _options(entry)
    for name, value in {"steps": steps, "vgg16": vgg16}.items():
        if value is not None and name not in accepted:
            raise UserError(f"{name}: {entry.key}'s training takes none; leave --{name} or {entry.key} out")
    if vgg16 is not None and not vgg16.is_file():
        raise UserError(f"vgg16: {vgg16}: no such file")


def stops(entry: Entry) -> bool:
    """Whether a detector's training can be asked to stop, and goes on from there."""
    return "should_stop" in _options(entry)


def _options(entry: Entry) -> Mapping[str, inspect.Parameter]:
    return inspect.signature(entry.module().train).parameters
