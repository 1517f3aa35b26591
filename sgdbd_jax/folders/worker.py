"""A photo from its file to its results, by threads: while one is in the network, others are decoded and encoded."""

import contextlib
import errno
import os
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

from sgdbd_jax.data.metadata import when_taken
from sgdbd_jax.data.photos import load_photo, load_smaller
from sgdbd_jax.detection.devices import Detectors
from sgdbd_jax.detection.focus import measure
from sgdbd_jax.errors import UserError, shown
from sgdbd_jax.files import NO_FILE, Identity, times, write_atomically
from sgdbd_jax.folders.inputs import Photo
from sgdbd_jax.folders.outputs import Results, eight_bits, thumbnails
from sgdbd_jax.folders.record import Record, failure
from sgdbd_jax.folders.thumbnails import write_thumbnails

WORKERS = max(3, os.cpu_count() or 1)  # threads: one decodes, one is in the network, the others finish, in 0.2 GB
MORE = 3  # of them for each further device
PIXELS = 48_000_000  # a device, of photos in hand, beyond which no other is read; at 12 bytes each that is 0.6 GB
FULL_DISK = {errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO}  # errors of one file that the next will have too


class DiskFailed(UserError):
    """No results can be written any more."""


class Worker:
    """Takes a photo from its file to its results; for several threads, each with a photo of its own.

    Args:
        detectors: give the masks; their networks are asked for one photo at a time each.
        out: folder of the results.
        results: which a photo gets.
        max_pixels: of a photo; larger ones are refused.
        say: takes a line for the user, on a file that cannot be used or not all of it.
        should_stop: whether photos not yet in the network shall be left.

    Attributes:
        threads: how many keep all devices busy.
    """

    def __init__(
        self,
        detectors: Detectors,
        out: Path,
        results: Results,
        *,
        max_pixels: int,
        say: Callable[[str], None],
        should_stop: Callable[[], bool],
    ) -> None:
        self._detectors, self._detector, self._out, self._results = detectors, detectors.detector, out, results
        self._max_pixels, self._say, self._should_stop = max_pixels, say, should_stop
        self._room = Room(PIXELS * len(detectors), doors=len(detectors))
        self.threads = WORKERS + MORE * (len(detectors) - 1)

    def __call__(self, job: tuple[Photo, str]) -> Record | None:
        """Works on a photo.

        Args:
            job: the photo, and the name of its results.

        Returns:
            What there is to report, or nothing if the photo was left.

        Raises:
            DiskFailed: the photo's results cannot be written, and nor can any other's.
        """
        photo, name = job
        try:
            return self._work(photo, name)
        except Left:
            return None
        except DiskFailed:
            raise
        except Exception as error:  # whatever is wrong with this photo, the others go on
            text = str(error) if isinstance(error, UserError) else f"{type(error).__name__}: {error}"
            reason = " ".join(text.removeprefix(f"{shown(photo.path)}: ").split())
            self._say(f"error: {shown(photo.path)}: {reason}")
            return failure(photo.absolute, name, reason)

    def _work(self, photo: Photo, name: str) -> Record:
        before = file_times(photo)
        with self._room.photo(lambda: self._load(photo)) as (pixels, size):
            taken = when_taken(photo.path)
            identity = self._identity(photo, before)
            with self._detectors.free() as see:
                self._go_on()
                started = time.perf_counter()
                seen = see(pixels)
            mask = self._detector.finish(pixels, seen, size)
            focus = measure(pixels, mask, seen.mask)
            stored = eight_bits(mask)
            del mask, seen  # before as much is needed for files
            files = {}
            with a_full_disk_failing_all():
                for ending, data in self._results.files(pixels, stored):
                    write_atomically(self._out / (name + ending), data)
                    files[ending] = len(data)
                    del data  # before the next is made
                write_thumbnails(self._out, photo.absolute, thumbnails(pixels, stored))
            height, width = stored.shape
            seconds = time.perf_counter() - started
            return Record(
                path=photo.absolute,
                name=name,
                width=width,
                height=height,
                status="done",
                error="",
                seconds=seconds,
                focus=focus,
                photo=identity,
                files=files,
                taken=taken.isoformat() if taken else "",
            )

    def _load(self, photo: Photo) -> tuple[np.ndarray, tuple[int, int]]:
        """The photo, perhaps at a part of its size if no result shows it; and its own height and width."""
        self._go_on()

        def note(text: str) -> None:
            self._say(f"note: {shown(photo.path)}: {text}")

        if self._results.show_photo:
            pixels = load_photo(photo.path, max_pixels=self._max_pixels, note=note)
            return pixels, pixels.shape[:2]
        least = self._detector.working_size
        return load_smaller(photo.path, least, max_pixels=self._max_pixels, note=note)

    def _identity(self, photo: Photo, before: tuple[int, int, int] | None) -> Identity:
        """Which file was read, if it has been the same all the time."""
        with contextlib.suppress(OSError):
            identity = Identity.of(photo.path)
            if (identity.bytes, identity.modified, identity.changed) == before:
                return identity
        self._say(f"note: {shown(photo.path)}: changed while it was read; to be done again when resumed")
        return NO_FILE

    def _go_on(self) -> None:
        if self._should_stop():
            raise Left


class Room:
    """Keeps the photos in memory few: few are read at a time, and none while the others hold too many pixels.

    How large a photo is shows once it is read, so there may be as many too many as are read at a time, of any size. It
    counts as large as its mask will be, whether it was read in full or not.

    Args:
        pixels: held by others, up to which a photo is read.
        doors: how many are read at a time.
    """

    def __init__(self, pixels: int, *, doors: int = 1) -> None:
        self._pixels, self._held = pixels, 0
        self._doors, self._changed = threading.Semaphore(doors), threading.Condition()

    @contextlib.contextmanager
    def photo(
        self, read: Callable[[], tuple[np.ndarray, tuple[int, int]]]
    ) -> Iterator[tuple[np.ndarray, tuple[int, int]]]:
        """Waits for room, and holds what `read` gives: a photo, and its whole height and width."""
        with self._doors:
            with self._changed:
                self._changed.wait_for(lambda: self._held <= self._pixels)
            photo, (height, width) = read()
            size = height * width
            with self._changed:
                self._held += size
        try:
            yield photo, (height, width)
        finally:
            with self._changed:
                self._held -= size
                self._changed.notify_all()


class Left(Exception):
    """The photo in hand is to be left, for the work is to stop."""


def file_times(photo: Photo) -> tuple[int, int, int] | None:
    """`files.times` of a photo's file, if there is one."""
    try:
        return times(photo.path)
    except OSError:  # which whoever reads the photo will tell
        return None


@contextlib.contextmanager
def a_full_disk_failing_all() -> Iterator[None]:
    """Makes an error of writing that the next photo will have too a `DiskFailed`."""
    try:
        yield
    except UserError as error:
        if isinstance(error.__cause__, OSError) and error.__cause__.errno in FULL_DISK:
            raise DiskFailed(str(error)) from error
        raise
