"""Pictures -> an MP4 file that plays as a clip does: of its size and rate, each picture at its frame's moment."""

from __future__ import annotations

import contextlib
from fractions import Fraction
from typing import IO, Any

import numpy as np

from sgdbd_jax.extra import needed
from sgdbd_jax.video.reading import Clip, Frame

# By FFmpeg's names, the first that its build has: H.264, which all play, and what every build can write.
ENCODERS: dict[str, dict[str, str]] = {"libx264": {"preset": "veryfast", "crf": "20"}, "mpeg4": {}}
BITS = 0.2  # a pixel, of encoders that take a rate and no quality
FINEST = 65535  # ticks a second that MPEG-4 has at the most
COARSE = Fraction(1, 60000)  # seconds, its tick where the clip's is finer
MATRICES = {1, 4, 5, 6, 7, 9}  # from RGB to brightness and colour, of those that FFmpeg counts, that it can compute
UNSPECIFIED, USUAL = 2, 5  # the matrix that a file does not name, and which it then is
LIMITED = 1  # the range of brightness, 16 to 235, of which players are sure


class Film:
    """A video file that is written picture by picture.

    Args:
        file: open to be written and sought in.
        clip: whose rate, colours and shape of pixels it gets.
        encoder: by FFmpeg's name; `None`: the best there is.
    """

    def __init__(self, file: IO[bytes], clip: Clip, *, encoder: str | None = None) -> None:
        self._av = needed("av", "video")
        self._clip = clip
        self._encoder = encoder or ("libx264" if "libx264" in self._av.codecs_available else "mpeg4")
        # What a player needs first comes last in the file, where its reader seeks it: nothing is written twice.
        self._container = self._av.open(file, "w", format="mp4")
        self._stream: Any = None
        self._last = -1

    def add(self, picture: np.ndarray, frame: Frame) -> None:
        """Adds a picture.

        Args:
            picture: `[H, W, 3]` uint8 RGB, all of one size.
            frame: whose moment it is shown at.

        Raises:
            OSError: the file cannot be written.
        """
        if self._stream is None:
            self._open(*picture.shape[:2])
        image = self._av.VideoFrame.from_ndarray(picture, format="rgb24")
        image = image.reformat(format=self._stream.pix_fmt, dst_colorspace=self._matrix, dst_color_range=LIMITED)
        image.pts = self._last = max(self._last + 1, round(frame.ticks * self._clip.tick / self._tick))
        image.time_base = self._tick
        self._container.mux(self._stream.encode(image))

    def close(self) -> None:
        """Writes what is not written yet.

        Raises:
            OSError: the file cannot be written.
        """
        try:
            if self._stream is not None:
                self._container.mux(self._stream.encode(None))
        except BaseException:
            with contextlib.suppress(Exception):  # it writes again, and would say less of what is wrong
                self._container.close()
            raise
        self._container.close()

    def _open(self, height: int, width: int) -> None:
        clip, h264 = self._clip, self._encoder != "mpeg4"
        self._tick = clip.tick if h264 or clip.tick.denominator <= FINEST else COARSE
        self._stream = self._container.add_stream(self._encoder, rate=clip.rate, options=ENCODERS[self._encoder])
        self._stream.width, self._stream.height = width, height
        # H.264 with colours at half the size has no odd sizes.
        self._stream.pix_fmt = "yuv444p" if h264 and (width % 2 or height % 2) else "yuv420p"
        if not ENCODERS[self._encoder]:
            self._stream.bit_rate = round(BITS * width * height * min(float(clip.rate), 60.0))
        context = self._stream.codec_context
        context.time_base = self._tick
        context.sample_aspect_ratio = clip.pixel_shape
        colours = clip.colours
        self._matrix = colours["colorspace"] if colours["colorspace"] in MATRICES else USUAL
        if self._matrix != colours["colorspace"]:
            colours["colorspace"] = UNSPECIFIED
        for name, value in colours.items():
            setattr(context, name, value)
        context.color_range = LIMITED
