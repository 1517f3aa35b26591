"""A clip from its file to its results: a row and a picture of each frame, masks, and the sharpest frames."""

from __future__ import annotations

import contextlib
import csv
import io
import itertools
import struct
import time
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import IO, Literal

import numpy as np
from PIL import Image

from sgdbd_jax.data.listing import CLIP_OVERLAY
from sgdbd_jax.data.threads import work_ahead
from sgdbd_jax.detection.detector import Seen
from sgdbd_jax.detection.devices import Detectors
from sgdbd_jax.detection.focus import Focus, measure
from sgdbd_jax.errors import UserError, shown
from sgdbd_jax.files import TEMPORARY, atomic_file
from sgdbd_jax.folders.inputs import Photo
from sgdbd_jax.folders.naming import FRAMES, MADE_HERE, MASKS, frame_name, is_frame, is_named_as_frame
from sgdbd_jax.folders.outputs import Results, eight_bits, overlay, threshold, thumbnails
from sgdbd_jax.folders.record import STOPPED, Record, focus_row
from sgdbd_jax.folders.report import FOCUS_COLUMNS, focus_cells
from sgdbd_jax.folders.thumbnails import write_thumbnails
from sgdbd_jax.folders.worker import Left, Worker, a_full_disk_failing_all, file_times
from sgdbd_jax.pictures import mask_png
from sgdbd_jax.video.reading import Clip, Frame
from sgdbd_jax.video.smoothing import Smoothing
from sgdbd_jax.video.writing import Film

MaskNames = Literal["colmap", "meshroom"]

TABLE, FILM = ".frames.csv", CLIP_OVERLAY  # files
COLUMNS = ("frame", "time", *FOCUS_COLUMNS)
PICTURE = ".jpg"  # ends the names of frames
# How the name of a frame's mask ends, so that the program finds it for the frame; both take black alone as masked.
MASK_ENDINGS: dict[MaskNames, str] = {"colmap": f"{PICTURE}.png", "meshroom": ".png"}
HOLD = 0.1 * 255  # by which a mask of two values has to pass its threshold to change, where nothing in the clip has
AHEAD = 2  # frames a device, besides one that is written: while one is in the network, another is finished
TELL_EVERY = 1.0  # seconds


@dataclass(frozen=True)
class ClipResults:
    """Which files a clip gets beside its table and its overlay.

    Attributes:
        mask_names: also a mask of two values a frame, named as one of these programs looks for it.
        sharpest: seconds; also the sharpest frame of each such window of time.
    """

    mask_names: MaskNames | None = None
    sharpest: float | None = None

    @property
    def endings(self) -> list[str]:
        """How the names of files and folders end."""
        return [TABLE, FILM, *self.folders]

    @property
    def folders(self) -> list[str]:
        """How the names of folders end."""
        return [MASKS] * (self.mask_names is not None) + [FRAMES] * (self.sharpest is not None)

    def settings(self) -> str:
        """What decides how results look, in words, beside what does so with photos."""
        return f", mask_names {self.mask_names}, sharpest {self.sharpest}"


