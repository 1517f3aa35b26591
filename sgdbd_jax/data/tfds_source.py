"""Sets of photos read from our tfds data sets."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import numpy as np

from sgdbd_jax.data.resizing import squash
from sgdbd_jax.data.sources import PhotoSet
from sgdbd_jax.data.threads import Progress, read_all
from sgdbd_jax.errors import UserError

if TYPE_CHECKING:
    from sgdbd_jax.data.tfds_builder import Record


def load_tfds(
    name: str,
    split: str,
    *,
    size: int | None,
    data_dir: str | os.PathLike | None = None,
    manual_dir: str | os.PathLike | None = None,
    progress: Progress | None = None,
) -> PhotoSet:
    """Reads a split of one of our tfds data sets, and prepares the data set the first time.

    All photos stay in memory: the sets are small.

    Args:
        name: `"cuhk"`, `"dut"`, `"fcfb"` or `"fcsb"`; `"fcsb/3D"` for one of its configs.
        split: one of the data set's `SPLITS`: see `sgdbd_jax.data.tfds_sets`.
        size: photos and masks are squashed to `size` x `size` pixels; `None` keeps their own sizes.
        data_dir: where tfds keeps prepared data; by default its own choice, `~/tensorflow_datasets`.
        manual_dir: the folder in which a folder called `name` holds the files as downloaded. Needed the first time.
        progress: called after each photo.

    Returns:
        The photos, with masks where the data set has them.

    Raises:
        UserError: an unknown data set or split, not prepared and no files to prepare it from, or files that are not
            the data set's.
    """
    from sgdbd_jax.data.tfds_sets import read_split  # imports tfds, which takes half a second

    records = read_split(name, split, data_dir=data_dir, manual_dir=manual_dir)

    def read(record: Record) -> tuple[np.ndarray, np.ndarray | None]:
        photo, mask = record.decode()
        return squash(photo, size), None if mask is None else squash(mask, size)

    photos, masks = [], []
    for result in read_all(read, records, progress=progress):
        if isinstance(result, UserError):
            raise result
        photos.append(result[0])
        masks += [result[1]] if result[1] is not None else []
    return PhotoSet(tuple(record.name for record in records), tuple(photos), tuple(masks) or None)
