"""The paper's Table 3, run: its rivals, our weights and masks of any program on the same photos, by the same protocols.

    python -m experiments.compare --images DIR --masks DIR --masks_white blurred --names cuhk:validation --out DIR
    python -m experiments.compare ... --methods svd,hifst,lite --predictions mine=DIR
    python -m experiments.compare ... --train srid,dhcf --clear DIR
    python -m experiments.compare ... --train dbdf,ksfv --source DIR --source_masks DIR --source_names cuhk:train \\
        --source_masks_white blurred

writes `compare.md`, `compare.json`, the curves of all in `pr_curves.png` and `f_curves.png`, and `masks.png`, a few
photos with the maps of all. Of detectors without weights or packages the paper's numbers are printed alone.

A map once made is kept in `maps/`, with what made it: stopped, the same command goes on, and makes again only maps of
photos, weights or code that have changed. With `--train`, detectors are trained first; their weights, in `weights/`,
take the place of the shipped ones from then on. Seconds are those of the detector alone, one photo at a time while this
command does nothing else: their median over photos of a size of which the process had seen another, so that all was
compiled; where every photo is of a size of its own, those of one that is done twice.
"""

from __future__ import annotations

import argparse
import contextlib
import functools
import json
import re
import signal
import sys
from collections.abc import Callable, Collection, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sgdbd_jax.baselines.detectors import DETECTORS, Entry
from sgdbd_jax.cli import command, compiled
from sgdbd_jax.errors import UserError

if TYPE_CHECKING:
    from sgdbd_jax.data.sources import PhotoSet
    from sgdbd_jax.evaluation.pairs import Pair, Predictions
    from sgdbd_jax.evaluation.side_by_side import SideBySide

CONSTANT = [entry for entry in DETECTORS.values() if entry.kind == "constant"]
LEARNING = ("clear", "source", "source_masks", "source_masks_white", "source_names", "vgg16", "steps")
FILES = ("pr_curves.png", "f_curves.png", "masks.png", "compare.md", "compare.json")


def main(argv: list[str] | None = None) -> int:
    """Parses `argv`, trains what is asked for, makes and scores maps, writes the files and prints the table."""
    options = _parser().parse_args(argv)
    methods, trained = _methods(options.methods), _trained(options)
    folders = _predictions(options.predictions)
    compiled.keep()

    from sgdbd_jax.baselines.trained import check_options

    for entry in trained:  # what is missing is said before photos are read
        entry.check_training()
        check_options(entry, steps=options.steps, vgg16=options.vgg16)

    from sgdbd_jax.data.apart import refuse_scored
    from sgdbd_jax.evaluation.side_by_side import SideBySide
    from sgdbd_jax.files import check_folder
    from sgdbd_jax.folders.alone import alone

    check_folder(options.out, FILES)
    for folder in ("maps", "weights"):
        check_folder(options.out / folder)
    with alone(options.out, say=_say):
        pairs, predictions = _pairs(options, folders)
        scored = [photo.name for photo, _ in pairs]
        for what, names in {"source": options.source_names, "clear": None}.items():
            if trained and (folder := getattr(options, what)) is not None:
                refuse_scored(what, folder, names, scored_in=options.images, scored=scored)
        bench = SideBySide(
            pairs, white=options.masks_white, folder=options.out, say=_say, watch=_watch, time_again=options.time_again
        )
        for entry in trained:
            if code := _train(options, entry, set(bench.digests.values())):
                return code
        return _compare(options.out, bench, methods, predictions)


