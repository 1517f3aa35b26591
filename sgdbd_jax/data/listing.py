"""The photos of a folder, and their names: how files are listed, paired by name, and chosen by name."""

import os
import unicodedata
import warnings
from collections.abc import Callable, Collection, Sequence
from pathlib import Path

from sgdbd_jax.data.formats import EXPECTED, has_photo_suffix, is_photo
from sgdbd_jax.errors import UserError, abbreviate, shown

RESULT_ENDINGS = (".mask.png", ".overlay.png", ".cutout.png", ".binary.png")  # of the files that `sgdbd` writes
CLIP_OVERLAY = ".overlay.mp4"

Warn = Callable[[str], object]  # told, in one line, of files that are left out


def list_photos(folder: str | os.PathLike, *, warn: Warn | None = None) -> list[Path]:
    """Lists the photos of a folder: by extension in either case, or by their first bytes, as `formats.is_photo` says.

    Args:
        folder: the folder. Its subfolders are not looked into, and hidden files (a leading dot) are left out: they are
            other programs' thumbnails and forks. So are files that are named as results of `sgdbd` are.
        warn: told of such results; by default they are warned about.

    Returns:
        Paths sorted by name, the same on every machine.

    Raises:
        UserError: no such folder, not readable, or no photo in it.
    """
    images = _list_images(folder)
    photos = [path for path in images if not is_result(path.name)]
    if not photos:
        names = abbreviate([path.name for path in images])
        raise UserError(f"{shown(folder)}: no photos; all that is there is named as results of sgdbd are: {names}")
    return _leave_out(images, photos, folder, warn)


def list_masks(
    folder: str | os.PathLike, *, photos: str | os.PathLike | None = None, warn: Warn | None = None
) -> list[Path]:
    """Lists the images of a folder of masks, those that `sgdbd` writes among them; otherwise as `list_photos`.

    What else `sgdbd` wrote of a photo, beside its `NAME.mask.png`, is left out.

    Args:
        folder: the folder.
        photos: the folder of the photos; if it is the same, only files called `NAME.mask.png` are masks.
        warn: as in `list_photos`.

    Raises:
        UserError: as `list_photos`.
    """
    images = _list_images(folder)
    if photos is not None and os.path.realpath(photos) == os.path.realpath(folder):
        images = [path for path in images if is_result(path.name)]
        if not images:
            raise UserError(f"{shown(folder)}: no masks; beside photos, expected files called NAME.mask.png")
    names = {path.name.lower() for path in images}

    def is_beside_its_mask(name: str) -> bool:
        photo = next((name.removesuffix(ending) for ending in RESULT_ENDINGS[1:] if name.endswith(ending)), None)
        return photo is not None and photo + RESULT_ENDINGS[0] in names

    masks = [path for path in images if not is_beside_its_mask(path.name.lower())]
    return _leave_out(images, masks, folder, warn)


def _list_images(folder: str | os.PathLike) -> list[Path]:
    folder = Path(folder)

    def refuse(error: OSError) -> None:
        raise UserError(f"{shown(error.filename)}: cannot be listed ({error.strerror})") from error

    try:
        wrong = None if folder.is_dir() else "not a folder" if folder.exists() else "no such folder"
    except OSError as error:
        refuse(error)
    if wrong:
        raise UserError(f"{shown(folder)}: {wrong}; name a folder of photos")
    _, _, files = next(os.walk(folder, onerror=refuse))
    images = [Path(folder, name) for name in sorted(files) if is_photo(os.path.join(folder, name))]
    if not images:
        raise UserError(f"{shown(folder)}: no photos; expected {EXPECTED}")
    return images


def _leave_out(images: list[Path], kept: list[Path], folder: str | os.PathLike, warn: Warn | None) -> list[Path]:
    """What is kept of the images of a folder; the others are said."""
    if len(kept) < len(images):
        left = sorted({path.name for path in images} - {path.name for path in kept})
        text = f"{shown(folder)}: left out {len(left)} files named as results of sgdbd are: {abbreviate(left)}"
        if warn is not None:
            warn(text)
        else:
            warnings.warn(text, stacklevel=3)
    return kept


def is_result(name: str) -> bool:
    """Whether a file is named as those that `sgdbd` writes."""
    return name.lower().endswith((*RESULT_ENDINGS, CLIP_OVERLAY))


def bare_name(name: str) -> str:
    """A photo's file name without its image extension, other dots kept."""
    return name.rpartition(".")[0] if has_photo_suffix(name) else name


def photo_stem(name: str) -> str:
    """The name by which a photo is paired: its `bare_name`, however its accents are written (Unicode form NFC)."""
    return unicodedata.normalize("NFC", bare_name(name))


def by_stem(paths: Sequence[Path], stem_of: Callable[[str], str] = photo_stem) -> dict[str, Path]:
    """The files of one folder by the names that they are paired by.

    Args:
        paths: the files.
        stem_of: gives the name to pair by of a file name.

    Returns:
        A path a name, in the order of `paths`.

    Raises:
        UserError: two files claim one name.
    """
    files: dict[str, Path] = {}
    for path in paths:
        first = files.setdefault(stem_of(path.name), path)
        if first is not path:
            forms = unicodedata.normalize("NFC", first.name) == unicodedata.normalize("NFC", path.name)
            written = ", its accents written in two ways" if forms else ""
            raise UserError(f"{path.parent}: {first.name} and {path.name} bear one name{written}; rename or remove one")
    return files


def choose_photos(paths: Sequence[Path], names: Collection[str]) -> dict[str, Path]:
    """The photos of one folder that bear one of some names.

    Args:
        paths: the folder's photos, at least one.
        names: the photos wanted, with or without extension.

    Returns:
        The chosen paths by `photo_stem`, in the order of `paths`.

    Raises:
        UserError: two files claim one name, or no photo bears a name that is wanted.
    """
    photos, wanted = by_stem(paths), {photo_stem(name) for name in names}
    if missing := sorted(wanted - photos.keys()):
        raise UserError(f"{paths[0].parent}: no photo for {len(missing)} of the names asked for: {abbreviate(missing)}")
    return {stem: path for stem, path in photos.items() if stem in wanted}
