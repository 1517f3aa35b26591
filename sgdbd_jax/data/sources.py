"""Sets of photos, with masks or without, read from folders: decoded once, and kept as uint8 where they fit."""

import functools
import os
import warnings
import zlib
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from sgdbd_jax.data.listing import choose_photos, list_masks, list_photos
from sgdbd_jax.data.pairs import Notes, describe, load_pair, pair_files
from sgdbd_jax.data.photos import White, load_mask, load_photo
from sgdbd_jax.data.resizing import squash
from sgdbd_jax.data.threads import Progress, read_all
from sgdbd_jax.errors import UserError

KEEP = 2 << 30  # bytes of the photos of one set that stay in memory: 7000 at 320 x 320


class FileImages(Sequence[np.ndarray]):
    """Decoded files: the first ones stay in memory, up to a number of bytes; the others are decoded at each access.

    Which of them stay makes no difference to the time of an epoch, which draws every photo once.
    """

    def __init__(self, read: Callable[[Path], np.ndarray], keep: int):
        """Begins without any file.

        Args:
            read: decodes one.
            keep: bytes of decoded images that may stay in memory.
        """
        self.shapes: list[tuple[int, ...]] = []
        self.checksums: list[int] = []  # CRC-32 of the decoded pixels
        self._paths: list[Path] = []
        self._kept: list[np.ndarray] = []
        self._read, self._room = read, keep

    def append(self, path: Path, image: np.ndarray) -> None:
        """Adds a file, and the image that it was decoded to."""
        self._paths.append(path)
        self.shapes.append(image.shape)
        self.checksums.append(zlib.crc32(image.tobytes()))
        self._room -= image.nbytes
        if self._room >= 0:
            self._kept.append(image)

    def only(self, places: Sequence[int]) -> "FileImages":
        """Those at some places, in order; what memory holds of them stays there."""
        chosen = FileImages(self._read, self._room)
        chosen._paths = [self._paths[at] for at in places]
        chosen.shapes = [self.shapes[at] for at in places]
        chosen.checksums = [self.checksums[at] for at in places]
        chosen._kept = [self._kept[at] for at in places if at < len(self._kept)]
        return chosen

    def __len__(self) -> int:
        return len(self._paths)

    def __getitem__(self, index: Any) -> Any:
        """An image, or a list of them for a slice.

        Raises:
            UserError: a file that is decoded anew is gone, damaged, or of another size than before.
        """
        if isinstance(index, slice):
            return [self[at] for at in range(*index.indices(len(self)))]
        at = range(len(self))[index]
        if at < len(self._kept):
            return self._kept[at]
        image = self._read(self._paths[at])
        if image.shape != self.shapes[at]:
            raise UserError(f"{self._paths[at]}: was changed while it is in use; start again to go on with it")
        return image


@dataclass(frozen=True, eq=False)
class PhotoSet:
    """Photos, and their masks where they have any; in the order of their names.

    Attributes:
        names: the photos' file names.
        images: one `[H, W, 3]` uint8 array a photo; H and W differ where the photos keep their own sizes.
        masks: one `[H, W]` uint8 array a photo, 255 = in focus; `None` without masks.
        skipped: names of files that could not be read and were left out, each warned about.
    """

    names: tuple[str, ...]
    images: Sequence[np.ndarray]
    masks: Sequence[np.ndarray] | None = None
    skipped: tuple[str, ...] = ()

    @functools.cached_property
    def shapes(self) -> list[tuple[int, ...]]:
        """The shape of each of `images`; known without decoding any."""
        if isinstance(self.images, FileImages):
            return self.images.shapes
        return [image.shape for image in self.images]

    def only(self, places: Sequence[int]) -> "PhotoSet":
        """The photos at some places, in that order, with their masks."""
        names, masks = tuple(self.names[at] for at in places), self.masks
        masks = None if masks is None else _only(masks, places)
        return replace(self, names=names, images=_only(self.images, places), masks=masks)

    @property
    def identities(self) -> list[tuple[Any, ...]]:
        """What tells each photo from others: its name, its shape, and checksums of its pixels and of its mask's."""
        sums = [_checksums(images) for images in (self.images, self.masks) if images is not None]
        return list(zip(self.names, self.shapes, *sums, strict=True))


