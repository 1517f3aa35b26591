"""Photos and masks from a folder, two folders, or a tfds data set: decoded once, and kept as uint8 where they fit."""

import functools
import os
import warnings
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from sgdbd_jax.data.photos import White, list_photos, load_mask, load_photo, photo_stem, resize_photo
from sgdbd_jax.data.threads import work_ahead
from sgdbd_jax.errors import UserError

Item = TypeVar("Item")
Result = TypeVar("Result")
Progress = Callable[[int, int], None]  # called with the photos done and their whole number

KEEP = 2 << 30  # bytes of the photos of one set that stay in memory: 7000 at 320 x 320


class FileImages(Sequence[np.ndarray]):
    """Decoded files, of which as many stay in memory as are allowed to; the others are decoded anew each time.

    An epoch draws every photo once, so it does not matter which of them stay: the first ones do.
    """

    def __init__(self, read: Callable[[Path], np.ndarray], keep: int):
        """Begins without any file.

        Args:
            read: decodes one.
            keep: bytes of decoded images that may stay in memory.
        """
        self.shapes: list[tuple[int, ...]] = []
        self._paths: list[Path] = []
        self._kept: list[np.ndarray] = []
        self._read, self._room = read, keep

    def append(self, path: Path, image: np.ndarray) -> None:
        """Adds a file, and what `read` gave of it."""
        self._paths.append(path)
        self.shapes.append(image.shape)
        self._room -= image.nbytes
        if self._room >= 0:
            self._kept.append(image)

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
        skipped: file names that were left out, each warned about.
    """

    names: tuple[str, ...]
    images: Sequence[np.ndarray]
    masks: Sequence[np.ndarray] | None = None
    skipped: tuple[str, ...] = ()

    @functools.cached_property
    def shapes(self) -> list[tuple[int, ...]]:
        """The shape of each of `images`, for which none is decoded."""
        if isinstance(self.images, FileImages):
            return self.images.shapes
        return [image.shape for image in self.images]


def load_folder(
    folder: str | os.PathLike,
    *,
    size: int | None,
    names: Collection[str] | None = None,
    keep: int = KEEP,
    workers: int | None = None,
    progress: Progress | None = None,
) -> PhotoSet:
    """Reads every photo of a folder; one that cannot be read is skipped with a warning that names it.

    All are decoded, even where memory does not hold them all: which photos a set has must not depend on what was drawn.

    Args:
        folder: the folder; its subfolders are not looked into.
        size: photos are squashed to `size` x `size` pixels; `None` keeps their own sizes.
        names: the photos to read, with or without extension; `None` takes all.
        keep: bytes of photos that stay in memory; beyond it they are decoded again when they are drawn.
        workers: threads that decode; by default one a core.
        progress: called after each photo.

    Returns:
        The photos, without masks.

    Raises:
        UserError: no such folder, no photos in it, no photo of a name asked for, or none that can be read.
    """
    paths = list_photos(folder)
    if names is not None:
        paths = list(_named(paths, names).values())

    def read(path: Path) -> np.ndarray:
        return _fit(load_photo(path), size)

    found, images, refused = [], FileImages(read, keep), {}
    for path, photo in zip(paths, read_all(read, paths, workers=workers, progress=progress), strict=True):
        if isinstance(photo, UserError):
            refused[path.name] = photo
        else:
            found.append(path.name)
            images.append(path, photo)
    if not found:
        raise UserError(f"{folder}: none of its {len(paths)} photos can be read; {next(iter(refused.values()))}")
    for error in refused.values():
        warnings.warn(f"left out: {error}", stacklevel=2)
    return PhotoSet(tuple(found), images, skipped=tuple(refused))


def load_pairs(
    images: str | os.PathLike,
    masks: str | os.PathLike,
    *,
    white: White,
    size: int | None,
    names: Collection[str] | None = None,
    allow_unpaired: bool = False,
    keep: int = KEEP,
    progress: Progress | None = None,
) -> PhotoSet:
    """Reads a folder of photos and the folder of their masks, paired by file name without extension.

    A mask may also be called `NAME.mask.png`, as `experiments.predict` writes it.

    Args:
        images: folder of photos.
        masks: folder of masks, each as large as its photo.
        white: what white means in the mask files.
        size: photos and masks are squashed to `size` x `size` pixels; `None` keeps their own sizes.
        names: the photos to read, with or without extension; `None` takes all.
        allow_unpaired: leave out what does not pair, differs in size or cannot be read, with a warning, rather than
            refuse it.
        keep: bytes of photos that stay in memory, their masks besides; beyond it pairs are decoded again.
        progress: called after each pair.

    Returns:
        The photos with their masks.

    Raises:
        UserError: a folder or a name is missing, two files claim one name, no pair is left; or, unless allowed,
            anything does not pair, differs in size or cannot be read: all of it is named and counted.
    """
    where = f"{images}, {masks}"
    pairs, problems = pair_files(list_photos(images), list_photos(masks), names=names)
    _report(problems, where, allow=allow_unpaired)
    unpaired = [name for names in problems.values() for name in names]

    def read(pair: tuple[Path, Path]) -> tuple[np.ndarray, np.ndarray]:
        photo, mask = load_pair(*pair, white=white)
        return _fit(photo, size), _fit(mask, size)

    found, refused = [], {}
    photos = FileImages(lambda path: _fit(load_photo(path), size), keep)
    truths = FileImages(lambda path: _fit(load_mask(path, white=white), size), keep // 3)
    for (image, mask), result in zip(pairs, read_all(read, pairs, progress=progress), strict=True):
        if isinstance(result, UserError):
            refused[image.name] = str(result)
        else:
            found.append(image.name)
            photos.append(image, result[0])
            truths.append(mask, result[1])
    _report({"pairs that cannot be used": list(refused.values())}, where, allow=allow_unpaired)
    if not found:
        raise UserError(f"{where}: no photo with a usable mask; masks bear the names of their photos")
    return PhotoSet(tuple(found), photos, truths, (*unpaired, *refused))


def load_tfds(
    name: str,
    split: str,
    *,
    size: int | None,
    data_dir: str | os.PathLike | None = None,
    manual_dir: str | os.PathLike | None = None,
    progress: Progress | None = None,
) -> PhotoSet:
    """Reads a split of one of our tfds data sets, preparing it the first time. All stays in memory: the sets are small.

    Args:
        name: `"cuhk"`, `"dut"`, `"fcfb"` or `"fcsb"`; `"fcsb/3D"` for one of its configs.
        split: one of the data set's: see `sgdbd_jax.data.tfds_builders`.
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
    from sgdbd_jax.data import tfds_builders

    records = tfds_builders.read_split(name, split, data_dir=data_dir, manual_dir=manual_dir)

    def read(record: tfds_builders.Record) -> tuple[np.ndarray, np.ndarray | None]:
        photo, mask = record.decode()
        return _fit(photo, size), None if mask is None else _fit(mask, size)

    photos, masks = [], []
    for result in read_all(read, records, progress=progress):
        if isinstance(result, UserError):
            raise result
        photos.append(result[0])
        masks += [result[1]] if result[1] is not None else []
    return PhotoSet(tuple(record.name for record in records), tuple(photos), tuple(masks) or None)


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
    by_stem = _unique(images, photo_stem) if names is None else _named(images, names)
    mask_by_stem = _unique(masks, lambda name: photo_stem(name).removesuffix(".mask"))
    if names is not None:
        wanted = {photo_stem(name) for name in names}
        mask_by_stem = {stem: path for stem, path in mask_by_stem.items() if stem in wanted}
    pairs = [(path, mask_by_stem[stem]) for stem, path in by_stem.items() if stem in mask_by_stem]
    return pairs, {
        "photos without a mask": [path.name for stem, path in by_stem.items() if stem not in mask_by_stem],
        "masks without a photo": [path.name for stem, path in mask_by_stem.items() if stem not in by_stem],
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


def read_all(
    read: Callable[[Item], Result],
    items: Sequence[Item],
    *,
    workers: int | None = None,
    progress: Progress | None = None,
) -> Iterator[Result | UserError]:
    """Calls `read` on every item in threads (PIL decodes outside the interpreter's lock).

    Yields:
        What it returns, in order; a `UserError` in the place of an item that it refuses.
    """

    def attempt(item: Item) -> Result | UserError:
        try:
            return read(item)
        except UserError as error:
            return error

    for done, result in enumerate(work_ahead(attempt, items, workers=workers), start=1):
        yield result
        if progress is not None:
            progress(done, len(items))


def describe(problems: dict[str, list[str]]) -> str:
    """Counts and names what is wrong: `{"photos without a mask": ["a.jpg"]}` to `1 photos without a mask: a.jpg`."""
    return "; ".join(f"{len(names)} {what}: {some(names)}" for what, names in problems.items() if names)


def some(names: Sequence[str], limit: int = 6) -> str:
    """The first few of a list of names, and how many more there are."""
    more = len(names) - limit
    return ", ".join(names[:limit]) + (f" and {more} more" if more > 0 else "")


def _unique(paths: Sequence[Path], stem_of: Callable[[str], str]) -> dict[str, Path]:
    found: dict[str, Path] = {}
    for path in paths:
        first = found.setdefault(stem_of(path.name), path)
        if first is not path:
            raise UserError(f"{path.parent}: {first.name} and {path.name} bear one name; rename or remove one")
    return found


def _named(paths: Sequence[Path], names: Collection[str]) -> dict[str, Path]:
    by_stem, wanted = _unique(paths, photo_stem), {photo_stem(name) for name in names}
    if missing := sorted(wanted - by_stem.keys()):
        raise UserError(f"{paths[0].parent}: no photo for {len(missing)} of the names asked for: {some(missing)}")
    return {stem: path for stem, path in by_stem.items() if stem in wanted}


def _report(problems: dict[str, list[str]], where: str, *, allow: bool) -> None:
    """Warns about the problems if they are allowed, refuses them if not."""
    told = describe(problems)
    if told and not allow:
        raise UserError(f"{where}: {told}; mend or remove them, or allow unpaired files to leave them out")
    if told:
        warnings.warn(f"{where}: left out {told}", stacklevel=3)


def _fit(image: np.ndarray, size: int | None) -> np.ndarray:
    return image if size is None else resize_photo(image, (size, size))
