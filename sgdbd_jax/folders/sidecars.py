"""Sidecars: XMP files beside photos, by which darktable, digiKam and Adobe's programs take over ratings and keywords.

Of a sidecar that is there, all that others wrote stays. What was written last is noted in it, in a namespace of our
own, so that what a person has changed since is told from what is ours to change.
"""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from sgdbd_jax.data.formats import has_raw_suffix
from sgdbd_jax.data.listing import bare_name
from sgdbd_jax.data.metadata import embedded_xmp
from sgdbd_jax.detection.focus import FLAGS, Focus
from sgdbd_jax.errors import UserError, shown
from sgdbd_jax.files import write_atomically
from sgdbd_jax.folders.record import Record
from sgdbd_jax.folders.xmp import EMPTY, Packet

RATINGS = (0.5, 0.58, 0.64, 0.7)  # scores from which a photo has 2, 3, 4 and 5 stars
REJECTED = -1
LARGEST = 2**26  # bytes of a sidecar; the edits of a photo come to some million at the most
FLAG_KEYWORDS = {flag: f"focus: {flag.replace('_', ' ')}" for flag in FLAGS}
IN_BURST, BEST = "focus: burst", "focus: best of burst"
KEYWORDS = frozenset({*FLAG_KEYWORDS.values(), IN_BURST, BEST})  # all that are ever written
_NO_RATING = (None, "", "0", "0.0")
# Programs that find a list of tags with their places in a hierarchy read that, and not the plain one.
_LISTS = ("dc:subject", "lr:hierarchicalSubject", "digiKam:TagsList")


@dataclass(frozen=True)
class Sidecars:
    """Which sidecars photos get.

    Attributes:
        names: `full`: `photo.jpg.xmp`, as darktable and digiKam have it; `adobe`: `photo.xmp`.
        ratings: scores from which a photo has 2, 3, 4 and 5 stars, ascending.
        overwrite: whether ratings, and keywords of ours, are set that a person has set or taken away, here or in the
            photo's own file.
    """

    names: Literal["full", "adobe"] = "full"
    ratings: tuple[float, ...] = RATINGS
    overwrite: bool = False

    def path(self, photo: Path) -> Path:
        """A photo's sidecar."""
        name = photo.name if self.names == "full" else bare_name(photo.name)
        return photo.with_name(f"{name}.xmp")

    def chosen(self, photos: Iterable[Path], *, asked: Collection[Path]) -> dict[Path, Path]:
        """The photo of each sidecar: of a raw file and a JPEG beside it that would share one, the raw file.

        Args:
            photos: those that are done.
            asked: all that were to be done. A raw file that is not among them keeps its sidecar as it is; a JPEG stands
                for one that failed.
        """
        photo_of: dict[Path, Path] = {}
        for photo in sorted(photos, key=lambda photo: not has_raw_suffix(photo.name)):
            photo_of.setdefault(self.path(photo), photo)
        if self.names == "full":
            return photo_of
        taken: set[Path] = set()
        for folder in {path.parent for path in photo_of}:
            with contextlib.suppress(OSError):
                beside = [folder / name for name in os.listdir(folder) if has_raw_suffix(name)]
                taken.update(self.path(raw) for raw in beside if raw not in asked)
        return {path: photo for path, photo in photo_of.items() if has_raw_suffix(photo.name) or path not in taken}

    def rating(self, focus: Focus) -> int:
        """1 to 5 stars by the score; `REJECTED` where nothing is sharp."""
        if "nothing_sharp" in focus.flags:
            return REJECTED
        return 1 + sum(focus.score >= least for least in self.ratings)

    def write(self, path: Path, record: Record) -> bool:
        """Writes a photo's sidecar, or merges into the one that is there.

        Args:
            path: the sidecar; of a link, the file that it leads to is changed.
            record: of a photo that is done.

        Returns:
            Whether the file has changed.

        Raises:
            UserError: the sidecar cannot be read, edited or written; it stays as it was.
        """
        assert record.focus is not None
        data, mode = _read(path)
        try:
            rating = None if is_rated(record.path) and not self.overwrite else self.rating(record.focus)
            merged = merge(data or EMPTY, rating, keywords(record), overwrite=self.overwrite)
            Packet(merged)
        except ValueError as error:
            raise UserError(f"{shown(path)}: left as it is, for it is {error}; mend it, or move it away") from error
        if merged == (data or EMPTY):  # nothing to say needs no file
            return False
        write_atomically(os.path.realpath(path), merged, mode=mode)
        return True


