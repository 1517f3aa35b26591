"""Scores masks against ground truths, those of a generator or those of any other program:

    python -m experiments.evaluate --images DIR --masks DIR --masks_white blurred|focused --weights FILE --out DIR
    python -m experiments.evaluate --images DIR --masks DIR --masks_white blurred|focused --predictions DIR --out DIR

Writes result.json, per_image.csv, curves.csv and curves.png. A figure means nothing without its protocol, nor without
the rows of the constant masks: both are always printed. The paper's generator takes 1.4 s a photo at 320 x 320 on 2
CPU cores, masks made earlier 0.1 s.
"""

from __future__ import annotations

import argparse
import csv
import io
import json
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from sgdbd_jax.cli import command, compiled
from sgdbd_jax.errors import UserError

if TYPE_CHECKING:
    import numpy as np

    from sgdbd_jax.evaluation.protocols import Protocol, SetScores

    MaskOf = Callable[[Path, np.ndarray], np.ndarray]  # a photo's file and pixels to its mask

Pair = tuple[Path, Path]  # a photo's file, and its ground truth's
COLUMNS = {  # of the printed table
    "f_measure": "F",
    "mae": "MAE",
    "precision": "precision",
    "recall": "recall",
    "max_f": "max F",
    "mean_f": "mean F",
    "s_measure": "S",
    "e_measure": "E",
    "weighted_f": "weighted F",
}


def main(argv: list[str] | None = None) -> int:
    """Parses `argv`, scores, writes the files and prints the table."""
    options = _parser().parse_args(argv)
    compiled.keep()

    from sgdbd_jax.evaluation.protocols import PAPER, score
    from sgdbd_jax.evaluation.sod import SOD
    from sgdbd_jax.files import write_atomically

    protocol = {"paper": PAPER, "sod": SOD}[options.protocol]
    pairs = _pair(options)
    if options.predictions:
        mask_of, pairs = _reading(options, protocol, pairs)
    else:
        mask_of = _detecting(options, protocol)
    pairs = _check(options, pairs, mask_of)
    scores = score(_masks_and_truths(options, protocol, pairs, mask_of), protocol)

    label = str(options.predictions or options.weights or "the shipped weights")
    files = {
        "per_image.csv": _csv(
            [{"image": image.name} | row for (image, _), row in zip(pairs, scores.rows, strict=True)]
        ),
        "curves.csv": _csv(_curve_rows(scores)),
        "curves.png": _plot(scores, label),
        "result.json": (json.dumps(scores.result, indent=2) + "\n").encode(),  # last: where it is, the others are
    }
    for name, data in files.items():
        write_atomically(options.out / name, data)
    print(_table(scores.result, label))
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
    judged.add_argument("--weights", type=Path, metavar="FILE", help="a generator's weights; those that are shipped")
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


def _pair(options: argparse.Namespace) -> list[Pair]:
    from sgdbd_jax.data.names import read_names
    from sgdbd_jax.data.photos import list_photos
    from sgdbd_jax.data.sources import pair_files

    names = read_names(options.names) if options.names is not None else None
    pairs, problems = pair_files(list_photos(options.images), list_photos(options.masks), names=names)
    _report(options, problems, left=len(pairs))
    return pairs


def _detecting(options: argparse.Namespace, protocol: Protocol) -> MaskOf:
    """Masks made by a generator, straight at the size that the protocol asks for."""
    from sgdbd_jax.detection.detector import Detector
    from sgdbd_jax.evaluation.scoring import stored

    detector = Detector.load(options.weights, work_size=options.work_size, refine=not options.no_refine)
    return lambda image, photo: stored(detector(photo, size=_size(protocol, photo)))


def _reading(options: argparse.Namespace, protocol: Protocol, pairs: Sequence[Pair]) -> tuple[MaskOf, list[Pair]]:
    """Masks made earlier, and the pairs for which there is one."""
    import numpy as np

    from sgdbd_jax.data.photos import list_photos, load_mask, resize_mask
    from sgdbd_jax.data.sources import describe, pair_files

    found, problems = pair_files([image for image, _ in pairs], list_photos(options.predictions))
    predictions = dict(found)
    missing, unknown = problems["photos without a mask"], problems["masks without a photo"]
    _report(options, {f"photos without a mask in {options.predictions}": missing}, left=len(found))
    if unknown:
        told = describe({f"masks in {options.predictions} that belong to no photo": unknown})
        print(f"warning: {told}", file=sys.stderr)

    def mask_of(image: Path, photo: np.ndarray) -> np.ndarray:
        path = predictions[image]
        mask = load_mask(path, white="focused").astype(np.float32) / 255
        size = _size(protocol, photo)
        # Protocol `paper` squashes all to one size, so masks that were made at it are as good as any.
        allowed = (size, photo.shape[:2]) if protocol.size else (size,)
        if mask.shape not in allowed:
            sizes = [f"{width}x{height}" for height, width in (mask.shape, photo.shape[:2])]
            raise UserError(f"{path} is {sizes[0]}, its photo {sizes[1]}")
        return resize_mask(mask, size)

    return mask_of, [pair for pair in pairs if pair[0] in predictions]


