"""Focus stacks: `python -m experiments.stack PHOTOS... --out DIR`.

The photos show one scene, each focused at another depth, and lie on each other; those that do not are named. Writes
all_in_focus.png, a picture that is sharp wherever a photo is; index.png, the number of the sharpest photo at each
pixel, from 1, and 0 where none is in focus; index_colours.png, the same to look at; and stack.csv, a row a photo with
its number, its colour, and its share. `--pairs DIR` measures instead how often the right photo of two is chosen.

Exit code: 0; 1 if a photo was left out, though the others are done; 2 if fewer than two are left.
"""

from __future__ import annotations

import argparse
import csv
import io
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from sgdbd_jax.backend import start_jax
from sgdbd_jax.cli import command, compiled
from sgdbd_jax.errors import UserError, shown

if TYPE_CHECKING:
    from sgdbd_jax.detection.detector import Detector

NAMES = ("stack.csv", "all_in_focus.png", "index.png", "index_colours.png")


def main(argv: list[str] | None = None) -> int:
    """Parses `argv`, writes the pictures, and returns the exit code."""
    parser = _parser()
    options = parser.parse_args(argv)
    if options.pairs is None and not (options.photos and options.out):
        parser.error("name photos, and a folder for the results by --out")
    if options.pairs is not None and (options.photos or options.out):
        parser.error("--pairs measures only; leave photos and --out out")
    compiled.keep()
    start_jax()

    from sgdbd_jax.detection.detector import Detector
    from sgdbd_jax.files import check_folder

    if options.out is not None:
        check_folder(options.out, NAMES)
        theirs = next((options.out / name for name in NAMES[1:] if (options.out / name).exists()), None)
        if theirs is not None and not (options.out / NAMES[0]).exists():  # which comes first of all
            raise UserError(f"{shown(theirs)}: was not written by this command; move it away, or name another --out")
    detect = Detector.load(options.weights, work_size=options.work_size, refine=command.asked_refinement(options))
    if options.pairs is not None:
        return _measure(detect, options.pairs)
    return _stack(detect, options.photos, options.out)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m experiments.stack",
        description="Of aligned photos of one scene, each focused at another depth: which is sharp where, where none"
        " is, and a picture that is sharp all over.",
    )
    parser.add_argument("photos", nargs="*", metavar="PHOTO", help="the photos by depth; or their folder, or a pattern")
    parser.add_argument("--out", type=Path, metavar="DIR", help="folder for the results")
    parser.add_argument(
        "--pairs",
        type=Path,
        metavar="DIR",
        help="measure on scenes photographed twice, as `results --pairs` reads them",
    )
    command.add_weights(parser)
    command.add_work_size(parser)
    return parser


