"""A video file -> its frames, one at a time: upright RGB, each with the moment at which it is shown."""

from __future__ import annotations

import errno
import importlib.util
import os
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from types import TracebackType
from typing import Any

import numpy as np

from sgdbd_jax.errors import UserError, shown
from sgdbd_jax.extra import needed

SUFFIXES = (
    *(".3g2", ".3gp", ".asf", ".avi", ".dv", ".f4v", ".flv", ".insv", ".lrv", ".m2ts", ".m2v", ".m4v", ".mkv", ".mov"),
    *(".mp4", ".mpeg", ".mpg", ".mts", ".mxf", ".ogv", ".ts", ".vob", ".webm", ".wmv", ".y4m"),
)
PROGRAMS = ".ts"  # ends the names of programs, too
RATE = Fraction(25)  # frames a second, where a file does not say
LOST = {errno.ESTALE, errno.ENOTCONN, errno.ETIMEDOUT, errno.ENODEV, errno.EHOSTUNREACH}  # of a share, while it is read
MISSING = 0.02  # of the frames that a file promises; as many may lie outside of what it wants shown


def is_clip(name: str) -> bool:
    """Whether a file's name ends as those of videos do, in upper or lower case."""
    return name.lower().endswith(SUFFIXES)


def can_read() -> bool:
    """Whether PyAV, which reads videos, is installed."""
    return importlib.util.find_spec("av") is not None


@dataclass(frozen=True)
class Frame:
    """A frame of a clip."""

    number: int  # from 1
    ticks: int  # when it is shown, in the clip's `tick`s after its first; each later than the one before
    seconds: float  # the same
    photo: np.ndarray  # [H, W, 3] uint8 RGB, as it is displayed


