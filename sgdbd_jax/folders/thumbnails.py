"""The report's small pictures: files in a folder beside it, and those that pages of earlier versions hold."""

import base64
import binascii
import hashlib
import re
from collections.abc import Iterable
from pathlib import Path

from sgdbd_jax.files import write_atomically

FOLDER = "report_thumbnails"
KINDS = ("photo", "overlay")
# A card's beginning, or a picture in it, of a page that holds its pictures.
CARD_OR_PICTURE = re.compile(
    r'<article id="([0-9a-f]{16})"|.*?<img class="(photo|overlay)" src="data:image/jpeg;base64,'
)


def photo_key(path: str) -> str:
    """Stands for a photo's path in names of files and in pages, whatever characters it has."""
    return hashlib.sha256(path.encode(errors="surrogatepass")).hexdigest()[:16]


def thumbnail_name(key: str, kind: str) -> str:
    """Where a thumbnail lies, relative to the report: a folder's size has limits, so there are 256 of them."""
    return f"{FOLDER}/{key[:2]}/{key}.{kind}.jpg"


def thumbnail_folders(out: Path) -> list[Path]:
    """Those that are there."""
    return list((out / FOLDER).glob("??"))


def write_thumbnails(out: Path, path: str, pictures: Iterable[bytes]) -> None:
    """Writes a photo's thumbnails, in place of earlier ones.

    Args:
        out: folder of the report.
        path: of the photo.
        pictures: a JPEG for each of `KINDS`.

    Raises:
        UserError: as `write_atomically`.
    """
    for kind, jpeg in zip(KINDS, pictures, strict=True):
        write_atomically(out / thumbnail_name(photo_key(path), kind), jpeg, durable=False)


def has_thumbnails(out: Path, path: str) -> bool:
    """Whether a photo's thumbnails are there; files that a power failure emptied are none."""
    try:
        return all((out / thumbnail_name(photo_key(path), kind)).stat().st_size for kind in KINDS)
    except OSError:
        return False


def take_out(page: Path) -> None:
    """Makes files of the pictures that a page holds, where there are none; it is read line by line.

    Args:
        page: a report's, of any version; need not be there.
    """
    if not page.exists():
        return
    key = ""
    with page.open(encoding="utf-8", errors="replace", newline="\n") as lines:
        for line in lines:
            if not (match := CARD_OR_PICTURE.match(line)):
                continue
            if match[1]:
                key = match[1]
            elif key and not (path := page.parent / thumbnail_name(key, match[2])).exists():
                try:
                    jpeg = base64.b64decode(line[match.end() :].partition('"')[0], validate=True)
                except binascii.Error:
                    continue
                write_atomically(path, jpeg, durable=False)