def _compare(out: Path, bench: SideBySide, methods: Sequence[Entry], predictions: dict[str, Predictions]) -> int:
    """Scores all, writes what there is to write, prints the table; the exit code."""
    from sgdbd_jax.evaluation.comparison import as_json, markdown
    from sgdbd_jax.evaluation.curves import plot_comparison
    from sgdbd_jax.files import write_atomically
    from sgdbd_jax.pictures import photo_grid

    rows = [bench.row(entry) for entry in methods]
    rows += [
        bench.row_of(Entry(name, name, "elsewhere", label="masks made elsewhere"), masks)
        for name, masks in predictions.items()
    ]
    rows += [bench.row(entry) for entry in CONSTANT]
    images = len(bench.pairs)
    drawn = {row.entry.name.replace("`", ""): row for row in rows[: -len(CONSTANT)] if row.curves}
    curves = {name: row.curves for name, row in drawn.items()}
    how: dict[str, Any] = {
        "constant": rows[-1].curves,
        "bold": [name for name, row in drawn.items() if row.entry.kind != "baseline"],
        "title": f"protocol paper, {images} photos",
    }
    pictures = {
        "pr_curves.png": plot_comparison(curves, "precision_recall", **how),
        "f_curves.png": plot_comparison(curves, "f_measure", **how),
        "masks.png": photo_grid(*bench.shown()),
    }
    table = markdown(rows, images=images, machines=sorted(bench.machines))
    embedded = "".join(f"\n![{name.removesuffix('.png')}]({name})\n" for name in pictures)
    files = {
        **pictures,
        "compare.md": (table + embedded).encode(errors="backslashreplace"),
        "compare.json": (json.dumps(as_json(rows, images=images), indent=1) + "\n").encode(),
    }
    for name, data in files.items():
        write_atomically(out / name, data)
    print(table, end="")
    return 1 if bench.failures else 0


def _pairs(options: argparse.Namespace, folders: dict[str, Path]) -> tuple[list[Pair], dict[str, Predictions]]:
    """The photos and their truths, and the masks made elsewhere, all of which have been read once.

    Raises:
        UserError: anything does not pair or cannot be read: all of it is named and counted.
    """
    from tqdm import tqdm

    from sgdbd_jax.data.listing import list_masks, list_photos
    from sgdbd_jax.data.names import read_names
    from sgdbd_jax.data.pairs import pair_files
    from sgdbd_jax.evaluation.pairs import Predictions, check_pairs
    from sgdbd_jax.evaluation.protocols import PAPER

    white = options.masks_white
    names = read_names(options.names) if options.names is not None else None
    images = list_photos(options.images, warn=_warn)
    pairs, problems = pair_files(images, list_masks(options.masks, photos=options.images, warn=_warn), names=names)
    where = f"{options.images}, {options.masks}"
    _refuse(where, problems)
    if not pairs:
        raise UserError(f"{where}: nothing to score; files are paired by name")
    photos = [photo for photo, _ in pairs]
    predictions = {name: Predictions(folder, photos, PAPER, warn=_warn) for name, folder in folders.items()}
    for name, masks in predictions.items():
        _refuse(f"{name}: {folders[name]}", {"photos without a mask": masks.missing})
    judged: list[tuple[str, Predictions | None]] = [*predictions.items()] or [("", None)]
    for named, its_masks in judged:
        with tqdm(desc="checking", total=len(pairs), unit="photo", delay=1, leave=False) as bar:
            check = check_pairs(pairs, white=white, predictions=its_masks, progress=lambda *_: bar.update())
        _refuse(
            where if its_masks is None else f"{named}: {folders[named]}", {"pairs that cannot be used": check.faults}
        )
        if its_masks and (notes := its_masks.notes()):
            _warn(f"{folders[named]}: {notes}")
        if check.inversion and not check.polarity:  # else the ground truths are to blame
            _warn(f"{folders[named]}: {check.inversion}; they are read as white = in focus")
    if check.notes:
        _warn(f"{options.masks}: {check.notes}")
    if check.polarity:
        _warn(f"{options.masks}: {check.polarity}; is --masks_white {white} right?")
    return pairs, predictions


