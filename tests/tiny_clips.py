"""Small clips, written by the tests that read them, which need PyAV."""

import itertools
from collections.abc import Iterable
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np


def write_clip(
    path: Path,
    photos: Iterable[np.ndarray],
    *,
    rate: int = 10,
    codec: str = "ffv1",
    ticks: list[int] | None = None,
    tick: Fraction | None = None,
    turned: int = 0,
    pix_fmt: str = "",
    **context: Any,
) -> Path:
    """Writes photos, `[H, W, 3]` uint8, as a video; ffv1 loses nothing of them.

    Args:
        path: its ending chooses the container.
        photos: any number, one after the other.
        rate: frames a second.
        ticks: when each is shown, counted in `tick` seconds; by default `rate` a second.
        turned: degrees counterclockwise by which a player has to turn it.
        pix_fmt, context: how the codec has them.
    """
    photos = iter(photos)
    first = next(photos)
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=Fraction(rate))
        stream.height, stream.width = first.shape[:2]
        stream.pix_fmt = pix_fmt or ("bgr0" if codec == "ffv1" else "yuv420p")
        stream.codec_context.time_base = tick or 1 / Fraction(rate)
        for name, value in context.items():
            setattr(stream.codec_context, name, value)
        if turned:
            stream.set_display_rotation(turned)
        for number, photo in enumerate(itertools.chain([first], photos)):
            frame = av.VideoFrame.from_ndarray(photo, format="rgb24").reformat(format=stream.pix_fmt)
            frame.pts, frame.time_base = number if ticks is None else ticks[number], stream.codec_context.time_base
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def noise(seed: int = 0, height: int = 24, width: int = 32) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)