def load_folder(
    folder: str | os.PathLike,
    *,
    size: int | None,
    names: Collection[str] | None = None,
    workers: int | None = None,
    progress: Progress | None = None,
) -> PhotoSet:
    """Reads every photo of a folder; one that cannot be read is skipped with a warning that names it.

    All are decoded, even those that do not stay in memory: what cannot be read must be left out from the start.

    Args:
        folder: the folder; its subfolders are not looked into.
        size: photos are squashed to `size` x `size` pixels; `None` keeps their own sizes.
        names: the photos to read, with or without extension; `None` takes all.
        workers: threads that decode; by default one a core.
        progress: called after each photo.

    Returns:
        The photos, without masks.

    Raises:
        UserError: no such folder, no photos in it, no photo of a name asked for, or none that can be read.
    """
    paths = list_photos(folder)
    if names is not None:
        paths = list(choose_photos(paths, names).values())

    def read(path: Path) -> np.ndarray:
        return squash(load_photo(path), size)

    kept, images, refused = [], FileImages(read, KEEP), {}
    for path, photo in zip(paths, read_all(read, paths, workers=workers, progress=progress), strict=True):
        if isinstance(photo, UserError):
            refused[path.name] = photo
        else:
            kept.append(path.name)
            images.append(path, photo)
    if not kept:
        raise UserError(f"{folder}: none of its {len(paths)} photos can be read; {next(iter(refused.values()))}")
    for error in refused.values():
        warnings.warn(f"left out: {error}", stacklevel=2)
    return PhotoSet(tuple(kept), images, skipped=tuple(refused))


def load_pairs(
    images: str | os.PathLike,
    masks: str | os.PathLike,
    *,
    white: White,
    size: int | None,
    names: Collection[str] | None = None,
    progress: Progress | None = None,
) -> PhotoSet:
    """Reads a folder of photos and the folder of their masks, paired by file name without extension.

    A mask may also be called `NAME.mask.png`, as `experiments.predict` writes it. Masks that are odd are warned about.

    Args:
        images: folder of photos.
        masks: folder of masks, each as large as its photo.
        white: what white means in the mask files.
        size: photos and masks are squashed to `size` x `size` pixels; `None` keeps their own sizes.
        names: the photos to read, with or without extension; `None` takes all.
        progress: called after each pair.

    Returns:
        The photos with their masks.

    Raises:
        UserError: a folder or a name is missing, two files claim one name; or anything does not pair, differs in size
            or cannot be read: all of it is named and counted.
    """
    where = f"{images}, {masks}"
    pairs, unpaired = pair_files(list_photos(images), list_masks(masks, photos=images), names=names)
    _refuse(unpaired, where)

    notes = Notes()

    def read(pair: tuple[Path, Path]) -> tuple[np.ndarray, np.ndarray]:
        photo, mask = load_pair(*pair, white=white, note=notes.of(pair[1]))
        return squash(photo, size), squash(mask, size)

    photos = FileImages(lambda path: squash(load_photo(path), size), KEEP)
    truths = FileImages(lambda path: squash(load_mask(path, white=white), size), KEEP // 3)
    refused = []
    for (image, mask), result in zip(pairs, read_all(read, pairs, progress=progress), strict=True):
        if isinstance(result, UserError):
            refused.append(str(result))
        else:
            photos.append(image, result[0])
            truths.append(mask, result[1])
    _refuse({"pairs that cannot be used": refused}, where)
    if text := notes.text():
        warnings.warn(f"{masks}: {text}", stacklevel=2)
    return PhotoSet(tuple(image.name for image, _ in pairs), photos, truths)


def _refuse(problems: dict[str, list[str]], where: str) -> None:
    if text := describe(problems):
        raise UserError(f"{where}: {text}; mend or remove them")


def _only(images: Sequence[np.ndarray], places: Sequence[int]) -> Sequence[np.ndarray]:
    return images.only(places) if isinstance(images, FileImages) else [images[at] for at in places]


def _checksums(images: Sequence[np.ndarray]) -> list[int]:
    if isinstance(images, FileImages):
        return images.checksums
    return [zlib.crc32(image.tobytes()) for image in images]