class ClipWorker(Worker):
    """Takes a clip from its file to its results, with threads of its own; one clip at a time.

    Args:
        clips: which results a clip gets.
        watch: called about once a second with what is at work, in words.
        detectors, out, results, max_pixels, say, should_stop: as `Worker` takes them; of `results`, what is white in
            masks, and how they are cut at two values.
    """

    def __init__(
        self,
        detectors: Detectors,
        out: Path,
        results: Results,
        clips: ClipResults,
        *,
        max_pixels: int,
        say: Callable[[str], None],
        should_stop: Callable[[], bool],
        watch: Callable[[str], object],
    ) -> None:
        super().__init__(detectors, out, results, max_pixels=max_pixels, say=say, should_stop=should_stop)
        self._clips, self._watch = clips, watch
        self.threads = AHEAD * len(detectors)

    def _work(self, photo: Photo, name: str) -> Record:
        """The record is of the sharpest frame. Stopped, it has an error, and the results are of what was done."""
        started, before, error = time.perf_counter(), file_times(photo), ""

        def note(text: str) -> None:
            nonlocal error
            error = text
            self._say(f"note: {shown(photo.path)}: {text}")

        self._go_on()
        with Clip(photo.path, max_pixels=self._max_pixels, note=note) as clip:
            frames = iter(clip)
            first = next(frames, None)
            if first is None:
                raise UserError(f"{shown(photo.path)}: no frame of it can be read; copy or convert it again")
            stopped = False

            def until_stopped() -> Iterator[Frame]:
                nonlocal stopped
                for frame in itertools.chain([first], frames):
                    if stopped := self._should_stop():
                        return
                    yield frame

            with a_full_disk_failing_all(), _files(self._out / name, clip, self._results, self._clips) as files:
                smooth, told = Smoothing(), started
                for frame, seen, mask in work_ahead(
                    self._see, until_stopped(), workers=self.threads, ahead=self.threads
                ):
                    mask = smooth(frame.photo, mask)
                    files.add(frame, eight_bits(mask), measure(frame.photo, mask, seen.mask), smooth.kept)
                    if (now := time.perf_counter()) > told + TELL_EVERY:
                        told = now
                        of = f" of {clip.count}" if clip.count >= frame.number else ""
                        self._watch(f"{shown(photo.path.name)}, frame {frame.number}{of}")
                if files.best is None:
                    raise Left
            frame, stored, focus = files.best
            with a_full_disk_failing_all():
                write_thumbnails(self._out, photo.absolute, thumbnails(frame.photo, stored))
        if stopped:
            note(f"{STOPPED}{files.count}; its results end there")
        height, width = stored.shape
        return Record(
            path=photo.absolute,
            name=name,
            width=width,
            height=height,
            status="done",
            error=error,
            seconds=time.perf_counter() - started,
            focus=focus,
            photo=self._identity(photo, before),
            files={ending: result_size(self._out / (name + ending)) for ending in self._clips.endings},
        )

    def _see(self, frame: Frame) -> tuple[Frame, Seen, np.ndarray]:
        with self._detectors.free() as see:
            seen = see(frame.photo)
        return frame, seen, self._detector.finish(frame.photo, seen)


