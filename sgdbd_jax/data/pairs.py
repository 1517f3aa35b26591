"""Photos and the masks that belong to them: paired by name, read together."""

from collections.abc import Collection, Sequence
from pathlib import Path

import numpy as np

from sgdbd_jax.data.listing import by_stem, choose_photos, photo_stem
from sgdbd_jax.data.photos import White, load_mask, load_photo
from sgdbd_jax.errors import UserError, abbreviate


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
    mask_of = by_stem(masks, lambda name: photo_stem(name).removesuffix(".mask"))
    if names is not None:
        mask_of = {stem: path for stem, path in mask_of.items() if stem in photo_of}
    pairs = [(path, mask_of[stem]) for stem, path in photo_of.items() if stem in mask_of]
    return pairs, {
        "photos without a mask": [path.name for stem, path in photo_of.items() if stem not in mask_of],
        "masks without a photo": [path.name for stem, path in mask_of.items() if stem not in photo_of],
    }


def load_pair(image: Path, mask: Path, *, white: White) -> tuple[np.ndarray, np.ndarray]:
    """Reads a photo and its mask.

    Args:
        image, mask: their files.
        white: what white means in the mask file.

    Returns:
        `[H, W, 3]` uint8 photo and `[H, W]` uint8 mask, 255 = in focus.

    Raises:
        UserError: one cannot be read, or their sizes differ.
    """
    photo, truth = load_photo(image), load_mask(mask, white=white)
    if photo.shape[:2] != truth.shape:
        raise UserError(
            f"{image} is {photo.shape[1]}x{photo.shape[0]} pixels, its mask {truth.shape[1]}x{truth.shape[0]}"
        )
    return photo, truth


def describe(problems: dict[str, list[str]]) -> str:
    """Counts and names what is wrong: `{"photos without a mask": ["a.jpg"]}` to `1 photos without a mask: a.jpg`."""
    return "; ".join(f"{len(names)} {what}: {abbreviate(names)}" for what, names in problems.items() if names)
