"""Which photos of a folder: the names in a file, or a split of the CUHK benchmark."""

import codecs
import contextlib
import csv
import functools
import importlib.resources
import os
from pathlib import Path

from sgdbd_jax.data.listing import photo_stem
from sgdbd_jax.errors import UserError

MARK = "\ufeff"
# What a list may begin with, as Windows' programs write it. UTF-32 first: its mark begins with UTF-16's.
MARKS = {
    codecs.BOM_UTF8: "utf-8",
    codecs.BOM_UTF32_LE: "utf-32-le",
    codecs.BOM_UTF32_BE: "utf-32-be",
    codecs.BOM_UTF16_LE: "utf-16-le",
    codecs.BOM_UTF16_BE: "utf-16-be",
}
NO_MARK = "looks like UTF-16 without a byte order mark; save the list as UTF-8"


def marked_text(data: bytes, *, errors: str = "strict") -> str | None:
    """The text of a list that begins with a byte order mark: of UTF-8, 16 or 32.

    Args:
        data: all of the list.
        errors: what becomes of bytes that are no UTF-8, as `bytes.decode` takes it.

    Returns:
        The text with its mark, `MARK`, and those that joined lists have further down; `None` without a mark, and where
        what follows is no such text, so that the mark is none.
    """
    for mark, encoding in MARKS.items():
        if data.startswith(mark):
            with contextlib.suppress(UnicodeError):
                return data.decode(encoding, errors if encoding == "utf-8" else "strict")
    return None


def lacks_mark(data: bytes) -> bool:
    """Whether a list seems to be UTF-16 that does not say so: of its first 64 bytes nearly every other is NUL."""
    halves = data[0:64:2], data[1:64:2]
    return len(data) > 4 and any(
        nul.count(0) >= 0.75 * len(nul) and not other.count(0) for nul, other in (halves, halves[::-1])
    )


def read_names(where: str | os.PathLike) -> list[str]:
    """Names of photos.

    Args:
        where: a file: a CSV with a column `image`, or one name a line, in UTF-8, or in UTF-16 or 32 with a byte order
            mark; or `cuhk:train`, `cuhk:validation` or `cuhk:test`.

    Raises:
        UserError: no such file or split, no names in it, no such text, or a CSV of several splits.
    """
    if not os.fspath(where):
        raise UserError("names: is empty; name a file, or cuhk:train, cuhk:validation or cuhk:test")
    benchmark, colon, split = os.fspath(where).partition(":")
    if colon and benchmark == "cuhk":
        return cuhk_names(split)
    try:
        data = Path(where).read_bytes()
        text = marked_text(data)
        if text is None:
            if lacks_mark(data):
                raise UserError(f"{where}: {NO_MARK}")
            text = data.decode()
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{where}: not a readable list of names ({error})") from error
    stripped = (line.lstrip(MARK).strip() for line in text.splitlines())
    lines = [line for line in stripped if line]
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
