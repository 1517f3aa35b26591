"""What the results of a photo are called, so that no photo overwrites those of another."""

import unicodedata
from collections.abc import Mapping, Sequence

from sgdbd_jax.folders.inputs import Photo


def name_results(photos: Sequence[Photo], kept: Mapping[str, str]) -> list[str]:
    """Names for the results of photos, relative to the folder of results, none twice.

    A photo's results are named by its place, with `-2`, `-3`, ... where others are named so already, or so alike that
    some file systems see no difference. Which files exist plays no part: the same photos get the same names again.

    Args:
        photos: in the order of `find_photos`.
        kept: names from earlier runs, by absolute path; these photos keep them, and no other gets them.

    Returns:
        A name a photo.
    """
    taken = {_alike(name) for name in kept.values()}
    names = []
    for photo in photos:
        name, count = kept.get(photo.absolute, photo.place), 1
        while photo.absolute not in kept and _alike(name) in taken:
            count += 1
            name = f"{photo.place}-{count}"
        taken.add(_alike(name))
        names.append(name)
    return names


def _alike(name: str) -> str:
    """The same for names that differ in case, or in how accents are written."""
    return unicodedata.normalize("NFC", name.casefold())
