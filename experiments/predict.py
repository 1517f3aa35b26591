"""Masks and focus reports for photos: `python -m experiments.predict PATH... --out DIR`, or `sgdbd PATH... --out DIR`.

Writes an 8-bit `NAME.mask.png` a photo, at the size the photo is displayed at, white = in focus, and what else is asked
for; and report.csv, report.jsonl and report.html, which hold every photo, those that failed with the reason. Photos of
a folder keep their place under it; those that would share a name get `NAME`, `NAME-2`, ..., and the command says so.

Exit code: 0; 1 if anything failed, though the others are done; 2 if there was nothing to do or no way to do it; 143
stopped by SIGTERM, or 130 by Ctrl-C, after the report of what was done. With `--resume` the same command does the rest.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import itertools
import os
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sgdbd_jax.cli import allocator, command, compiled
from sgdbd_jax.errors import UserError, shown

if TYPE_CHECKING:
    from sgdbd_jax.folders.inputs import Inputs, Photo
    from sgdbd_jax.folders.outputs import Results
    from sgdbd_jax.folders.report import Record

SAVE_EVERY = 60  # seconds between reports: what a kill that cannot be caught may cost


def main(argv: list[str] | None = None) -> int:
    """Parses `argv`, writes the results and the report, and returns the exit code."""
    options = _parser().parse_args(argv)
    compiled.keep()

    from tqdm import tqdm

    from sgdbd_jax.data.photos import MAX_PIXELS
    from sgdbd_jax.data.threads import work_ahead
    from sgdbd_jax.detection.detector import Detector
    from sgdbd_jax.folders import inputs, outputs, report
    from sgdbd_jax.folders.worker import WORKERS, Worker

    found = inputs.find(options.paths, recursive=options.recursive, listed=lambda: sys.stdin.buffer.read())
    _tell(found)
    load = {"work_size": options.work_size, "refine": not options.no_refine, "full": options.full}
    detector = Detector.load(options.weights, **load)
    wanted = outputs.Results(options.polarity, options.overlay, options.cutout, options.binary)
    settings = _settings(options)
    records, jobs = _plan(options, found, wanted, settings)

    def save() -> float:
        report.write(options.out, list(records.values()))
        return time.monotonic()

    saved = save()  # a folder that cannot be written is told before the work
    with _stopping() as signals:
        worker = Worker(
            detector,
            options.out,
            wanted,
            max_pixels=options.max_pixels or MAX_PIXELS,
            say=_say,
            stopped=lambda: bool(signals),
        )
        made = work_ahead(worker, itertools.takewhile(lambda _: not signals, jobs), workers=WORKERS)
        before = len(found.photos) - len(jobs)
        try:
            with tqdm(total=len(found.photos), initial=before, unit="photo", delay=1) as bar:
                for record in filter(None, made):
                    records[record.path] = dataclasses.replace(record, settings=settings)
                    bar.update()
                    if time.monotonic() > saved + SAVE_EVERY:
                        saved = save()
        finally:
            save()
    outcomes = [records[photo.absolute].status for photo in found.photos if photo.absolute in records]
    done, failed = outcomes.count("done"), outcomes.count("failed") + len(found.refused)
    told = {"done before": before, "failed": failed, "left": len(found.photos) - len(outcomes)}
    counts = "".join(f"; {count} {what}" for what, count in told.items() if count)
    print(f"{done} mask{'' if done == 1 else 's'} and report.html in {shown(options.out)}{counts}")
    return 128 + signals[0] if signals else 0 if not failed else 1 if done else 2


def start() -> None:
    """The whole process: of `sgdbd`, and of `python -m experiments.predict`."""
    allocator.use_huge_pages()
    command.run(main)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="sgdbd" if Path(sys.argv[0]).name == "sgdbd" else "python -m experiments.predict",
        description="Finds what is in focus in photos: masks, and a report with a focus score a photo.",
        epilog="Paths that begin with a dash go last, after `--`.",
    )
    parser.add_argument(
        "paths",
        nargs="+",
        metavar="PATH",
        help="a photo; a folder of photos; a pattern as 'trips/**/*.jpg'; or -, a list of these on standard input, one"
        " a line or each ended by a NUL byte",
    )
    parser.add_argument("--out", required=True, type=_folder, metavar="DIR", help="folder for the results")
    parser.add_argument("--recursive", action="store_true", help="also take the photos in folders of folders")
    parser.add_argument("--resume", action="store_true", help="leave out photos that an earlier run has done")
    parser.add_argument("--weights", type=Path, metavar="FILE", help="a generator's weights; those that are shipped")
    command.add_work_size(parser)
    parser.add_argument("--full", action="store_true", help="masks as fine as the photos, made tile by tile: slow")
    parser.add_argument("--max_pixels", type=_positive, metavar="N", help="refuse photos of more pixels")
    parser.add_argument(
        "--polarity", choices=("focused", "blurred"), default="focused", help="what is white in masks; %(default)s"
    )
    parser.add_argument("--overlay", action="store_true", help="also NAME.overlay.png: the photo, blurred part tinted")
    parser.add_argument("--cutout", action="store_true", help="also NAME.cutout.png: blurred part transparent")
    parser.add_argument(
        "--binary",
        choices=("fixed", "adaptive", "conservative"),
        help="also NAME.binary.png, a mask without greys. In focus is what the mask gives at least 0.5; at least 1.5"
        " times its mean, as in the paper's evaluation; or at least 0.9, what surely is",
    )
    return parser


def _folder(text: str) -> Path:
    if not text:  # would be the current folder, which nobody names so
        raise argparse.ArgumentTypeError("needs the name of a folder")
    return Path(text)


def _positive(text: str) -> int:
    if int(text) < 1:
        raise ValueError(text)  # argparse makes a sentence of it
    return int(text)


def _tell(found: Inputs) -> None:
    """Names what gave no photos.

    Raises:
        UserError: nothing gave any.
    """
    for path, reason in found.refused.items():
        _say(f"error: {shown(path)}: {reason}")
    if found.results:
        named, more = ", ".join(map(shown, sorted(found.results)[:3])), len(found.results) - 3
        rest = f" and {more} more" if more > 0 else ""
        _say(f"warning: left out, for they are named as results of this command: {named}{rest}")
    if not found.photos:
        raise UserError("no photos; name files, or folders that hold some")


def _plan(
    options: argparse.Namespace, found: Inputs, wanted: Results, settings: str
) -> tuple[dict[str, Record], list[tuple[Photo, str]]]:
    """What there is to report already, by path; and the photos to work on, with the names of their results."""
    from sgdbd_jax.folders import inputs, report
    from sgdbd_jax.folders.worker import failure

    before = report.read(options.out)  # of earlier runs: other photos keep their names and their places in the report
    records = {path: record for path, record in before.items() if record.status == "done"}
    for path, reason in found.refused.items():
        records[os.path.abspath(path)] = failure(os.path.abspath(path), "", reason)
    kept = {path: record.name for path, record in before.items() if record.name}
    jobs = []
    for photo, name in zip(found.photos, inputs.name_results(found.photos, kept), strict=True):
        files = [Path(options.out, name + ending) for ending in wanted.endings]
        record = records.get(photo.absolute)
        if options.resume and record is not None and record.settings == settings and _are_newer(files, photo.path):
            continue
        records.pop(photo.absolute, None)
        if name != photo.place:
            _say(f"warning: {shown(photo.path)}: its results are called {shown(name)}; its name was taken")
        jobs.append((photo, name))
    return records, jobs


def _settings(options: argparse.Namespace) -> str:
    """What decides how results look, in words."""
    from sgdbd_jax.detection.shipped import shipped
    from sgdbd_jax.files import file_sha256

    weights = file_sha256(options.weights or shipped())[:12]
    names = ("work_size", "no_refine", "full", "polarity", "binary")
    return ", ".join([f"weights {weights}", *(f"{name} {getattr(options, name)}" for name in names)])


def _are_newer(files: list[Path], photo: Path) -> bool:
    """Whether results are there, made since the photo was last changed."""
    try:
        return min(file.stat().st_mtime_ns for file in files) >= photo.stat().st_mtime_ns
    except OSError:
        return False


@contextlib.contextmanager
def _stopping() -> Iterator[list[int]]:
    """Keeps the first SIGTERM or Ctrl-C in a list rather than end; another ends the process at once."""
    received: list[int] = []

    def stop(number: int, frame: Any) -> None:
        received.append(number)
        for each in before:
            signal.signal(each, signal.SIG_DFL)
        os.write(2, b"\nstopping after the photos in hand\n")  # where it interrupts a print, it must not print

    before = {number: signal.signal(number, stop) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield received
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _say(line: str) -> None:
    """One line on standard error, above a progress bar if there is one."""
    from tqdm import tqdm

    tqdm.write(line, file=sys.stderr)


if __name__ == "__main__":
    start()
