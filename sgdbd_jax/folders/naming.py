"""What the results of a photo are called: so that none overwrites those of another, and short enough for a file."""

from __future__ import annotations

import hashlib
import os
import re
import unicodedata
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Protocol

from sgdbd_jax.folders.outputs import ENDINGS
from sgdbd_jax.video.reading import is_clip

CLIP_FOLDERS = FRAMES, MASKS = ".frames", ".masks"  # end the names of the folders that a clip gets
MADE_HERE = b"made by sgdbd_jax"  # stands in the files there, which are not taken for the user's, nor those for them

LONGEST = 255 - max(map(len, ENDINGS))  # bytes of a name, by the limit that most file systems have for a file's


class Placed(Protocol):
    """A photo or clip, as far as its results' name goes; see `folders.inputs.Photo`."""

    @property
    def absolute(self) -> str: ...

    @property
    def place(self) -> str: ...

    @property
    def clip(self) -> bool: ...


def name_results(photos: Sequence[Placed], kept: Mapping[str, str]) -> list[str]:
    """Names for the results of photos, relative to the folder of results, none twice.

    A photo's results are named by its place, with `-2`, `-3`, ... where others are named so already, or so alike that
    some file systems see no difference; clips and photos do not count as others, for their endings differ.
    A name that would be too long is cut, as `fitting` does. Which files exist plays no part: the same photos get the
    same names again.

    Args:
        photos: in the order of `find_photos`.
        kept: names from earlier runs, by absolute path; these photos keep them, and no other gets them.

    Returns:
        A name a photo.
    """
    taken = {(is_clip(path), _alike(name)) for path, name in kept.items()}
    counts: dict[tuple[bool, str], int] = {}  # how often a place was met, by how it reads
    names = []
    for photo in photos:
        name = kept.get(photo.absolute)
        if name is None or name != fitting(name):  # an earlier version had no limit, and failed
            alike = photo.clip, _alike(photo.place)
            name, count = fitting(photo.place), counts.get(alike, 1)
            while (photo.clip, _alike(name)) in taken:
                count += 1
                name = fitting(photo.place, f"-{count}")
            counts[alike] = count
        taken.add((photo.clip, _alike(name)))
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


def frame_name(clip: str, number: int, ending: str) -> str:
    """The name of a file in one of a clip's folders.

    Args:
        clip: the last part of the name of the clip's results.
        number: of the frame, from 1.
        ending: of the file's name.
    """
    return fitting(clip, f"_{number:06}") + ending


def is_named_as_frame(name: str, folder: str) -> bool:
    """Whether a file is named as the frames or masks of a clip are in a folder of that name."""
    clip, ending = os.path.splitext(folder)
    found = re.search(r"_(\d{6,})(\.jpg|\.png|\.jpg\.png)$", name)
    return bool(found and ending in CLIP_FOLDERS and name == frame_name(clip, int(found[1]), found[2]))


def is_frame(path: Path, folder: str | None = None) -> bool:
    """Whether a file was written as a frame or a mask of a clip, by its name and by what stands in it.

    Args:
        path: the file.
        folder: the name of the folder that it is to come into; by default, of that which it is in.

    Raises:
        OSError: it cannot be read.
    """
    if not is_named_as_frame(path.name, folder or path.parent.name):
        return False
    with path.open("rb") as file:
        begin = file.read(200)
    return MADE_HERE in begin or not begin  # a power failure may have emptied it


def _alike(name: str) -> str:
    """The same for names that differ in case, or in how accents are written."""
    return unicodedata.normalize("NFC", name.casefold())
