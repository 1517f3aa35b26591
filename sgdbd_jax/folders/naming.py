"""What the results of a photo are called: so that none overwrites those of another, and short enough for a file."""

import hashlib
import os
import unicodedata
from collections.abc import Mapping, Sequence

from sgdbd_jax.folders.inputs import Photo
from sgdbd_jax.folders.outputs import ENDINGS

LONGEST = 255 - max(map(len, ENDINGS))  # bytes of a name, by the limit that most file systems have for a file's


def name_results(photos: Sequence[Photo], kept: Mapping[str, str]) -> list[str]:
    """Names for the results of photos, relative to the folder of results, none twice.

    A photo's results are named by its place, with `-2`, `-3`, ... where others are named so already, or so alike that
    some file systems see no difference. A name that would be too long is cut, as `fitting` does. Which files exist
    plays no part: the same photos get the same names again.

    Args:
        photos: in the order of `find_photos`.
        kept: names from earlier runs, by absolute path; these photos keep them, and no other gets them.

    Returns:
        A name a photo.
    """
    taken = {_alike(name) for name in kept.values()}
    counts: dict[str, int] = {}  # how often a place was met, by how it reads
    names = []
    for photo in photos:
        name = kept.get(photo.absolute)
        if name is None or name != fitting(name):  # an earlier version had no limit, and failed
            alike = _alike(photo.place)
            name, count = fitting(photo.place), counts.get(alike, 1)
            while _alike(name) in taken:
                count += 1
                name = fitting(photo.place, f"-{count}")
            counts[alike] = count
        taken.add(_alike(name))
        names.append(name)
    return names


def fitting(name: str, count: str = "") -> str:
    """A name of results with room for its ending.

    Args:
        name: as a photo's place.
        count: what is to follow it.

    Returns:
        Both; if that is too long, the name's last part is cut between two characters, and ends in 8 digits by which
        it differs from others that begin alike.
    """
    folder, slash, last = name.rpartition("/")
    if len(os.fsencode(last + count)) > LONGEST:
        digits = "-" + hashlib.sha256(os.fsencode(last)).hexdigest()[:8] + count
        while len(os.fsencode(last + digits)) > LONGEST:
            last = last[:-1]
        count = digits
    return f"{folder}{slash}{last}{count}"


def _alike(name: str) -> str:
    """The same for names that differ in case, or in how accents are written."""
    return unicodedata.normalize("NFC", name.casefold())
