"""What a config trains and validates on: made scenes, folders of photos, or prepared tfds sets."""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import cast

from sgdbd_jax.config import MADE, BlurringConfig, Config, SetsConfig
from sgdbd_jax.data.batches import TrainingSets
from sgdbd_jax.data.listing import list_masks, list_photos
from sgdbd_jax.data.names import read_names
from sgdbd_jax.data.photos import White
from sgdbd_jax.data.polarity import focus_is_sharper, polarity_fault
from sgdbd_jax.data.scenes import Focus, SceneConfig, make_scenes
from sgdbd_jax.data.sources import PhotoSet, load_folder, load_pairs
from sgdbd_jax.data.tfds_source import load_tfds
from sgdbd_jax.data.threads import Progress, work_ahead
from sgdbd_jax.errors import UserError, abbreviate

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
    sets = config.sets
    if sets.data == "scenes":
        unread = {name: getattr(sets, name) for name in ("source", "clear", "masks", "names")}
        unread |= {"validation_images": config.validation.validation_images}
        unread |= {"blur": "" if sets.blur == MADE else sets.blur}
        for name, value in unread.items():
            if value:
                raise UserError(f"{name}: is not read with data 'scenes'; add --data folders, or leave it out")
        if config.blurring.blur_kernel != BlurringConfig().blur_kernel and not sets.blur:
            raise UserError("blur_kernel: scenes out of focus are as their lens makes them; add --blur made")
        return _scenes(config)
    if sets.data == "folders":
        for name in ("source", "clear"):
            if not getattr(sets, name):
                raise UserError(f"{name}: needs a folder of photos: --{name} DIR (or --data scenes for made ones)")
        source = _source_folder(config, progress)
    elif sets.data in ("tfds:cuhk", "tfds:dut"):
        if not sets.clear:
            raise UserError("clear: needs photos all in focus: --clear DIR, or --clear tfds:fcfb:clear")
        source = _read(f"{sets.data}:train", "source", sets, progress)
    else:
        raise UserError(f"data: {sets.data!r} is none of 'scenes', 'folders', 'tfds:cuhk', 'tfds:dut'")
    if config.supervised and source.masks is None:
        raise UserError("supervised: needs masks of the source photos: --masks DIR --masks_white blurred|focused")
    if not config.supervised:  # no unsupervised run gets to see a mask
        source = replace(source, masks=None)
    clear = _read(sets.clear, "clear", sets, progress)
    blur = _read(sets.blur, "blur", sets, progress) if sets.blur else None
    source, clear = _large_enough(source, "source", config), _large_enough(clear, "clear", config)
    blur = _large_enough(blur, "blur", config) if blur else None
    return Photos(TrainingSets(source, clear, blur), _validation(config, progress), None)


def check_sets(config: Config) -> None:
    """Refuses folders without photos before any photo is read; what they are needed for, `load_photos` says.

    Raises:
        UserError: a folder that a set is to be read from is not there, or has no photos.
    """
    sets, validation = config.sets, config.validation
    if sets.data == "scenes":
        return
    photos = [sets.source if sets.data == "folders" else "", sets.clear, sets.blur, validation.validation_images]
    masks = [sets.masks if config.supervised else "", validation.validation_masks]
    for folder in photos:
        if folder and not folder.startswith("tfds:"):
            list_photos(folder, warn=lambda text: None)
    for folder in filter(None, masks):
        list_masks(folder, warn=lambda text: None)


def fingerprints(photos: Photos) -> dict[str, str]:
    """What tells the photos of a run from others, by set: their number, and a digest of names, sizes and pixels.

    Which photo is drawn when depends on them, so a run cannot go on after one came or went. Where they lie plays no
    part: a folder may move.
    """
    sets = {"source": photos.training.source, "clear": photos.training.clear, "blur": photos.training.blur}
    sets |= {"validation": photos.validation}
    prints = {}
    for name, photo_set in sets.items():
        if photo_set is not None:
            digest = hashlib.sha256(repr(photo_set.identities).encode()).hexdigest()[:12]
            prints[f"photos of {name}"] = f"{len(photo_set.names)} ({digest})"
    return prints


