"""The options of `sgdbd` for choosing among photos: bursts, and sidecars for programs that manage photos."""

from __future__ import annotations

import argparse
import contextlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sgdbd_jax.folders.sidecars import Sidecars

NEEDED = {"burst_seconds": "bursts", "xmp_names": "xmp", "xmp_ratings": "xmp", "xmp_overwrite": "xmp"}


def add_options(parser: argparse.ArgumentParser) -> None:
    """Adds `--bursts`, `--xmp` and what goes with them. None takes the path that may follow for its value."""
    group = parser.add_argument_group("culling")
    group.add_argument(
        "--bursts",
        action="store_true",
        help="the report tells shots of one scene in quick succession, by EXIF time and likeness, and marks the"
        " sharpest of each burst, by the sharpness of what is in focus",
    )
    group.add_argument(
        "--burst_seconds", type=_seconds, metavar="S", help="the longest time from one shot of a burst to the next; 2"
    )
    group.add_argument(
        "--xmp",
        action="store_true",
        help="sidecars beside the photos, where other programs look for them: a rating by the score (-1, rejected,"
        " where nothing is sharp), and keywords for the report's flags and bursts. In a sidecar that is there all"
        " else stays, and so does a rating that a person gave",
    )
    group.add_argument(
        "--xmp_names",
        choices=("full", "adobe"),
        help="photo.jpg.xmp, as darktable and digiKam read them, or photo.xmp, as Adobe's programs do; full",
    )
    group.add_argument(
        "--xmp_ratings",
        type=_ratings,
        metavar="A,B,C,D",
        help="scores from which a photo has 2, 3, 4 and 5 stars; 0.5,0.58,0.64,0.7",
    )
    group.add_argument(
        "--xmp_overwrite", action="store_true", help="set ratings, and our keywords, that a person has changed"
    )


def check(parser: argparse.ArgumentParser, options: argparse.Namespace) -> None:
    """Ends the process where an option is given without the one that it is for."""
    for name, needed in NEEDED.items():
        value = getattr(options, name)
        if value is not None and value is not False and not getattr(options, needed):
            parser.error(f"argument --{name}: means something with --{needed} only")


def asked_bursts(options: argparse.Namespace) -> float | None:
    """The longest time from one shot of a burst to the next, in seconds; `None` without `--bursts`."""
    from sgdbd_jax.folders.bursts import SECONDS

    if not options.bursts:
        return None
    return SECONDS if options.burst_seconds is None else options.burst_seconds


def asked_sidecars(options: argparse.Namespace) -> Sidecars | None:
    """Which sidecars are wanted; `None` without `--xmp`."""
    from sgdbd_jax.folders.sidecars import RATINGS, Sidecars

    if not options.xmp:
        return None
    return Sidecars(options.xmp_names or "full", options.xmp_ratings or RATINGS, options.xmp_overwrite)


def _seconds(text: str) -> float:
    with contextlib.suppress(ValueError):
        if 0 <= (value := float(text)) < 1e6:  # NaN is not
            return value
    raise argparse.ArgumentTypeError(f"{text!r} is not a number of seconds, 0 or more")


def _ratings(text: str) -> tuple[float, ...]:
    with contextlib.suppress(ValueError):
        values = tuple(map(float, text.split(",")))
        if len(values) == 4 and all(0 <= a <= b <= 1 for a, b in zip(values, values[1:])):
            return values
    raise argparse.ArgumentTypeError(f"{text!r} is not four scores from 0 to 1, ascending, as 0.5,0.58,0.64,0.7")
