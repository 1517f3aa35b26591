"""Keeps photos that are scored out of trainings."""

import os
from collections.abc import Collection
from pathlib import Path

from sgdbd_jax.data.listing import list_photos, photo_stem
from sgdbd_jax.data.names import read_names
from sgdbd_jax.errors import UserError


def refuse_scored(
    option: str, folder: Path, names: str | os.PathLike | None, *, scored_in: Path, scored: Collection[str]
) -> None:
    """Refuses a folder to train on if photos are to be scored that are taken from it.

    Args:
        option: that names the folder.
        folder: of the training's photos.
        names: which of them, as `read_names` takes it; `None` for all.
        scored_in: the folder of the photos that are scored.
        scored: their names.

    Raises:
        UserError: there are some; or the folder or the names cannot be read.
    """
    if folder.resolve() != scored_in.resolve():
        return
    paths = [] if names else list_photos(folder, warn=lambda text: None)  # the training will tell
    taken = read_names(names) if names else [path.name for path in paths]
    both = sorted({photo_stem(name) for name in taken} & {photo_stem(name) for name in scored})
    if both:
        how = ", as by --source_names cuhk:train" if option == "source" else ""
        raise UserError(
            f"{option}: {len(both)} of its photos are to be scored, {both[0]} among them; choose others{how}"
        )
