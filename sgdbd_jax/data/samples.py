"""Samples of any depth to 8 bits: what is white in them, by their kind, by what the file says, or by their values."""

import numpy as np

from sgdbd_jax.data.opened import Note, ranges

_SPARE = 2  # upper bits of a range that a photo hardly leaves empty, unless it is one of fewer bits


def to_levels(samples: np.ndarray, *, peak: int | None = None, dark: Note | None = None) -> np.ndarray:
    """Brings samples to 8 bits.

    White is the largest value of unsigned integers of up to 16 bits, the largest positive one of signed ones, and 1 of
    floats. Wider integers that do not exceed 65535 count as 16 bits; others must come within 3 bits of their range.
    What the values themselves suggest is no more than said: 12 bits in 16 stay dark, if the file does not say so too.

    Args:
        samples: `[H, W]`, or `[H, W, C]` of colours; bool, integer or float.
        peak: what white is, where the file says so; it is disregarded if a sample exceeds it.
        dark: called where integers leave the upper two bits or more of their range empty.

    Returns:
        uint8 of the same shape: the nearest level; of full 16-bit colours, the upper 8 bits.

    Raises:
        ValueError: samples that are negative, floats outside [0, 1], or integers whose white is not known.
    """
    if samples.dtype == bool:
        return samples.astype(np.uint8) * 255
    low, high = samples.min(), samples.max()
    if samples.dtype.kind == "f":
        if not (low >= 0 and high <= 1):
            raise ValueError("float samples outside [0, 1]")
        return _by_rows(samples, lambda rows: np.rint(rows.astype(np.float32) * 255))
    if samples.dtype.kind not in "iu":
        raise ValueError(f"samples of type {samples.dtype}")
    if low < 0:
        raise ValueError("samples below 0, whose black and white are not known")
    if peak is None or high > peak:
        peak = _peak(samples.dtype, int(high), dark)
    if peak == 255:
        return samples.astype(np.uint8, copy=False)
    if peak > 65535:
        return _by_rows(samples, lambda rows: np.rint(rows.astype(np.float64) * (255 / peak)))
    levels = (np.arange(peak + 1) * 255 + peak // 2) // peak
    if peak == 65535 and samples.ndim == 3:
        levels = np.arange(65536) >> 8
    return _by_rows(samples, levels.astype(np.uint8).__getitem__)


def _peak(kind: np.dtype, high: int, dark: Note | None) -> int:
    most, used = int(np.iinfo(kind).max), high.bit_length()
    if kind.itemsize > 2:
        if used > 16 and used < most.bit_length() - 3:
            raise ValueError(f"samples deeper than 16 bits, of whose {most.bit_length()} bits they use {used}")
        most = most if used > 16 else 65535
    note_dark(used, most.bit_length(), dark)
    return most


def note_dark(used: int, bits: int, dark: Note | None) -> None:
    """Says that a photo is dark since its samples use only so many of their bits, if that is so."""
    if dark and bits > 8 and 0 < used <= bits - _SPARE:
        how = "nearly black" if used <= bits - 2 * _SPARE else "dark"
        dark(f"{how}: its samples use {used} of {bits} bits; if that is all they have, scale them up")


def _by_rows(samples: np.ndarray, convert) -> np.ndarray:
    """Converts some rows at a time, so that nothing wider than the samples is held of all of them."""
    levels = np.empty(samples.shape, np.uint8)
    for top, bottom in ranges(len(samples), max(1, 2**21 // max(1, samples[0].size))):
        levels[top:bottom] = convert(samples[top:bottom])
    return levels