def _train(options: argparse.Namespace, entry: Entry, scored: Collection[str]) -> int:
    """Trains a detector, or goes on, unless it is trained; the exit code.

    Raises:
        UserError: photos that are to be scored are among those to learn from; or as `trained.train`.
    """
    from sgdbd_jax.baselines.trained import stops, train
    from sgdbd_jax.cli.progress import Bar
    from sgdbd_jax.cli.stopping import stopping
    from sgdbd_jax.evaluation.side_by_side import photo_digest
    from sgdbd_jax.training.run import Stopped

    files, load = _training_set(options, entry)
    digests = [photo_digest(path) for path in files]
    if both := [path.name for path, digest in zip(files, digests) if digest in scored]:
        raise UserError(f"train: {len(both)} of the photos to learn from are to be scored, as {both[0]}; choose others")
    bar = Bar()
    with contextlib.ExitStack() as stack:
        stack.callback(bar.close)
        signals = stack.enter_context(stopping()) if stops(entry) else []
        try:
            train(
                entry,
                options.out / "weights",
                lambda: load(bar.photos(entry.key)),
                digests,
                white=options.source_masks_white if entry.needs == "masks" else "",
                steps=options.steps,
                vgg16=options.vgg16,
                reporter=bar.reporter(),
                should_stop=lambda: bool(signals),
            )
        except Stopped:
            bar.close()
            _say(f"{entry.key}: stopped; the same command goes on")
            return 128 + (signals[0] if signals else signal.SIGTERM)
    return 0


def _training_set(options: argparse.Namespace, entry: Entry) -> tuple[list[Path], Callable[..., PhotoSet]]:
    """The files that a detector learns from, and what reads them."""
    from sgdbd_jax.data.listing import list_masks, list_photos
    from sgdbd_jax.data.names import read_names
    from sgdbd_jax.data.pairs import pair_files
    from sgdbd_jax.data.sources import load_folder, load_pairs
    from sgdbd_jax.data.training_sets import polarity_looked_at

    if entry.needs == "clear":
        return list_photos(options.clear, warn=_warn), lambda progress: load_folder(
            options.clear, size=None, progress=progress
        )
    names = read_names(options.source_names) if options.source_names is not None else None
    masks = list_masks(options.source_masks, photos=options.source, warn=_warn)
    pairs, _ = pair_files(list_photos(options.source, warn=_warn), masks, names=names)
    white = options.source_masks_white
    load = functools.partial(load_pairs, options.source, options.source_masks, white=white, size=None, names=names)
    return [path for pair in pairs for path in pair], lambda progress: polarity_looked_at(
        load(progress=progress), "source_masks_white"
    )


