"""Photos and the masks that belong to them: paired by name, read together."""

import os
from collections.abc import Collection, Sequence
from pathlib import Path

import numpy as np

from sgdbd_jax.data.colours import Note
from sgdbd_jax.data.formats import has_photo_suffix
from sgdbd_jax.data.labels import DIM
from sgdbd_jax.data.listing import by_stem, choose_photos, photo_stem
from sgdbd_jax.data.photos import White, load_mask, load_photo
from sgdbd_jax.errors import UserError, abbreviate

# Of 255: a tenth of white, below which protocol `paper` takes no pixel of a ground truth for in focus.
DARKEST_WHITE = 26


def pair_files(
    images: Sequence[Path], masks: Sequence[Path], *, names: Collection[str] | None = None
) -> tuple[list[tuple[Path, Path]], dict[str, list[str]]]:
    """Pairs photos with masks by file name without extension (and, of a mask, without `.mask`).

    Args:
        images, masks: their files.
        names: the photos wanted, with or without extension; `None` takes all.

    Returns:
        The pairs (photo, mask) in the order of `images`; and the names of the files that have no partner, by what is
        wrong with them.

    Raises:
        UserError: two files claim one name, or no photo bears a name that is wanted.
    """
    photo_of = by_stem(images) if names is None else choose_photos(images, names)
    mask_of = by_stem(masks, _mask_stem)
    mask_for = {path: mask_of[stem] for stem, path in photo_of.items() if stem in mask_of}
    left = [path for stem, path in mask_of.items() if stem not in photo_of]
    mask_for |= _pair_loosely([path for path in photo_of.values() if path not in mask_for], left)
    pairs = [(path, mask_for[path]) for path in photo_of.values() if path in mask_for]
    return pairs, {
        "photos without a mask": [path.name for path in photo_of.values() if path not in mask_for],
        "masks without a photo": [path.name for path in left if names is None and path not in mask_for.values()],
    }


def _mask_stem(name: str) -> str:
    return photo_stem(name).removesuffix(".mask")


def _pair_loosely(photos: Sequence[Path], masks: Sequence[Path]) -> dict[Path, Path]:
    """Pairs `a.dat` with `a.png`: one of the two has an extension that is no image's, and no other file is called `a`.

    `IMG.1` and `IMG.2`, both of one kind, are not of one name.
    """
    claims: dict[str, tuple[list[Path], list[Path]]] = {}
    for side, (paths, stem_of) in enumerate(((photos, photo_stem), (masks, _mask_stem))):
        for path in paths:
            stem = stem_of(path.name)
            name = stem if has_photo_suffix(path.name) else os.path.splitext(stem)[0]
            claims.setdefault(name, ([], []))[side].append(path)
    return {
        photo[0]: mask[0]
        for photo, mask in claims.values()
        if len(photo) == len(mask) == 1 and has_photo_suffix(photo[0].name) != has_photo_suffix(mask[0].name)
    }


class Notes:
    """What is noted of files, and of which; for several threads."""

    def __init__(self) -> None:
        self._names: dict[str, list[str]] = {}

    def of(self, path: Path) -> Note:
        """What takes the notes of one file."""
        return lambda what: self._names.setdefault(what, []).append(path.name)

    def __getitem__(self, what: str) -> list[str]:
        return sorted(self._names.get(what, ()))

    def text(self, *, leave_out: Collection[str] = ()) -> str:
        """All of them, counted and named as by `describe`."""
        return describe({what: self[what] for what in sorted(self._names) if what not in leave_out})


def load_pair(
    image: Path, mask: Path, *, white: White, note: Note = lambda what: None
) -> tuple[np.ndarray, np.ndarray]:
    """Reads a photo and its mask, a ground truth.

    Args:
        image, mask: their files.
        white: what white means in the mask file.
        note: as `load_mask` calls it.

    Returns:
        `[H, W, 3]` uint8 photo and `[H, W]` uint8 mask, 255 = in focus.

    Raises:
        UserError: one cannot be read, their sizes differ, or the mask's numbers are too small to be greys, as those of
            labels 0, 1 and 2 are.
    """
    photo, truth = load_photo(image), load_mask(mask, white=white, note=note)
    if photo.shape[:2] != truth.shape:
        raise UserError(
            f"{image} is {photo.shape[1]}x{photo.shape[0]} pixels, its mask {truth.shape[1]}x{truth.shape[0]}"
        )
    brightest = int(truth.max() if white == "focused" else 255 - truth.min())
    if 0 < brightest < DARKEST_WHITE:
        raise UserError(
            f"{mask}: its brightest value is {brightest} of 255, so nothing is white; scale it to 0 and 255"
        )
    if 0 < brightest < 128:
        note(DIM)
    return photo, truth


def describe(problems: dict[str, list[str]]) -> str:
    """Counts and names what is wrong: `{"photos without a mask": ["a.jpg"]}` to `1 photos without a mask: a.jpg`."""
    return "; ".join(f"{len(names)} {what}: {abbreviate(names)}" for what, names in problems.items() if names)