class _Files:
    """The results of a clip, written frame by frame.

    Attributes:
        count: of the frames so far.
        best: the sharpest of them, its mask, and its numbers.
    """

    def __init__(
        self,
        name: str,
        clip: Clip,
        results: Results,
        clips: ClipResults,
        table: IO[bytes],
        film: IO[bytes],
        folders: dict[str, Path],
    ):
        self._name, self._results, self._clips, self._folders = name, results, clips, folders
        self._film, self._tick = Film(film, clip), clip.tick
        self._text = io.TextIOWrapper(table, "utf-8", newline="")
        self._rows = csv.DictWriter(self._text, COLUMNS)
        self._rows.writeheader()
        self._sides: np.ndarray | float = 0.0  # of the threshold, on which the last mask was: 1 or -1
        self._window: int | None = None
        self._sharpest: tuple[float, Frame]
        self.count = 0
        self.best: tuple[Frame, np.ndarray, Focus] | None = None

    def add(self, frame: Frame, mask: np.ndarray, focus: Focus, kept: np.ndarray | float) -> None:
        """Adds a frame, its mask `[H, W]` uint8, its numbers, and how much the mask has of those before."""
        times = {"frame": frame.number, "time": f"{frame.seconds:.3f}"}
        self._rows.writerow(times | focus_cells(focus_row(focus)))
        self._film.add(np.asarray(overlay(frame.photo, mask)), frame)
        if self._clips.mask_names:
            level = mask + HOLD * kept * self._sides
            chosen = level >= threshold(mask, self._results.binary or "fixed")
            self._sides = np.where(chosen, np.float32(1), np.float32(-1))
            data = mask_png(np.multiply(chosen == (self._results.polarity == "focused"), 255, dtype=np.uint8))
            self._write(MASKS, frame, MASK_ENDINGS[self._clips.mask_names], _marked(data))
        if self._clips.sharpest:
            self._compare(frame, focus.score, frame.ticks * self._tick // Fraction(str(self._clips.sharpest)))
        if self.best is None or focus.score > self.best[2].score:
            self.best = frame, mask, focus
        self.count += 1

    def _compare(self, frame: Frame, score: float, window: int) -> None:
        """Keeps the sharpest frame of a window; that of the one before is written once it has passed."""
        if window != self._window:
            self._write_sharpest()
            self._window, self._sharpest = window, (score, frame)
        elif score > self._sharpest[0]:
            self._sharpest = score, frame

    def _write_sharpest(self) -> None:
        if self._window is not None:
            _, frame = self._sharpest
            file = io.BytesIO()
            Image.fromarray(frame.photo).save(file, "JPEG", quality=95, comment=MADE_HERE)
            self._write(FRAMES, frame, PICTURE, file.getvalue())

    def _write(self, folder: str, frame: Frame, ending: str, data: bytes) -> None:
        (self._folders[folder] / frame_name(self._name, frame.number, ending)).write_bytes(data)

    def close(self) -> None:
        """Writes what is not written yet."""
        self._film.close()
        self._write_sharpest()
        self._text.detach()


@contextlib.contextmanager
def _files(start: Path, clip: Clip, results: Results, clips: ClipResults) -> Iterator[_Files]:
    """Opens the results of a clip; they come into place at the end, if that is no error.

    Args:
        start: of the names of all of them.
        clip: whose they are.
        results: what is white in masks, and how they are cut at two values.
        clips: which results.

    Raises:
        UserError: they cannot be written, or in the place of one is what this command did not write.
    """
    places = {ending: start.with_name(start.name + ending) for ending in clips.endings}
    with contextlib.ExitStack() as stack:
        table, film = (stack.enter_context(atomic_file(places[ending])) for ending in (TABLE, FILM))
        folders = {ending: stack.enter_context(_folder(places[ending])) for ending in clips.folders}
        files = _Files(start.name, clip, results, clips, table, film, folders)
        try:
            yield files
            files.close()
        except BaseException:
            with contextlib.suppress(Exception):  # while its files are open, to which it would else write later
                files.close()
            raise


@contextlib.contextmanager
def _folder(place: Path) -> Iterator[Path]:
    """A folder for files that come into `place` at the end, instead of those that an earlier run wrote there."""
    try:
        was_made = not place.exists()
        place.mkdir(parents=True, exist_ok=True)
        before = [path for path in place.iterdir() if is_named_as_frame(path.name, place.name)]
        theirs = next((path for path in before if not path.is_file() or not is_frame(path)), None)
        if theirs is not None:
            raise UserError(
                f"{theirs}: is in the way and was not written by this command; move it, or name another --out"
            )
        new = place / f"{TEMPORARY}new"
        new.mkdir(exist_ok=True)
        _remove_frames(new, place.name)  # of a run that was killed
    except OSError as error:
        raise UserError(f"{place}: cannot be written ({error.strerror or error})") from error
    try:
        yield new
        names = [path.name for path in new.iterdir() if is_frame(path, place.name)]
        for name in names:
            (new / name).replace(place / name)
        for name in {path.name for path in before}.difference(names):
            with contextlib.suppress(FileNotFoundError):
                if is_frame(place / name):
                    (place / name).unlink()
    finally:
        with contextlib.suppress(OSError):
            _remove_frames(new, place.name)
            new.rmdir()
            if was_made:
                place.rmdir()  # unless there is something


def _remove_frames(folder: Path, named: str) -> None:
    for path in folder.iterdir():
        if is_frame(path, named):
            path.unlink()


def _marked(png: bytes) -> bytes:
    """A PNG file in which it stands who wrote it: in a chunk of text after its first, which is of 33 bytes."""
    text = b"tEXtSoftware\0" + MADE_HERE
    return png[:33] + struct.pack(">I", len(text) - 4) + text + struct.pack(">I", zlib.crc32(text)) + png[33:]


def result_size(path: Path) -> int:
    """The bytes of a file; of a folder, of all files in it that are named as a clip's.

    Raises:
        OSError: there is none.
    """
    files = path.iterdir() if path.is_dir() else [path]
    return sum(each.stat().st_size for each in files if each == path or is_named_as_frame(each.name, path.name))