def _parser() -> argparse.ArgumentParser:
    width = max(map(len, DETECTORS))
    parser = argparse.ArgumentParser(
        prog="python -m experiments.compare",
        description="Run the detectors that the paper compares with, beside ours.",
        epilog="methods:\n" + "\n".join(f"  {key:{width}} {_about(entry)}" for key, entry in DETECTORS.items()),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--images", required=True, type=Path, metavar="DIR", help="photos to score on")
    parser.add_argument("--masks", required=True, type=Path, metavar="DIR", help="their ground truths, named alike")
    parser.add_argument("--masks_white", required=True, choices=("blurred", "focused"), help="what white means there")
    parser.add_argument("--names", metavar="FILE", help="file that names the photos to take, or cuhk:validation; all")
    parser.add_argument("--methods", default="all", metavar="A,B|all", help="which; %(default)s")
    parser.add_argument(
        "--predictions",
        nargs="+",
        action="extend",
        default=[],
        metavar="NAME=DIR",
        help="masks of another program, white = in focus, named as the photos",
    )
    parser.add_argument(
        "--out",
        required=True,
        type=Path,
        metavar="DIR",
        help="folder for the results, and of maps/ and weights/, kept for the next time",
    )
    parser.add_argument(
        "--time_again",
        type=command.whole_number,
        default=0,
        metavar="N",
        help="take each detector's seconds from its last N photos, done again now; from when maps were made",
    )
    learning = ",".join(key for key, entry in DETECTORS.items() if entry.needs != "nothing")
    parser.add_argument("--train", metavar="A,B", help=f"train these first: {learning} (the last wants a GPU)")
    parser.add_argument("--clear", type=Path, metavar="DIR", help="to train: photos in focus throughout")
    parser.add_argument("--source", type=Path, metavar="DIR", help="to train: partly blurred photos")
    parser.add_argument("--source_masks", type=Path, metavar="DIR", help="to train: their masks")
    parser.add_argument(
        "--source_masks_white", choices=("blurred", "focused"), help="to train: what white means in these"
    )
    parser.add_argument("--source_names", metavar="FILE", help="to train: only these of them, as cuhk:train; all")
    parser.add_argument("--vgg16", type=Path, metavar="FILE", help="to train btbnet: where it begins; at random")
    parser.add_argument(
        "--steps", type=command.whole_number, metavar="N", help="to train dhcf or btbnet: how many; 20000"
    )
    return parser


def _about(entry: Entry) -> str:
    return ", ".join(filter(None, (entry.source or entry.name.replace("`", ""), entry.label)))


def _methods(text: str) -> list[Entry]:
    """The detectors asked for, in the order of the table, without the constant masks, which always are."""
    wanted = set(DETECTORS) if "all" in _keys(text) else _keys(text)
    if not wanted:
        raise UserError(f"methods: none named; there are {', '.join(DETECTORS)}")
    if unknown := sorted(wanted - DETECTORS.keys()):
        raise UserError(f"methods: {', '.join(unknown)}: no such method; there are {', '.join(DETECTORS)}")
    return [entry for key, entry in DETECTORS.items() if key in wanted and entry not in CONSTANT]


def _keys(text: str) -> set[str]:
    return {key for each in text.split(",") if (key := each.strip().lower())}


def _trained(options: argparse.Namespace) -> list[Entry]:
    """The detectors that are to be trained."""
    wanted = _keys(options.train or "")
    learning = {key: entry for key, entry in DETECTORS.items() if entry.needs != "nothing"}
    if unknown := sorted(wanted - learning.keys()):
        raise UserError(f"train: {', '.join(unknown)}: nothing to train; there are {', '.join(learning)}")
    given = [name for name in LEARNING if getattr(options, name) is not None]
    if given and not wanted:
        raise UserError(f"{given[0]}: is of a training; name what is to be trained by --train, or leave it out")
    entries = [entry for key, entry in learning.items() if key in wanted]
    for entry in entries:
        for what in ("clear",) if entry.needs == "clear" else ("source", "source_masks", "source_masks_white"):
            if getattr(options, what) is None:
                raise UserError(f"train: {entry.key} needs --{what}")
    return entries


def _predictions(given: Sequence[str]) -> dict[str, Path]:
    """Folders of masks by the names that they are given."""
    folders: dict[str, Path] = {}
    taken = {"photo", "truth", *DETECTORS, *(entry.name.lower() for entry in DETECTORS.values())}
    for text in given:
        name, equals, folder = text.partition("=")
        if not equals or not folder or not re.fullmatch(r"[\w.()+ -]+", name):
            raise UserError(f"predictions: {text!r} is not NAME=DIR, with a name of letters and digits")
        if name.lower() in taken:
            raise UserError(f"predictions: {name}: is the name of something else in the tables; choose another")
        taken.add(name.lower())
        folders[name] = Path(folder)
    return folders


def _watch(name: str, pairs: Sequence[Pair]) -> Iterable[Pair]:
    from tqdm import tqdm

    return tqdm(pairs, name, unit="photo", delay=1)


def _refuse(where: str, problems: dict[str, list[str]]) -> None:
    from sgdbd_jax.data.pairs import describe

    if text := describe(problems):
        raise UserError(f"{where}: {text}; mend or remove them")


def _say(message: str) -> None:
    from tqdm import tqdm

    tqdm.write(message, file=sys.stderr)  # a bar may be on the screen


def _warn(message: str) -> None:
    _say(f"warning: {message}")


if __name__ == "__main__":
    command.run(main)
