"""Scores masks against ground truths, those of a generator or those of any other program:

    python -m experiments.evaluate --images DIR --masks DIR --masks_white blurred|focused --weights FILE --out DIR
    python -m experiments.evaluate --images DIR --masks DIR --masks_white blurred|focused --predictions DIR --out DIR

Writes result.json, per_image.csv, curves.csv and curves.png. A figure means nothing without its protocol, nor without
the rows of the constant masks: both are always printed. The paper's generator takes 1.4 s a photo at 320 x 320 on 2
CPU cores, masks made earlier 0.1 s.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from sgdbd_jax.backend import start_jax
from sgdbd_jax.cli import command, compiled
from sgdbd_jax.detection.shipped import DEFAULT, SHIPPED
from sgdbd_jax.errors import UserError

if TYPE_CHECKING:
    import numpy as np

    from sgdbd_jax.evaluation.protocols import Protocol


def main(argv: list[str] | None = None) -> int:
    """Parses `argv`, scores, writes the files and prints the table."""
    options = _parser().parse_args(argv)
    compiled.keep()
    if options.predictions is None:
        start_jax()

    from tqdm import tqdm

    from sgdbd_jax.data.listing import list_masks, list_photos
    from sgdbd_jax.data.names import read_names
    from sgdbd_jax.data.pairs import describe, pair_files
    from sgdbd_jax.evaluation.pairs import Predictions, check_pairs, masks_and_truths
    from sgdbd_jax.evaluation.protocols import PAPER
    from sgdbd_jax.evaluation.report import FILES, table, write_report
    from sgdbd_jax.evaluation.scoring import score
    from sgdbd_jax.evaluation.sod import SOD
    from sgdbd_jax.files import check_folder

    check_folder(options.out, FILES)
    protocol = {"paper": PAPER, "sod": SOD}[options.protocol]
    white = options.masks_white
    names = read_names(options.names) if options.names is not None else None
    images, masks = (
        list_photos(options.images, warn=_warn),
        list_masks(options.masks, photos=options.images, warn=_warn),
    )
    pairs, problems = pair_files(images, masks, names=names)
    _leave_out(options, problems, left=len(pairs))

    predictions = None
    if options.predictions:
        predictions = Predictions(options.predictions, [image for image, _ in pairs], protocol, warn=_warn)
        pairs = [(image, truth) for image, truth in pairs if image in predictions]
        problems = {f"photos without a mask in {options.predictions}": predictions.missing}
        _leave_out(options, problems, left=len(pairs))
        if predictions.unknown:
            _warn(describe({f"masks in {options.predictions} that belong to no photo": predictions.unknown}))
    mask_of = predictions or _detector(options, protocol)

    with tqdm(desc="checking", total=len(pairs), unit="photo", delay=1) as bar:
        check = check_pairs(pairs, white=white, predictions=predictions, progress=lambda *_: bar.update())
    _leave_out(options, {"pairs that cannot be used": check.faults}, left=len(check.usable))
    if check.notes:
        _warn(f"{options.masks}: {check.notes}")
    if check.polarity:
        _warn(f"{options.masks}: {check.polarity}; is --masks_white {white} right?")
    if predictions and (notes := predictions.notes()):
        _warn(f"{options.predictions}: {notes}")
    if check.inversion and not check.polarity:  # else the ground truths are to blame
        _warn(f"{options.predictions}: {check.inversion}; they are read as white = in focus")

    usable = tqdm(check.usable, "scoring", unit="photo", delay=1)
    scores = score(masks_and_truths(usable, mask_of, white=white, protocol=protocol), protocol)
    weights = options.weights or DEFAULT
    label = str(options.predictions or (f"the shipped weights, {weights}" if weights in SHIPPED else weights))
    files = write_report(options.out, scores, images=[image.name for image, _ in check.usable], label=label)
    print(table(scores.result, label=label))
    print(f"{', '.join(files)} in {options.out}")
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m experiments.evaluate", description="Score in-focus masks against ground truths."
    )
    parser.add_argument("--images", required=True, type=Path, metavar="DIR", help="the photos")
    parser.add_argument("--masks", required=True, type=Path, metavar="DIR", help="their ground truths, named alike")
    parser.add_argument(
        "--masks_white",
        required=True,
        choices=("blurred", "focused"),
        help="what white means in the ground truths: blurred in CUHK's own, focused in DUT's",
    )
    judged = parser.add_mutually_exclusive_group()
    command.add_weights(judged)
    judged.add_argument("--predictions", type=Path, metavar="DIR", help="masks to score, white = in focus, named alike")
    parser.add_argument("--protocol", choices=("paper", "sod"), default="paper", help="%(default)s")
    command.add_work_size(parser)
    parser.add_argument("--names", metavar="FILE", help="file that names the photos to take, or cuhk:validation; all")
    parser.add_argument(
        "--allow_unpaired",
        action="store_true",
        help="leave out photos and masks without partner, of two sizes or unreadable, with a warning",
    )
    parser.add_argument("--out", required=True, type=Path, metavar="DIR", help="folder for the results")
    return parser


def _detector(options: argparse.Namespace, protocol: Protocol) -> Callable[[Path, np.ndarray], np.ndarray]:
    """The generator's masks, straight at the size that the protocol asks for."""
    from sgdbd_jax.detection.detector import Detector

    refine = command.asked_refinement(options)
    detector = Detector.load(options.weights, work_size=options.work_size, refine=refine)
    return lambda image, photo: detector(photo, size=protocol.size_of(photo))


def _leave_out(options: argparse.Namespace, problems: dict[str, list[str]], *, left: int) -> None:
    """Names and counts what cannot be scored: refuses it, or, if that is allowed, warns."""
    from sgdbd_jax.data.pairs import describe

    description = describe(problems)
    if description and not options.allow_unpaired:
        raise UserError(f"{description}; mend or remove them, or pass --allow_unpaired to leave them out")
    if description:
        _warn(f"left out {description}")
    if not left:
        raise UserError(f"{options.images}, {options.masks}: nothing is left to score; files are paired by name")


def _warn(message: str) -> None:
    print(f"warning: {message}", file=sys.stderr)


if __name__ == "__main__":
    command.run(main)