class Clip:
    """A video file, open to be read once, from its beginning; no more than the frame in hand is held.

    What is damaged costs the frames that it concerns. Rotation by quarters, as phones note it, is applied. Brightness
    is not brought from HDR to that of ordinary screens.

    Args:
        path: a video file of any kind that FFmpeg reads; its first video stream that is no cover picture is taken.
        max_pixels: of a frame; larger ones are refused before they are unpacked.
        note: called with what is damaged, once all is read.

    Raises:
        UserError: missing, not a video, without pictures, or its frames are too large; or, while frames are read, the
            disk or the share fails.
        Unavailable: PyAV is not installed.
    """

    def __init__(self, path: str | os.PathLike, *, max_pixels: int, note: Callable[[str], object]) -> None:
        self._av = needed("av", "video")
        self._path, self._name, self._note = path, shown(path), note
        try:
            # "file:", or what stands before a colon would be a protocol
            self._container = self._av.open("file:" + os.path.abspath(path), metadata_errors="replace")
        except (self._av.FFmpegError, ValueError) as error:
            raise UserError(f"{self._name}: not a video that can be read ({_reason(error)})") from error
        try:
            self._open(max_pixels)
        except BaseException:
            self._container.close()
            raise

    def _open(self, max_pixels: int) -> None:
        cover = self._av.stream.Disposition.attached_pic
        streams = [each for each in self._container.streams.video if not each.disposition & cover]
        if not streams:
            raise UserError(f"{self._name}: holds no video, only sound or a cover; name a video file")
        self._stream = streams[0]
        context = self._stream.codec_context
        if context is None:
            raise UserError(f"{self._name}: its video is of a kind that cannot be decoded; convert it to H.264")
        width, height = context.width, context.height
        if width * height > max_pixels:
            raise UserError(f"{self._name}: too large, {width} x {height}, the limit is {max_pixels:,}")
        self._stream.thread_type = "AUTO"
        self._sideways = False
        self.rate: Fraction = self._stream.average_rate or self._stream.guessed_rate or RATE  # frames a second
        self.tick: Fraction = self._stream.time_base or 1 / self.rate  # seconds
        self.count: int = self._stream.frames  # of frames, as the file promises it; 0: it does not
        self._length = float((self._stream.duration or 0) * self.tick)  # seconds; 0: unknown
        if not self._length and len(self._container.streams) == 1:  # else the longest of them may be another
            self._length = (self._container.duration or 0) / self._av.time_base
        tag = re.fullmatch(r"(\d+):(\d+):(\d+\.?\d*)", self._stream.metadata.get("DURATION", ""))  # of Matroska
        if not self._length and tag:
            self._length = 3600 * int(tag[1]) + 60 * int(tag[2]) + float(tag[3])

    def __enter__(self) -> Clip:
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        self._container.close()

    @property
    def pixel_shape(self) -> Fraction:
        """Width of a pixel, as displayed, by its height; known once a frame was read."""
        shape = self._stream.sample_aspect_ratio or Fraction(1)
        return 1 / shape if self._sideways else shape

    @property
    def colours(self) -> dict[str, int]:
        """Which colours its numbers stand for, as FFmpeg counts the kinds."""
        context = self._stream.codec_context
        return {name: int(getattr(context, name)) for name in ("colorspace", "color_primaries", "color_trc")}

    def __iter__(self) -> Iterator[Frame]:
        step = max(1, round(1 / (self.rate * self.tick)))
        size: dict[str, int] = {}
        how = self._av.video.reformatter.Interpolation
        exact = how.BILINEAR | how.ACCURATE_RND | how.FULL_CHR_H_INT  # else all is darker by a level or two
        start, last, number, damaged, stays = 0, -step, 0, 0, step
        for decoded in self._decoded():
            if not number:
                size = {"width": decoded.width, "height": decoded.height}
                start = decoded.pts or 0
                last = -1 if decoded.pts is not None else last
            ticks = max(last + 1, last + step if decoded.pts is None else decoded.pts - start)
            photo = decoded.reformat(format="rgb24", interpolation=exact, **size).to_ndarray()
            quarters = round(decoded.rotation / 90) % 4  # counterclockwise
            self._sideways = quarters % 2 == 1
            number, last, damaged = number + 1, ticks, damaged + bool(decoded.is_corrupt)
            stays = max(step, decoded.duration or 0)
            yield Frame(number, ticks, float(ticks * self.tick), np.ascontiguousarray(np.rot90(photo, quarters)))
        end = float((max(start, 0) + last + stays + step) * self.tick)
        short = number < (1 - MISSING) * self.count - 1 or end < (1 - MISSING) * self._length
        if self._broken or damaged or short:
            of = f" of {self.count}" if self.count > number else ""
            of = f" (as far as {end:.1f} of {self._length:.1f} s)" if not self.count and short else of
            self._note(f"damaged: {number}{of} frames could be read" + (f", {damaged} in part" if damaged else ""))

    def _decoded(self) -> Iterator[Any]:
        """The frames as FFmpeg has them; those that cannot be decoded are left out."""
        self._broken = False
        for packet in self._packets():
            try:
                frames = self._stream.decode(packet)
            except self._av.error.EOFError:  # the decoder has been emptied
                continue
            except self._av.FFmpegError:
                self._broken = True
                continue
            yield from frames

    def _packets(self) -> Iterator[Any]:
        """The stream's packets as far as they can be read, and last what empties the decoder."""
        packets = self._container.demux(self._stream)
        while True:
            try:
                packet = next(packets, None)
            except self._av.FFmpegError as error:
                self._refuse_unread(error)
                self._broken, packet = True, None
            if packet is None or packet.size == 0:
                break
            yield packet
        yield None

    def _refuse_unread(self, error: Any) -> None:
        """Tells a file that cannot be read to its end, by the fault of a disk or a share, from one that is damaged."""
        try:
            if error.errno in LOST:
                raise OSError(error.errno, os.strerror(error.errno))
            with open(self._path, "rb") as file:
                while file.read(1 << 20):
                    pass
        except OSError as fault:
            raise UserError(f"{self._name}: cannot be read to its end ({fault.strerror}); try again") from fault


def _reason(error: Exception) -> str:
    return getattr(error, "strerror", None) or str(error)
