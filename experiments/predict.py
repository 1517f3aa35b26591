"""Masks and focus reports for photos, and clips: `python -m experiments.predict PATH... --out DIR`, or `sgdbd`.

Writes an 8-bit `NAME.mask.png` a photo, at the size the photo is displayed at, white = in focus, and what else is asked
for; and report.csv, report.jsonl and report.html, which hold every photo, those that failed with the reason. Photos of
a folder keep their place under it; those that would share a name get `NAME`, `NAME-2`, ..., names too long are cut, and
the command says so. A second run into one DIR is refused while the first is at work. With `--xmp`, sidecars lie beside
the photos. A clip gets `NAME.frames.csv`, `NAME.overlay.mp4`, and what else is asked for, and stands in the report by
its sharpest frame. With `--ray` the work is done by the machines of a cluster, and the report is report.parquet.

Exit code: 0; 1 if anything failed, though the others are done; 2 if there was nothing to do or no way to do it; 143
stopped by SIGTERM, or 130 by Ctrl-C, after the report of what was done. With `--resume` the same command does the rest.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import gc
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from sgdbd_jax.backend import start_jax
from sgdbd_jax.cli import cluster, command, compiled, culling
from sgdbd_jax.cli.stopping import stopping
from sgdbd_jax.errors import UserError, abbreviate, shown

if TYPE_CHECKING:
    from sgdbd_jax.cluster.places import Found
    from sgdbd_jax.folders.inputs import Inputs
    from sgdbd_jax.folders.plan import Request
    from sgdbd_jax.folders.run import Outcome


def main(argv: list[str] | None = None) -> int:
    """Parses `argv`, writes the results and the report, and returns the exit code."""
    parser = _parser()
    options = parser.parse_args(argv)
    culling.check(parser, options)
    cluster.check(parser, options)
    compiled.keep()
    if options.ray is not None:
        return _on_a_cluster(options)
    start_jax()

    from tqdm import tqdm

    from sgdbd_jax.cluster.places import REPORT
    from sgdbd_jax.files import check_folder
    from sgdbd_jax.folders.alone import alone
    from sgdbd_jax.folders.clips import ClipResults
    from sgdbd_jax.folders.inputs import find_photos
    from sgdbd_jax.folders.plan import make_plan
    from sgdbd_jax.folders.run import run
    from sgdbd_jax.video.reading import can_read

    options.out = Path(options.out)
    check_folder(options.out)
    if os.path.lexists(options.out / REPORT):
        raise UserError(f"{shown(options.out)}: holds results of a run with --ray; name another folder")
    inputs = find_photos(
        options.paths,
        recursive=options.recursive,
        read_list=lambda: sys.stdin.buffer.read(),
        clips=can_read() and not options.no_clips,
    )
    _say_what_gave_no_photos(inputs, without_clips=options.no_clips)
    _say_what_of_clips_means_nothing(options, sum(photo.clip for photo in inputs.photos), len(inputs.photos))
    request = dataclasses.replace(
        _request(options),
        out=options.out,
        clips=ClipResults(options.mask_names, options.sharpest),
        bursts=culling.asked_bursts(options),
        sidecars=culling.asked_sidecars(options),
    )
    detector = request.load_detector()
    with alone(options.out, say=_say):
        plan = make_plan(request, inputs, say=_say)
        count = len(inputs.photos)
        _search_for_garbage()
        with (
            stopping("stopping after the photos in hand", at_once=True) as signals,
            tqdm(total=count, initial=count - len(plan.jobs), unit="photo", delay=1) as bar,
        ):
            outcome = run(
                plan,
                detector,
                say=_say,
                should_stop=lambda: bool(signals),
                progress=bar.update,
                watch=bar.set_postfix_str,
            )
    return _end(outcome, signals, "report.html", options.out)


def _on_a_cluster(options: argparse.Namespace) -> int:
    """The same with `--ray`."""
    import jax

    jax.config.update("jax_platforms", "cpu")  # of this process, which computes nothing: GPUs are for the workers

    from tqdm import tqdm

    from sgdbd_jax.cluster.places import REPORT, Folder, find_remote
    from sgdbd_jax.cluster.run import run
    from sgdbd_jax.extra import needed
    from sgdbd_jax.folders.alone import alone
    from sgdbd_jax.folders.report import LINES

    needed("ray.data", "--ray")
    folder = Folder(options.out)
    folder.check()
    if folder.has(LINES):
        raise UserError(f"{shown(options.out)}: holds results of a run without --ray; name another folder")
    found = find_remote(options.paths, recursive=options.recursive, read_list=lambda: sys.stdin.buffer.read())
    _say_what_gave_no_photos(found, without_clips=True)
    if found.clips_left:
        _say(f"warning: left out, for --ray does no clips: {abbreviate(sorted(found.clips_left))}")
    with (
        alone(Path(folder.path), say=_say) if folder.local else contextlib.nullcontext(),
        stopping("stopping after the photos in hand", at_once=True) as signals,
        tqdm(total=len(found.photos), unit="photo", delay=1) as bar,
    ):
        outcome = run(
            _request(options),
            found,
            folder,
            address=options.ray,
            workers=options.ray_workers,
            say=_say,
            should_stop=lambda: bool(signals),
            progress=bar.update,
        )
    return _end(outcome, signals, REPORT, options.out)


def _request(options: argparse.Namespace) -> Request:
    """What is wanted of photos, wherever the work is done."""
    from sgdbd_jax.data.photos import MAX_PIXELS
    from sgdbd_jax.detection.shipped import weight_file
    from sgdbd_jax.folders.outputs import Results
    from sgdbd_jax.folders.plan import Request

    return Request(
        out=Path(),
        results=Results(options.polarity, options.overlay, options.cutout, options.binary),
        weights=None if options.weights is None else weight_file(options.weights),
        work_size=options.work_size,
        refine=command.asked_refinement(options),
        full=options.full,
        max_pixels=options.max_pixels or MAX_PIXELS,
        resume=options.resume,
    )


def _end(outcome: Outcome, signals: list[int], report: str, out: object) -> int:
    """Prints how it went; gives the exit code."""
    print(_summary(outcome, report, out))
    if signals:
        return 128 + signals[0]
    return 0 if not outcome.failed and not outcome.sidecars else 1 if outcome.done else 2


def start() -> None:
    """The whole process: of `sgdbd`, and of `python -m experiments.predict`."""
    gc.disable()  # until all is loaded, of which nothing is garbage: the search takes a tenth of a start
    command.run(main)


def _search_for_garbage() -> None:
    """From here on, and among what comes: what is loaded stays."""
    if not gc.isenabled():  # as `start` has it, not who calls `main`
        gc.freeze()
        gc.enable()


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="sgdbd" if Path(sys.argv[0]).name == "sgdbd" else "python -m experiments.predict",
        description="Finds what is in focus in photos and clips: masks, and a report with a focus score a photo.",
        epilog="Paths that begin with a dash go last, after `--`.",
    )
    parser.add_argument(
        "paths",
        nargs="+",
        metavar="PATH",
        help="a photo or clip; a folder of them; a pattern as 'trips/**/*.jpg'; or -, a list of these on standard"
        " input, one a line or each ended by a NUL byte",
    )
    parser.add_argument(
        "--out", required=True, type=_folder, metavar="DIR", help="folder for the results; with --ray, also its URL"
    )
    parser.add_argument("--recursive", action="store_true", help="also take the photos in folders of folders")
    parser.add_argument("--resume", action="store_true", help="leave out photos that an earlier run has done")
    command.add_weights(parser)
    command.add_work_size(parser)
    parser.add_argument("--full", action="store_true", help="masks as fine as the photos, made tile by tile: slow")
    parser.add_argument("--max_pixels", type=command.whole_number, metavar="N", help="refuse photos of more pixels")
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
    culling.add_options(parser)
    cluster.add_options(parser)
    clips = parser.add_argument_group("clips", "each gets NAME.frames.csv, a row a frame, and NAME.overlay.mp4")
    clips.add_argument("--no_clips", action="store_true", help="leave out the clips of folders")
    clips.add_argument(
        "--mask_names",
        choices=("colmap", "meshroom"),
        help="also NAME.masks/, a mask without greys of each frame, named as this program finds it",
    )
    clips.add_argument(
        "--sharpest",
        type=_seconds,
        metavar="SECONDS",
        help="also NAME.frames/, the sharpest frame of each window of so many seconds",
    )
    return parser


def _folder(text: str) -> str:
    if not text:  # would be the current folder, which nobody names so
        raise argparse.ArgumentTypeError("needs the name of a folder")
    return text


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0
    if not 0 < seconds < float("inf"):
        raise argparse.ArgumentTypeError(f"takes seconds, such as 0.5 or 2, not {text!r}")
    return seconds


def _say_what_gave_no_photos(inputs: Inputs | Found, *, without_clips: bool) -> None:
    """Names arguments and files that are left out.

    Args:
        inputs: what arguments stand for.
        without_clips: whether clips are left out because the user wants it so.

    Raises:
        UserError: no photos are left.
    """
    for path, reason in inputs.refused.items():
        _say(f"error: {shown(path)}: {reason}")
    if inputs.results:
        names, more = ", ".join(map(shown, sorted(map(str, inputs.results))[:3])), len(inputs.results) - 3
        rest = f" and {more} more" if more > 0 else ""
        _say(f"warning: left out, for they are named as results of this command: {names}{rest}")
    if inputs.clips_left and not without_clips:
        count = len(inputs.clips_left)
        left = "1 clip of a folder is" if count == 1 else f"{count} clips of folders are"
        _say(f"warning: {left} left out; to have them done, pip install 'sgdbd_jax[video]'")
    if not inputs.photos:
        raise UserError("no photos; name files, or folders that hold some")


def _say_what_of_clips_means_nothing(options: argparse.Namespace, clips: int, count: int) -> None:
    """Names options without effect, and how many clips are to be done of `count` files, for they take long."""
    of_photos = [name for name in ("overlay", "cutout") if getattr(options, name)]
    if options.binary and not options.mask_names:
        of_photos.append("binary")
    if clips:
        what = f"{clips} clip{'' if clips == 1 else 's'}, of which each frame takes as long as a photo"
        _say(f"note: {what}; --no_clips leaves out those of folders")
    elif options.mask_names or options.sharpest:
        _say("warning: --mask_names and --sharpest are of clips, and there is none")
    if clips == count and of_photos:
        _say(f"warning: there are no photos, of which alone {', '.join(f'--{name}' for name in of_photos)} would be")


def _summary(outcome: Outcome, report: str, out: object) -> str:
    counts = {
        "done before": outcome.done_before,
        "failed": outcome.failed,
        "left": outcome.left,
        "without a sidecar": outcome.sidecars,
    }
    rest = "".join(f"; {count} {what}" for what, count in counts.items() if count)
    masks, clips = outcome.done - outcome.clips, outcome.clips
    made = [f"{masks} mask{'' if masks == 1 else 's'}"] if masks or not clips else []
    made += [f"{clips} clip{'' if clips == 1 else 's'}"] if clips else []
    return f"{', '.join(made)} and {report} in {shown(out)}{rest}"


def _say(line: str) -> None:
    """One line on standard error, above a progress bar if there is one."""
    from tqdm import tqdm

    tqdm.write(line, file=sys.stderr)


if __name__ == "__main__":
    start()
