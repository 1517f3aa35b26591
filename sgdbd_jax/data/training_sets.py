"""What a config trains and validates on: made scenes, folders of photos, or prepared tfds sets."""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import cast

from sgdbd_jax.config import Config
from sgdbd_jax.data.batches import TrainingSets
from sgdbd_jax.data.names import read_names
from sgdbd_jax.data.photos import White
from sgdbd_jax.data.polarity import focus_is_sharper, polarity_fault
from sgdbd_jax.data.scenes import Focus, SceneConfig, make_scenes
from sgdbd_jax.data.sources import PhotoSet, load_folder, load_pairs
from sgdbd_jax.data.tfds_source import load_tfds
from sgdbd_jax.data.threads import Progress, work_ahead
from sgdbd_jax.errors import UserError

VALIDATION_SCENES, HELD_OUT_SCENES = 32, 64
# Beyond two thirds in focus, protocol `paper` thresholds at 1, where only a mask of exactly 1 counts.
SHARE_HIGH = 0.6

# Called with a name of a set; gives a function to be called as its photos come in.
SetProgress = Callable[[str], Progress | None]


@dataclass(frozen=True)
class Photos:
    """All photos of a run."""

    training: TrainingSets
    validation: PhotoSet | None  # with masks: for choosing the best checkpoint
    held_out: PhotoSet | None  # with masks: for the final score; only made scenes have it


def load_photos(config: Config, *, progress: SetProgress = lambda name: None) -> Photos:
    """Makes or reads the sets that a config names.

    Args:
        config: its data and validation fields.
        progress: see `SetProgress`.

    Raises:
        UserError: a field that its data needs is empty, or a set that cannot be read.
    """
    if config.data == "scenes":
        for name in ("source", "clear", "masks", "names", "validation_images"):
            if getattr(config, name):
                raise UserError(f"{name}: is not read with data 'scenes'; add --data folders, or leave it out")
        if config.blurred != Config().blurred:
            raise UserError("blurred: is not read with data 'scenes'; add --data folders, or leave it out")
        return _scenes(config)
    size = config.photo_size or None
    if config.data == "folders":
        for name in ("source", "clear"):
            if not getattr(config, name):
                raise UserError(f"{name}: needs a folder of photos: --{name} DIR (or --data scenes for made ones)")
        source = _source_folder(config, size, progress)
    elif config.data in ("tfds:cuhk", "tfds:dut"):
        if not config.clear:
            raise UserError("clear: needs photos all in focus: --clear DIR, or --clear tfds:fcfb:clear")
        source = _read(f"{config.data}:train", "source", config, size, progress)
    else:
        raise UserError(f"data: {config.data!r} is none of 'scenes', 'folders', 'tfds:cuhk', 'tfds:dut'")
    if config.supervised and source.masks is None:
        raise UserError("supervised: needs masks of the source photos: --masks DIR --masks_white blurred|focused")
    if not config.supervised:  # no unsupervised run gets to see a mask
        source = replace(source, masks=None)
    clear = _read(config.clear, "clear", config, size, progress)
    made = config.blurred == "disc" or config.blurred.startswith("fcsb:")
    blurred = None if made else _read(config.blurred, "blurred", config, size, progress)
    return Photos(TrainingSets(source, clear, blurred), _validation(config, progress), None)


def fingerprints(sets: TrainingSets) -> dict[str, str]:
    """What tells the photos of a run from others: their number, and a digest of names and sizes, by set.

    Which photo is drawn when depends on them, so a run cannot go on after one came or went.
    """
    found = {}
    for name in ("source", "clear", "blurred"):
        photos: PhotoSet | None = getattr(sets, name)
        if photos is not None:
            known = list(zip(photos.names, photos.shapes, strict=True))
            digest = hashlib.sha256(repr(known).encode()).hexdigest()[:12]
            found[f"photos of {name}"] = f"{len(known)} ({digest})"
    return found


def _read(where: str, name: str, config: Config, size: int | None, progress: SetProgress) -> PhotoSet:
    """The photos of a folder, or of a split of a tfds set, `tfds:NAME:SPLIT`."""
    if not where.startswith("tfds:"):
        return load_folder(where, size=size, progress=progress(name))
    data_set, _, split = where[5:].partition(":")
    return load_tfds(
        data_set,
        split,
        size=size,
        data_dir=config.data_dir or None,
        manual_dir=config.manual_dir or None,
        progress=progress(name),
    )


def _source_folder(config: Config, size: int | None, progress: SetProgress) -> PhotoSet:
    names = read_names(config.names) if config.names else None
    if config.supervised and config.masks:
        if not config.masks_white:
            raise UserError("masks_white: say what white means in the masks: --masks_white blurred|focused")
        photos = load_pairs(
            config.source,
            config.masks,
            white=cast(White, config.masks_white),
            size=size,
            names=names,
            progress=progress("source"),
        )
        return _polarity_looked_at(photos, "masks_white")
    return load_folder(config.source, size=size, names=names, progress=progress("source"))


def _validation(config: Config, progress: SetProgress) -> PhotoSet | None:
    if not config.validation_images:
        # Of the tfds sets, CUHK alone has a split for choosing.
        return (
            _read("tfds:cuhk:validation", "validation", config, None, progress) if config.data == "tfds:cuhk" else None
        )
    if not config.validation_masks or not config.validation_white:
        raise UserError("validation_images: needs --validation_masks DIR and --validation_white blurred|focused")
    photos = load_pairs(
        config.validation_images,
        config.validation_masks,
        white=cast(White, config.validation_white),
        size=None,
        names=read_names(config.validation_names) if config.validation_names else None,
        progress=progress("validation"),
    )
    return _polarity_looked_at(photos, "validation_white")


def _polarity_looked_at(photos: PhotoSet, field: str) -> PhotoSet:
    """The photos; a warning if their masks call the less sharp part the one in focus."""
    images, masks = photos.images, photos.masks or ()
    fault = polarity_fault(work_ahead(lambda at: focus_is_sharper(images[at], masks[at]), range(len(masks))))
    if fault:
        warnings.warn(f"{field}: {fault}; is it right?", stacklevel=2)
    return photos


def _scenes(config: Config) -> Photos:
    if not config.photo_size or not config.scenes:
        raise UserError("photo_size, scenes: must both be at least 1 for made scenes")

    def make(name: str, focus: Focus, count: int, seed: int) -> PhotoSet:
        # Seeds are spread so that the scenes of two runs, or of two sets of one run, never coincide.
        images, masks = make_scenes(
            count, SceneConfig(config.photo_size, share_high=SHARE_HIGH), seed=3 * config.seed + seed, focus=focus
        )
        return PhotoSet(tuple(f"{name}{index:04d}" for index in range(count)), tuple(images), tuple(masks))

    source = make("source", "part", config.scenes, 0)
    if not config.supervised:
        source = replace(source, masks=None)
    clear, blurred = make("clear", "all", config.scenes, 0), make("blurred", "none", config.scenes, 0)
    return Photos(
        TrainingSets(source, replace(clear, masks=None), replace(blurred, masks=None)),
        make("validation", "part", VALIDATION_SCENES, 1),
        make("held out", "part", HELD_OUT_SCENES, 2),
    )