def _read(path: Path) -> tuple[bytes, int]:
    """What a sidecar holds, and who may read and write it; nothing where there is none yet."""
    try:
        state, trouble = path.stat(), ""
        if not stat.S_ISREG(state.st_mode):  # opening a pipe would wait for whoever writes into it
            trouble = "is no file; move it away"
        elif state.st_size > LARGEST:
            trouble = f"is larger than {LARGEST >> 20} MiB; mend it, or move it away"
        elif not os.access(path, os.W_OK):
            trouble = "may not be written; change its permissions, or move it away"
        else:
            return path.read_bytes(), stat.S_IMODE(state.st_mode)
    except FileNotFoundError:
        if not path.is_symlink():
            return b"", 0o644
        trouble = "is a link that leads nowhere; remove it"
    except OSError as error:
        raise UserError(f"{shown(path)}: cannot be read ({error.strerror or error})") from error
    raise UserError(f"{shown(path)}: left as it is, for it {trouble}")


def keywords(record: Record) -> list[str]:
    """Those of `KEYWORDS` that a photo has."""
    words = [] if record.focus is None else [FLAG_KEYWORDS[flag] for flag in record.focus.flags]
    return words + [IN_BURST] * (record.burst is not None) + [BEST] * record.best


def is_rated(photo: str | os.PathLike) -> bool:
    """Whether a photo's own file holds a rating, as cameras and some programs write it; 0 is none."""
    try:
        return Packet((embedded_xmp(photo) or EMPTY).rstrip(b"\0")).value("xmp:Rating") not in _NO_RATING
    except ValueError:
        return False


def merge(data: bytes, rating: int | None, words: Collection[str], *, overwrite: bool) -> bytes:
    """A packet with a rating and keywords.

    A rating is set where there is none (0 is none), or where it is the one that was written last; else a person gave
    or took it. Of the keywords, those written last that hold no more are removed, and those that were not are added:
    what a person removed does not come back, and what a person added stays.

    Args:
        data: the packet.
        rating: -1 to 5; `None`: as it is.
        words: some of `KEYWORDS`.
        overwrite: set the rating, and of `KEYWORDS` just those, whatever a person did.

    Returns:
        The packet; the same bytes where nothing changes.

    Raises:
        ValueError: as `Packet`.
    """
    packet = Packet(data)
    found, ours = packet.value("xmp:Rating"), packet.value("sgdbd:Rating")
    is_ours = found in _NO_RATING if ours is None else found == ours
    if rating is not None and (is_ours or overwrite):
        _set(packet, "xmp:Rating", str(rating))
        _set(packet, "sgdbd:Rating", str(rating))
    last = set((packet.value("sgdbd:Keywords") or "").split("; ")) - {""}
    unwanted = (KEYWORDS if overwrite else last) - set(words)
    wanted = [word for word in words if overwrite or word not in last]
    for name in _LISTS:
        items = packet.items(name)
        if items is None and name != _LISTS[0]:
            continue
        missing = [word for word in wanted if word not in (items or ())]
        packet.change_items(name, add=missing, remove=unwanted)
    if words or last:
        _set(packet, "sgdbd:Keywords", "; ".join(words))
    return packet.data()


def _set(packet: Packet, name: str, text: str) -> None:
    if packet.value(name) != text:
        packet.set_value(name, text)
