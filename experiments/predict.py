"""Masks for photos: `python -m experiments.predict PATH... --out DIR`.

Writes one 8-bit `NAME.mask.png` a photo, at the size the photo is displayed at; white = in focus. Photos that share a
name get `NAME.mask.png`, `NAME-2.mask.png`, ..., and the command says which is which. Exit code: 0; 1 if any photo
failed, though the others are done; 2 if there was nothing to do or no way to do it.
"""

from __future__ import annotations

import argparse
import io
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from experiments import allocator, command, compiled
from sgdbd_jax.errors import UserError

if TYPE_CHECKING:
    import numpy as np

OURS = (".mask.png", ".overlay.png")  # results are not photos, even where they lie among them
TINT = (90, 0, 160)  # RGB that the blurred part of an overlay is drawn towards


def main(argv: list[str] | None = None) -> int:
    """Parses `argv`, writes the masks, and returns the exit code."""
    options = _parser().parse_args(argv)
    photos, failed = _photos(options.paths)
    if not photos and failed:  # each path has been named
        return 2
    if not photos:
        raise UserError(f"no photos, but only results of this command ({', '.join(f'*{end}' for end in OURS)})")

    compiled.keep()

    from tqdm import tqdm

    from sgdbd_jax.data.photos import load_photo
    from sgdbd_jax.detector import Detector
    from sgdbd_jax.weights import write_atomically

    detector = Detector.load(options.weights, work_size=options.work_size, refine=not options.no_refine)
    done = 0
    for path, name in tqdm(_named(photos), unit="photo", delay=1):
        try:
            photo = load_photo(path)
        except UserError as error:
            _say(f"error: {error}")
            failed += 1
            continue
        mask = detector(photo)
        write_atomically(options.out / f"{name}.mask.png", _png(mask * 255))
        if options.overlay:
            write_atomically(options.out / f"{name}.overlay.png", _png(overlay(photo, mask)))
        done += 1
    print(f"{done} masks in {options.out}" + (f"; {failed} photos or paths failed" if failed else ""))
    return 0 if not failed else 1 if done else 2


def overlay(photo: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """The photo as it is where in focus, darkened and violet where blurred.

    Args:
        photo: `[H, W, 3]` uint8 RGB.
        mask: `[H, W]` float in [0, 1], 1 = in focus.

    Returns:
        `[H, W, 3]` float in [0, 255].
    """
    strength = 0.65 * (1 - mask[..., None])  # the blurred part stays recognisable
    return (1 - strength) * photo + strength * TINT


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m experiments.predict", description="In-focus masks for photos.")
    parser.add_argument("paths", nargs="+", type=Path, metavar="PATH", help="a photo, or a folder of photos")
    parser.add_argument("--out", required=True, type=Path, metavar="DIR", help="folder for NAME.mask.png")
    parser.add_argument("--weights", type=Path, metavar="FILE", help="a generator's weights; those that are shipped")
    command.add_work_size(parser)
    parser.add_argument("--overlay", action="store_true", help="also NAME.overlay.png: the photo, blurred part tinted")
    return parser


def _photos(paths: Iterable[Path]) -> tuple[list[Path], int]:
    """The photos that the paths stand for, each once, and how many paths stand for none."""
    from sgdbd_jax.data.photos import list_photos

    found: dict[Path, Path] = {}
    failed = 0
    for path in paths:
        try:
            if not path.exists():
                raise UserError(f"{path}: no such file or folder")
            photos = [p for p in list_photos(path) if not p.name.endswith(OURS)] if path.is_dir() else [path]
        except UserError as error:
            _say(f"error: {error}")
            failed += 1
            continue
        for photo in photos:
            found.setdefault(photo.resolve(), photo)
    return list(found.values()), failed


def _named(photos: Iterable[Path]) -> list[tuple[Path, str]]:
    """Gives each photo a name of its own for its results, and says where that is not simply its stem."""
    owners: dict[str, Path] = {}  # by name in lower case: some file systems see no difference between NAME and name
    named = []
    for photo in photos:
        name, count = photo.stem, 1
        while name.lower() in owners:
            count += 1
            name = f"{photo.stem}-{count}"
        if count > 1:
            _say(f"warning: {photo}: its mask is {name}.mask.png, for {owners[photo.stem.lower()]} has the same name")
        owners[name.lower()] = photo
        named.append((photo, name))
    return named


def _png(pixels: np.ndarray) -> bytes:
    """A PNG file of floats in [0, 255]: grey for `[H, W]`, RGB for `[H, W, 3]`."""
    from PIL import Image

    buffer = io.BytesIO()
    Image.fromarray(pixels.round().astype("uint8")).save(buffer, "PNG")
    return buffer.getvalue()


def _say(line: str) -> None:
    """One line on standard error, above a progress bar if there is one."""
    from tqdm import tqdm

    tqdm.write(line, file=sys.stderr)


if __name__ == "__main__":
    allocator.use_huge_pages()
    command.run(main)