def _check(options: argparse.Namespace, pairs: Sequence[Pair], mask_of: MaskOf) -> list[Pair]:
    """Reads everything once before any scoring: a fault in the last file must not cost the time of the others.

    Returns:
        The pairs that can be scored.
    """
    from tqdm import tqdm

    from sgdbd_jax.data.polarity import focus_is_sharper, polarity_fault
    from sgdbd_jax.data.sources import load_pair, read_all

    def check(pair: Pair) -> bool | None:
        photo, truth = load_pair(*pair, white=options.masks_white)
        if options.predictions:
            mask_of(pair[0], photo)
        return focus_is_sharper(photo, truth)

    votes = list(tqdm(read_all(check, pairs), "checking", len(pairs), unit="photo", delay=1))
    faults = [str(vote) for vote in votes if isinstance(vote, UserError)]
    _report(options, {"pairs that cannot be used": faults}, left=len(pairs) - len(faults))
    fault = polarity_fault(vote for vote in votes if not isinstance(vote, UserError))
    if fault:
        print(f"warning: {options.masks}: {fault}; is --masks_white {options.masks_white} right?", file=sys.stderr)
    return [pair for pair, vote in zip(pairs, votes, strict=True) if not isinstance(vote, UserError)]


def _masks_and_truths(
    options: argparse.Namespace, protocol: Protocol, pairs: Sequence[Pair], mask_of: MaskOf
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """One mask and one truth at a time, `[H, W]` float32 in [0, 1]: a benchmark of large photos fits in memory too."""
    from tqdm import tqdm

    from sgdbd_jax.data.photos import resize_photo
    from sgdbd_jax.data.sources import load_pair

    for pair in tqdm(pairs, "scoring", unit="photo", delay=1):
        photo, truth = load_pair(*pair, white=options.masks_white)
        yield mask_of(pair[0], photo), resize_photo(truth, _size(protocol, photo)).astype("float32") / 255


def _size(protocol: Protocol, photo: np.ndarray) -> tuple[int, int]:
    return (protocol.size, protocol.size) if protocol.size else photo.shape[:2]


def _report(options: argparse.Namespace, problems: dict[str, list[str]], *, left: int) -> None:
    """Names and counts what cannot be scored: refuses it, or, if that is allowed, warns."""
    from sgdbd_jax.data.sources import describe

    told = describe(problems)
    if told and not options.allow_unpaired:
        raise UserError(f"{told}; mend or remove them, or pass --allow_unpaired to leave them out")
    if told:
        print(f"warning: left out {told}", file=sys.stderr)
    if not left:
        raise UserError(f"{options.images}, {options.masks}: nothing is left to score; files are paired by name")


def _csv(rows: Sequence[dict]) -> bytes:
    text = io.StringIO()
    writer = csv.DictWriter(text, fieldnames=list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(
        {name: f"{value:.6f}" if isinstance(value, float) else value for name, value in row.items()} for row in rows
    )
    return text.getvalue().encode()


def _curve_rows(scores: SetScores) -> list[dict[str, float]]:
    last = len(scores.curves["precision"]) - 1
    return [
        {"threshold": level / last} | {name: float(curve[level]) for name, curve in scores.curves.items()}
        for level in range(last + 1)
    ]


def _plot(scores: SetScores, label: str) -> bytes:
    """The PR and the F-measure curve, each beside that of a constant mask."""
    import numpy as np
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, 4.5), layout="constrained")
    left, right = figure.subplots(1, 2)
    curves = scores.curves
    left.plot(curves["recall"], curves["precision"])
    left.set(xlabel="recall", ylabel="precision")
    right.plot(np.linspace(0, 1, len(curves["f_measure"])), curves["f_measure"])
    right.set(xlabel="threshold", ylabel="F-measure")
    # Every pixel reaches threshold 0: what the curves hold there is what a mask that chooses everything gets.
    for axes, level in ((left, curves["precision"][0]), (right, curves["f_measure"][0])):
        axes.axhline(level, color="gray", linestyle=":", label="constant mask")
        axes.set(xlim=(0, 1), ylim=(0, 1.02))
        axes.grid(alpha=0.3)
        axes.legend(loc="lower left")
    figure.suptitle(f"{label}: protocol {scores.result['protocol']}, {scores.result['images']} images")
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=100)
    return buffer.getvalue()


def _table(result: dict, label: str) -> str:
    rows = {label: result, "all zeros": result["floors"]["zeros"], "all ones": result["floors"]["ones"]}
    columns = {name: title for name, title in COLUMNS.items() if name in result}
    title = f"protocol {result['protocol']}, {result['images']} images"
    width = max(map(len, (title, *rows)))
    lines = [" ".join([title.ljust(width), *(f"{column:>10}" for column in columns.values())])]
    lines += [" ".join([name.ljust(width), *(f"{row[key]:10.3f}" for key in columns)]) for name, row in rows.items()]
    return "\n".join(lines)


if __name__ == "__main__":
    command.run(main)