def _stack(detect: Detector, arguments: list[str], out: Path) -> int:
    from tqdm import tqdm

    from sgdbd_jax.data.photos import load_photo
    from sgdbd_jax.files import write_atomically
    from sgdbd_jax.folders.inputs import find_photos
    from sgdbd_jax.folders.report import as_text
    from sgdbd_jax.pictures import png
    from sgdbd_jax.stacks.alignment import ALLOWED, displacement, for_alignment
    from sgdbd_jax.stacks.fusing import Stack, colours, index_picture, shares

    def say(text: str) -> None:
        tqdm.write(text, file=sys.stderr)

    inputs = find_photos(arguments, recursive=False, read_list=lambda: sys.stdin.buffer.read())
    failed = [f"{shown(path)}: {reason}" for path, reason in inputs.refused.items()]
    for line in failed:
        say(f"error: {line}")
    results = {os.path.realpath(out / name) for name in NAMES}
    photos = [photo for photo in inputs.photos if os.path.realpath(photo.path) not in results]
    left = len(inputs.photos) - len(photos) + len(inputs.results)
    if left:
        say(f"warning: left out {left} {'file' if left == 1 else 'files'} named as results of this command or of sgdbd")
    stack, taken, size, before, first = Stack(), [], None, None, None
    for photo in tqdm(photos, unit="photo", delay=1):
        try:
            pixels = load_photo(photo.path)
            if size not in (None, pixels.shape):
                sizes = (f"{shape[1]} x {shape[0]}" for shape in (pixels.shape, size))
                raise UserError("{}: is {}, and the first photo {}".format(shown(photo.path), *sizes))
        except UserError as error:
            failed.append(str(error))
            say(f"error: {error}")
            continue
        size, seen = pixels.shape, for_alignment(pixels)
        if before is None:
            first = seen
        else:
            apart = displacement(before, seen)
            drift = None if first is None else displacement(first, seen)
            if drift is not None and drift > ALLOWED:
                first = None  # said once: the others are off it likewise
            if apart is None:
                say(f"warning: {shown(photo.path)}: is too unlike the one before to tell whether they are aligned")
            elif apart > ALLOWED:
                distance = f"{apart * max(size):.0f} pixels"
                say(f"warning: {shown(photo.path)}: lies {distance} off the one before; align the photos first")
            elif drift is not None and drift > ALLOWED:
                distance = f"{drift * max(size):.0f} pixels"
                say(f"warning: {shown(photo.path)}: lies {distance} off the first, bit by bit; align the photos first")
        before = seen
        stack.add(pixels, detect(pixels))
        taken.append(photo.path)
    if len(taken) < 2:
        raise UserError(f"a stack takes at least two photos that can be read, here {len(taken)}; name more")
    index, count = stack.index, len(taken)
    table = io.StringIO(newline="")
    writer = csv.writer(table)
    writer.writerow(("number", "path", "colour", "share"))
    for number, (path, colour, share) in enumerate(zip(["", *taken], colours(count), shares(index, count))):
        writer.writerow((number, as_text(str(path)), "#{:02x}{:02x}{:02x}".format(*colour), round(share, 4)))
    write_atomically(out / "stack.csv", table.getvalue().encode(errors="backslashreplace"))
    write_atomically(out / "all_in_focus.png", png(stack.picture))
    write_atomically(out / "index.png", png(index.astype("uint8") if count < 256 else index))
    write_atomically(out / "index_colours.png", png(index_picture(index, count)))
    print(f"{count} photos in {shown(out)}/all_in_focus.png; in {shares(index, count)[0]:.0%} of it none is in focus")
    return 1 if failed else 0


def _measure(detect: Detector, folder: Path) -> int:
    """Prints how many of the known pixels are given to the right photo of two, by three rules."""
    import numpy as np
    from tqdm import tqdm

    from sgdbd_jax.evaluation.two_focus import UNKNOWN, load_two_focus
    from sgdbd_jax.stacks.fusing import MASK, Stack

    rules = {"gradients and masks": MASK, "gradients alone": 0.0, "masks alone": None}
    right: dict[str, list[float]] = {name: [] for name in rules}
    scenes = load_two_focus(folder)
    assert scenes.masks is not None
    pairs = zip(scenes.images[::2], scenes.images[1::2], scenes.masks[::2], strict=True)
    for first, second, vote in tqdm(pairs, total=len(scenes.images) // 2, unit="pair", delay=1):
        masks = detect(first), detect(second)
        known = vote != UNKNOWN
        for name, weight in rules.items():
            if weight is None:
                is_first = masks[0] >= masks[1]
            else:
                stack = Stack(mask_weight=weight)
                for photo, mask in zip((first, second), masks, strict=True):
                    stack.add(photo, mask)
                is_first = stack.sharpest == 1
            right[name].append(float((is_first == (vote == 255))[known].mean()))
    print(f"{len(scenes.images) // 2} pairs: share of known pixels given to the right photo   mean    lowest tenth")
    for name, found in right.items():
        lowest = np.sort(found)[: max(1, len(found) // 10)].mean()
        print(f"  {name:62} {np.mean(found):.3f}   {lowest:.3f}")
    return 0


if __name__ == "__main__":
    command.run(main)
