"""The photos of a folder, and their names: how files are listed, paired by name, and chosen by name."""

import os
from collections.abc import Callable, Collection, Sequence
from pathlib import Path

from sgdbd_jax.data.formats import SUFFIXES
from sgdbd_jax.errors import UserError, abbreviate, shown


def list_photos(folder: str | os.PathLike) -> list[Path]:
    """Lists the image files of a folder, by extension in either case.

    Args:
        folder: the folder. Its subfolders are not looked into, and hidden files (a leading dot) are left out: they are
            other programs' thumbnails and forks.

    Returns:
        Paths sorted by name, the same on every machine.

    Raises:
        UserError: no such folder, not readable, or no image file in it.
    """
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
    photos = [Path(folder, name) for name in sorted(files) if _has_photo_suffix(name) and not name.startswith(".")]
    if not photos:
        raise UserError(f"{shown(folder)}: no photos; expected files ending in {', '.join(sorted(SUFFIXES))}")
    return photos


def photo_stem(name: str) -> str:
    """The name by which a photo is paired: without its image extension, other dots kept."""
    return name.rpartition(".")[0] if _has_photo_suffix(name) else name


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
            raise UserError(f"{path.parent}: {first.name} and {path.name} bear one name; rename or remove one")
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


def _has_photo_suffix(name: str) -> bool:
    return os.path.splitext(name)[1].lower() in SUFFIXES
