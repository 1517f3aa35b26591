"""Maps that a detector made of photos, kept on disk with what made them and how long it took."""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from time import perf_counter

import numpy as np
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from sgdbd_jax.data.listing import bare_name
from sgdbd_jax.errors import Unavailable, UserError
from sgdbd_jax.files import remove_unfinished, write_atomically

LEVELS = 65535
NOTE = "sgdbd_jax"  # names the text in a PNG file that says what made it


class Failed(Exception):
    """A detector made no map of a photo; the message, of one line, says why."""


@dataclass(frozen=True)
class Made:
    """How a map was made.

    Attributes:
        by: what tells it from maps of another photo, detector, or weight file.
        seconds: by the clock, of the detector alone.
        warm: whether the same process had made a map of a photo of that size by that detector before, so that
            everything was imported and compiled.
        machine: on what.
    """

    by: str
    seconds: float
    warm: bool
    machine: str


class KeptMaps:
    """The maps of one detector: those kept, if they are of the same photo, detector and weights, else made and kept.

    A map is kept as a PNG file of 16 bits, whose text says what made it; it is the same when it is read again.

    Args:
        detect: from a photo, `[H, W, 3]` uint8, to its map, `[H, W]` float32 in [0, 1].
        folder: of the maps, a file a photo; made when there are some.
        made_by: what tells the detector from others: whatever decides its maps, but for the photo.
        machine: what `Made.machine` shall be.
    """

    def __init__(self, detect: Callable[[np.ndarray], np.ndarray], folder: Path, *, made_by: str, machine: str) -> None:
        self._detect, self._folder, self._made_by, self._machine = detect, folder, made_by, machine
        remove_unfinished(folder)
        self._sizes: set[tuple[int, ...]] = set()  # of the photos that this process has made maps of

    def of(self, photo: Path, pixels: np.ndarray, *, anew: bool = False) -> tuple[np.ndarray, Made]:
        """The map of a photo.

        Args:
            photo: its file, by whose name the map's is called.
            pixels: `[H, W, 3]` uint8.
            anew: whether to make it even if there is one.

        Returns:
            `[H, W]` float32 in [0, 1], of 65,536 levels, and how it was made.

        Raises:
            Unavailable: this installation lacks what the detector needs.
            Failed: the detector raised another error, or gave no map.
            UserError: the map cannot be written.
        """
        path = self._folder / f"{bare_name(photo.name)}.png"
        by = hashlib.sha256(f"{self._made_by} {pixels.shape}".encode() + pixels.tobytes()).hexdigest()
        if not anew and (kept := _read(path)) is not None and kept[1].by == by and kept[0].shape == pixels.shape[:2]:
            levels, made = kept
        else:
            warm = pixels.shape in self._sizes
            found, seconds = self._timed(pixels)
            self._sizes.add(pixels.shape)
            levels = np.rint(found.astype(np.float64) * LEVELS).astype(np.uint16)
            made = Made(by, seconds, warm, self._machine)
            write_atomically(path, _written(levels, made), durable=False)
        return (levels / np.float64(LEVELS)).astype(np.float32), made

    def _timed(self, pixels: np.ndarray) -> tuple[np.ndarray, float]:
        start = perf_counter()
        try:
            found = np.asarray(self._detect(pixels))
        except Unavailable:
            raise
        except Exception as error:
            kind = "" if isinstance(error, UserError) else f"{type(error).__name__}: "
            raise Failed(kind + " ".join(str(error).split())) from error
        seconds = perf_counter() - start
        if found.shape != pixels.shape[:2] or not (found.min() >= 0 and found.max() <= 1):
            raise Failed(f"it gave no map of {pixels.shape[1]}x{pixels.shape[0]} values in [0, 1]")
        return found, seconds


def _read(path: Path) -> tuple[np.ndarray, Made] | None:
    """A kept map; `None` where there is none, or none that can be read: it is made again, then."""
    try:
        with Image.open(path) as image:
            return np.asarray(image, np.uint16), Made(**json.loads(image.info[NOTE]))
    except (OSError, SyntaxError, LookupError, TypeError, ValueError):
        return None


def _written(levels: np.ndarray, made: Made) -> bytes:
    file, text = io.BytesIO(), PngInfo()
    text.add_text(NOTE, json.dumps(asdict(made)))
    Image.fromarray(levels).save(file, "PNG", pnginfo=text, compress_level=1)
    return file.getvalue()