def _read(where: str, name: str, sets: SetsConfig, progress: SetProgress, *, resize: bool = True) -> PhotoSet:
    """The photos of a folder, or of a split of a tfds set, `tfds:NAME:SPLIT`."""
    size = sets.photo_size or None if resize else None
    if not where.startswith("tfds:"):
        return load_folder(where, size=size, progress=progress(name))
    data_set, _, split = where[5:].partition(":")
    return load_tfds(
        data_set,
        split,
        size=size,
        data_dir=sets.data_dir or None,
        manual_dir=sets.manual_dir or None,
        progress=progress(name),
    )


def _source_folder(config: Config, progress: SetProgress) -> PhotoSet:
    sets, size = config.sets, config.sets.photo_size or None
    names = read_names(sets.names) if sets.names else None
    if config.supervised and sets.masks:
        if not sets.masks_white:
            raise UserError("masks_white: say what white means in the masks: --masks_white blurred|focused")
        photos = load_pairs(
            sets.source,
            sets.masks,
            white=cast(White, sets.masks_white),
            size=size,
            names=names,
            progress=progress("source"),
        )
        return polarity_looked_at(photos, "masks_white")
    return load_folder(sets.source, size=size, names=names, progress=progress("source"))


def _validation(config: Config, progress: SetProgress) -> PhotoSet | None:
    chosen = config.validation
    if not chosen.validation_images:
        if config.sets.data == "tfds:cuhk":  # of the tfds sets, it alone has a split for choosing
            return _read("tfds:cuhk:validation", "validation", config.sets, progress, resize=False)
        return None
    if not chosen.validation_masks or not chosen.validation_white:
        raise UserError("validation_images: needs --validation_masks DIR and --validation_white blurred|focused")
    photos = load_pairs(
        chosen.validation_images,
        chosen.validation_masks,
        white=cast(White, chosen.validation_white),
        size=None,
        names=read_names(chosen.validation_names) if chosen.validation_names else None,
        progress=progress("validation"),
    )
    return polarity_looked_at(photos, "validation_white")


def polarity_looked_at(photos: PhotoSet, field: str) -> PhotoSet:
    """The photos; a warning if their masks call the less sharp part the one in focus."""
    images, masks = photos.images, photos.masks or ()
    fault = polarity_fault(work_ahead(lambda at: focus_is_sharper(images[at], masks[at]), range(len(masks))))
    if fault:
        warnings.warn(f"{field}: {fault}; is it right?", stacklevel=2)
    return photos


def _large_enough(photos: PhotoSet, name: str, config: Config) -> PhotoSet:
    """The photos without those smaller than a crop, with a warning: enlarged, they would be blurred all over.

    Raises:
        UserError: too few are left for a batch.
    """
    crop, batch = config.crops.crop, config.game.batch
    small = {
        at: f"{photos.names[at]} is {width}x{height}"
        for at, (height, width, *_) in enumerate(photos.shapes)
        if min(height, width) < crop
    }
    if not small:
        return photos
    places = [at for at in range(len(photos.names)) if at not in small]
    named = list(small.values())
    if len(places) < batch:
        raise UserError(
            f"{name}: {named[0]}, smaller than a crop of {crop}, as {len(small)} of {len(photos.names)} photos are; the"
            f" others are fewer than a batch of {batch}: lower crop, set photo_size, or add larger photos"
        )
    text = f"{name}: left out {len(small)} photos smaller than a crop of {crop}: {abbreviate(named)}"
    warnings.warn(text, stacklevel=3)
    return photos.only(places)


def _scenes(config: Config) -> Photos:
    side, scenes = config.sets.photo_size, config.sets.scenes
    if not side or not scenes:
        raise UserError("photo_size, scenes: must both be at least 1 for made scenes")

    def make(name: str, focus: Focus, count: int, seed: int) -> PhotoSet:
        # Seeds are spread so that the scenes of two runs, or of two sets of one run, never coincide.
        images, masks = make_scenes(
            count, SceneConfig(side, share_high=SHARE_HIGH), seed=3 * config.seed + seed, focus=focus
        )
        return PhotoSet(tuple(f"{name}{index:04d}" for index in range(count)), tuple(images), tuple(masks))

    source = make("source", "part", scenes, 0)
    if not config.supervised:
        source = replace(source, masks=None)
    clear = replace(make("clear", "all", scenes, 0), masks=None)
    blur = None if config.sets.blur == MADE else replace(make("blur", "none", scenes, 0), masks=None)
    return Photos(
        TrainingSets(source, clear, blur),
        make("validation", "part", VALIDATION_SCENES, 1),
        make("held out", "part", HELD_OUT_SCENES, 2),
    )
