"""Which photos of a folder: the names in a file, or a split of the CUHK benchmark."""

import csv
import functools
import importlib.resources
import os
from pathlib import Path

from sgdbd_jax.data.listing import photo_stem
from sgdbd_jax.errors import UserError


def read_names(where: str | os.PathLike) -> list[str]:
    """Names of photos.

    Args:
        where: a file: a CSV with a column `image`, or one name a line; or `cuhk:train`, `cuhk:validation` or
            `cuhk:test`.

    Raises:
        UserError: no such file or split, no names in it, or a CSV of several splits.
    """
    if not os.fspath(where):
        raise UserError("names: is empty; name a file, or cuhk:train, cuhk:validation or cuhk:test")
    benchmark, colon, split = os.fspath(where).partition(":")
    if colon and benchmark == "cuhk":
        return cuhk_names(split)
    try:
        text = Path(where).read_text(encoding="utf-8-sig")  # a spreadsheet's CSV begins with a byte order mark
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{where}: not a readable list of names ({error})") from error
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    names = lines
    if lines and "image" in next(csv.reader(lines, skipinitialspace=True)):
        rows = [row for row in csv.DictReader(lines, skipinitialspace=True) if row["image"]]
        splits = sorted({row.get("split") or "none" for row in rows})
        if len(splits) > 1:
            raise UserError(
                f"{where}: lists photos of several splits ({', '.join(splits)}); leave those of one, or the names alone"
            )
        names = [row["image"] for row in rows]
    if not names:
        raise UserError(f"{where}: holds no names")
    return names


def cuhk_names(split: str) -> list[str]:
    """The photos of a split of CUHK's 704 defocused ones, file names without extension.

    Raises:
        UserError: there is no such split.
    """
    names = [name for name, its_split in cuhk_split().items() if its_split == split]
    if not names:
        raise UserError(f"cuhk:{split}: no such split; there are {', '.join(dict.fromkeys(cuhk_split().values()))}")
    return names


@functools.cache
def cuhk_split() -> dict[str, str]:
    """The split of CUHK's 704 defocused photos, by file name without extension.

    `cuhk_split.csv` lists validation and test; the rest is train.
    """
    split = {f"out_of_focus{number:04d}": "train" for number in range(1, 705)}
    table = importlib.resources.files("sgdbd_jax.data").joinpath("cuhk_split.csv").read_text()
    return split | {photo_stem(row["image"]): row["split"] for row in csv.DictReader(table.splitlines())}
