"""Bursts: shots of one scene in quick succession, by the camera's clock and by likeness; and the sharpest of each."""

from __future__ import annotations

import itertools
import os
from collections import defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

import numpy as np
from PIL import Image

from sgdbd_jax.data.formats import has_raw_suffix
from sgdbd_jax.data.listing import bare_name
from sgdbd_jax.folders.record import Record
from sgdbd_jax.folders.thumbnails import photo_key, thumbnail_name

SECONDS = 2.0  # from a shot to the next; some files tell the time in whole seconds
SIDE = 16  # pixels of the copies that are compared, squashed to a square
PLAIN = 8.0  # grey levels: the spread below which a photo counts as of one grey, in which nothing is to be compared
APART = 1.0  # seconds between the times that a raw file and the JPEG beside it tell, at most
OPEN = 32  # bursts that may go on at a time; there are more only where a clock stands still
LEAST_LIKENESS = 0.55  # of pairs of unlike photos 99% were below; moved by a tenth of their width, 95% were above

Look = Callable[[str], np.ndarray | None]  # from a photo's path to its `look`


@dataclass
class Shot:
    """What a camera took at once: a photo and its copies, or a raw file and the JPEG beside it.

    Attributes:
        taken: when.
        sharpness: to compare; the larger the sharper.
        paths: of its photos.
    """

    taken: datetime
    sharpness: tuple[bool, float, float]
    paths: list[str]


@dataclass(eq=False)
class _Burst:
    shots: list[Shot]
    seen: np.ndarray | None = field(default=None, repr=False)  # the look of the last


def mark_bursts(
    records: Iterable[Record], look: Look, *, seconds: float, should_stop: Callable[[], bool] = lambda: False
) -> dict[str, tuple[int, bool]]:
    """The photos that belong to bursts: path -> the burst's number, from 1 in the order of time, and if it is the best.

    A burst lies in one folder. Photos without a time belong to none, and so do those that failed.

    Args:
        records: of all photos.
        look: gives a photo's `look`, or `None`, which is like nothing.
        seconds: the longest time from one shot of a burst to the next.
        should_stop: asked before each shot; what is returned then is not all.
    """
    folders: dict[str, list[Record]] = defaultdict(list)
    for record in records:
        folders[os.path.dirname(record.path)].append(record)
    bursts: list[list[Shot]] = []
    for each in folders.values():
        shots = itertools.takewhile(lambda _: not should_stop(), _in_order(_shots(each)))
        bursts += find_bursts(shots, look, seconds=seconds)
    marks: dict[str, tuple[int, bool]] = {}
    for number, burst in enumerate(sorted(bursts, key=lambda burst: burst[0].taken), start=1):
        best = max(burst, key=lambda shot: shot.sharpness)  # the first of equals
        marks |= {path: (number, shot is best) for shot in burst for path in shot.paths}
    return marks


def _shots(records: Iterable[Record]) -> list[Shot]:
    """The shots of a folder. Of photos of one name, which others may bear as well, one must be raw to be one shot."""
    shots: list[Shot] = []
    raws: dict[str, Shot] = {}
    copies: dict[str, Shot] = {}
    for record in sorted(records, key=lambda record: not has_raw_suffix(record.path)):
        focus, taken = record.focus, _time(record.taken)
        if focus is None or focus.sharpness is None or taken is None:
            continue
        # Where nothing is in focus, the score tells.
        sharpness = "nothing_sharp" not in focus.flags, focus.sharpness, focus.score
        name, content = bare_name(record.path), record.photo.sha256 if record.photo else record.path
        shot = copies.get(content) or raws.get(name)
        if shot is None or abs((shot.taken - taken).total_seconds()) > APART:
            shot = Shot(taken, sharpness, [])
            shots.append(shot)
        copies.setdefault(content, shot)
        if has_raw_suffix(record.path):
            raws.setdefault(name, shot)
        if not shot.taken.microsecond:  # one of the two may tell whole seconds only
            shot.taken = taken
        shot.sharpness = max(shot.sharpness, sharpness)
        shot.paths.append(record.path)
    return shots


def _in_order(shots: Iterable[Shot]) -> list[Shot]:
    return sorted(shots, key=lambda shot: (shot.taken, shot.paths[0]))


def find_bursts(shots: Iterable[Shot], look: Look, *, seconds: float) -> list[list[Shot]]:
    """Groups of two shots or more, each in the order of time; several cameras' may overlap, `OPEN` of them.

    A shot goes on with the burst whose last shot it is most like, if that is no more than `seconds` before it and the
    likeness is `LEAST_LIKENESS` or more. So a scene may change slowly, as the camera follows what moves.

    Args:
        shots: in the order of time.
        look, seconds: as `mark_bursts` takes them.
    """
    found: list[list[Shot]] = []
    recent: list[_Burst] = []
    for shot in shots:
        recent = [each for each in recent if (shot.taken - each.shots[-1].taken).total_seconds() <= seconds][-OPEN:]
        seen = look(shot.paths[0]) if recent else None
        for each in recent:
            if each.seen is None:
                each.seen = look(each.shots[0].paths[0])  # only now is there another to compare it with
        like = [(likeness(each.seen, seen), each) for each in recent if each.seen is not None and seen is not None]
        most, burst = max(like, key=lambda pair: pair[0], default=(0.0, None))
        if burst is None or most < LEAST_LIKENESS:
            burst = _Burst([])
            found.append(burst.shots)
        else:
            recent.remove(burst)
        recent.append(burst)  # last, for it is the latest
        burst.shots.append(shot)
        burst.seen = seen
    return [burst for burst in found if len(burst) > 1]


def likeness(a: np.ndarray, b: np.ndarray) -> float:
    """How alike two looks are: 1 less half of their mean squared difference, which is the correlation of the greys.

    Returns:
        1 for the same scene however it is exposed, about 0 for two that have nothing in common, -1 for its negative.
    """
    return 1 - float(np.mean((a - b) ** 2)) / 2


def look_of(grey: np.ndarray) -> np.ndarray:
    """A photo's look: its greys less their mean, over their spread, which counts as `PLAIN` at the least.

    Args:
        grey: `[H, W]` of grey levels, 0 to 255.

    Returns:
        `[H, W]` float32.
    """
    level = grey.astype(np.float32)
    return (level - level.mean()) / max(float(level.std()), PLAIN)


def thumbnail_looks(out: Path) -> Look:
    """The looks of photos whose thumbnails are in a report's folder."""

    def look(path: str) -> np.ndarray | None:
        try:
            with Image.open(out / thumbnail_name(photo_key(path), "photo"), formats=("JPEG",)) as image:
                image.draft("L", (SIDE, SIDE))
                small = image.convert("L").resize((SIDE, SIDE), Image.Resampling.BOX)
        except (OSError, SyntaxError):
            return None
        return look_of(np.asarray(small))

    return look


def _time(text: str) -> datetime | None:
    try:
        return datetime.fromisoformat(text).replace(tzinfo=None)  # the camera's clock, as all that are told
    except ValueError:
        return None
