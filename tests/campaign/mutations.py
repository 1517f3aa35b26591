"""Damage to an image file, drawn at random: bytes changed, moved, lost; headers that lie about sizes."""

import struct
import zlib
from collections.abc import Callable

import numpy as np

Rng = np.random.Generator
SIZES = (0, 1, 2, 3, 7, 15, 17, 55, 57, 255, 256, 4095, 5000, 16384, 32767, 32768, 65535, 65536, 10**6, 10**8)
SIZES += (2**31 - 1, 2**31, 2**32 - 2, 2**32 - 1)


def mutate(data: bytes, rng: Rng, others: Callable[[], bytes]) -> tuple[bytes, str]:
    """Damages a file in one way, or in two.

    Args:
        data: of the file.
        rng: source of all randomness.
        others: gives another file, to be mixed in.

    Returns:
        The damaged file, and what was done, in words.
    """
    names = []
    for _ in range(2 if rng.random() < 0.2 else 1):
        kinds = (lie, lie, lie, flip_bytes, flip_bits, cut, drop, double, zero, insert, swap, overwrite)
        kind = kinds[rng.integers(len(kinds))] if rng.random() < 0.97 else None
        if kind is None:
            data, name = _span(data, rng)[0] + others(), "beginning of another"
        else:
            data, name = kind(data, rng), kind.__name__.replace("_", " ")
        names.append(name)
    return data, ", ".join(names)


def _span(data: bytes, rng: Rng) -> tuple[bytes, bytes, bytes]:
    """A file in three parts, the middle one of any length, mostly short."""
    start = int(rng.integers(0, len(data) + 1))
    if rng.random() < 0.3:  # where headers are
        start = min(start, int(rng.integers(0, 200)))
    length = int(np.exp(rng.uniform(0, np.log(max(2, len(data) - start)))))
    return data[:start], data[start : start + length], data[start + length :]


def flip_bytes(data: bytes, rng: Rng) -> bytes:
    changed = bytearray(data)
    for at in rng.integers(0, max(1, len(data)), rng.integers(1, 17)):
        changed[at : at + 1] = bytes([rng.integers(256)])
    return bytes(changed)


def flip_bits(data: bytes, rng: Rng) -> bytes:
    changed = bytearray(data)
    for at in rng.integers(0, max(1, len(data)), rng.integers(1, 5)):
        changed[at : at + 1] = bytes(byte ^ 1 << int(rng.integers(8)) for byte in changed[at : at + 1])
    return bytes(changed)


def cut(data: bytes, rng: Rng) -> bytes:
    return data[: -int(rng.integers(1, 5))] if rng.random() < 0.2 else _span(data, rng)[0]


def drop(data: bytes, rng: Rng) -> bytes:
    before, _, after = _span(data, rng)
    return before + after


def double(data: bytes, rng: Rng) -> bytes:
    before, part, after = _span(data, rng)
    return before + part * int(rng.integers(2, 5)) + after


def zero(data: bytes, rng: Rng) -> bytes:
    before, part, after = _span(data, rng)
    if rng.random() < 0.3:  # the whole tail, as a full card leaves it
        return before + bytes(len(part + after))
    return before + bytes(len(part)) + after


def insert(data: bytes, rng: Rng) -> bytes:
    before, part, after = _span(data, rng)
    return before + rng.bytes(int(rng.integers(1, 40))) + part + after


def swap(data: bytes, rng: Rng) -> bytes:
    before, part, after = _span(data, rng)
    return before + after + part


def overwrite(data: bytes, rng: Rng) -> bytes:
    """One number, of 1, 2 or 4 bytes, by one at which programs stumble."""
    width, at = int(rng.choice([1, 2, 4])), int(rng.integers(0, max(1, len(data))))
    return _put(data, at, int(rng.choice(SIZES)), width, rng.choice(["little", "big"]))


def lie(data: bytes, rng: Rng) -> bytes:
    """A header that tells of another size, depth, length or kind, right check sums and all."""
    for start, teller in _LIARS.items():
        if data.startswith(start):
            return teller(data, rng)
    if data[4:8] == b"ftyp":
        return _lie_box(data, rng)
    return _lie_pnm(data, rng) if data[:1] == b"P" else overwrite(data, rng)


def _put(data: bytes, at: int, value: int, width: int, order: str) -> bytes:
    return data[:at] + (value % 256**width).to_bytes(width, "big" if order == "big" else "little") + data[at + width :]


def _lie_png(data: bytes, rng: Rng) -> bytes:
    """A number of IHDR, or a byte of any chunk, with its check sum."""
    starts, at = [], 8
    while at + 12 <= len(data) and len(starts) < 100:
        starts.append(at)
        at += 12 + int.from_bytes(data[at : at + 4], "big")
    if not starts:
        return data
    if rng.random() < 0.7:
        at = starts[0]
        field = int(rng.choice([8, 12, 16, 17, 20]))
        width = 4 if field < 16 else 1
        value = int(rng.choice(SIZES)) if width == 4 else int(rng.integers(0, 18))
        data = _put(data, at + field, value, width, "big")
    else:
        at = int(rng.choice(starts))
        length = int.from_bytes(data[at : at + 4], "big")
        data = _put(data, at + 4 + int(rng.integers(4, 5 + length)), int(rng.integers(256)), 1, "big")
    end = at + 8 + int.from_bytes(data[at : at + 4], "big")
    return _put(data, end, zlib.crc32(data[at + 4 : end]), 4, "big")


def _lie_jpeg(data: bytes, rng: Rng) -> bytes:
    """The height, width, depth or components of the frame, or any segment's length."""
    segments, at = [], 2
    while at + 4 <= len(data) and data[at] == 0xFF and len(segments) < 100:
        segments.append(at)
        if data[at + 1] == 0xDA:
            break
        at += 2 + int.from_bytes(data[at + 2 : at + 4], "big")
    frames = [at for at in segments if data[at + 1] in (0xC0, 0xC1, 0xC2)]
    if frames and rng.random() < 0.7:
        field = int(rng.choice([4, 5, 7, 9, 10, 11, 13, 14]))
        width = 2 if field in (5, 7) else 1
        return _put(data, frames[0] + field, int(rng.choice(SIZES)), width, "big")
    if not segments:
        return overwrite(data, rng)
    return _put(data, int(rng.choice(segments)) + int(rng.choice([1, 2, 4, 6])), int(rng.choice(SIZES)), 2, "big")


def _lie_bmp(data: bytes, rng: Rng) -> bytes:
    at, width = [(10, 4), (14, 4), (18, 4), (22, 4), (28, 2), (30, 4), (34, 4), (46, 4)][rng.integers(8)]
    value = int(rng.choice([*SIZES, 2**32 - 40, 2**32 - 56, 4, 8, 16, 24, 32]))
    return _put(data, at, value, width, "little")


def _lie_gif(data: bytes, rng: Rng) -> bytes:
    image = data.find(b",", 13)
    places = [6, 8, *([image + step for step in (1, 3, 5, 7)] if image > 0 else ())]
    return _put(data, int(rng.choice(places)), int(rng.choice(SIZES)), 2, "little")


def _lie_tiff(data: bytes, rng: Rng) -> bytes:
    """The tag, type, count or value of an entry of the first page, or where that lies."""
    order, letter = ("little", "<") if data[:2] == b"II" else ("big", ">")
    start = struct.unpack(f"{letter}I", data[4:8].ljust(4, b"\0"))[0]
    count = struct.unpack(f"{letter}H", data[start : start + 2].ljust(2, b"\0"))[0]
    if rng.random() < 0.05 or not count:
        return _put(data, int(rng.choice([4, start])), int(rng.choice(SIZES)), 4, order)
    at = start + 2 + 12 * int(rng.integers(min(count, 60)))
    field, width = [(0, 2), (2, 2), (4, 4), (8, 2), (8, 4), (8, 4)][rng.integers(6)]
    value = int(rng.choice(SIZES)) if field in (4, 8) else int(rng.integers(1, 20)) + 255 * (field == 0)
    return _put(data, at + field, value, width, order)


def _lie_webp(data: bytes, rng: Rng) -> bytes:
    chunk = data[12:16]
    places = {b"VP8X": [(24, 3), (27, 3), (20, 1)], b"VP8L": [(21, 4)]}.get(chunk, [(26, 2), (28, 2)])
    at, width = [(4, 4), (16, 4), *places][rng.integers(2 + len(places))]
    return _put(data, at, int(rng.choice(SIZES)), width, "little")


def _lie_box(data: bytes, rng: Rng) -> bytes:
    """AVIF and HEIC: the size in `ispe`, the bits in `pixi`, or any box's own length."""
    names = [b"ispe", b"ispe", b"pixi", b"iloc", b"meta", b"iprp", b"mdat", b"pitm", b"av1C", b"hvcC", b"infe", b"ipma"]
    name = names[rng.integers(len(names))]
    at = data.find(name)
    if at < 0:
        return overwrite(data, rng)
    return _put(data, at + int(rng.choice([8, 12] if name == b"ispe" else [-4, 4, 8, 12])), _size(rng), 4, "big")


def _size(rng: Rng) -> int:
    return int(rng.choice(SIZES))


def _lie_pnm(data: bytes, rng: Rng) -> bytes:
    """One of the numbers in letters that it begins with."""
    words = data.split(None, 4)
    if len(words) < 5:
        return overwrite(data, rng)
    words[int(rng.integers(1, 4))] = str(int(rng.choice([*SIZES, -1, 10**30]))).encode()
    return b" ".join(words[:4]) + b"\n" + words[4]


_LIARS: dict[bytes, Callable[[bytes, Rng], bytes]] = {
    b"\x89PNG": _lie_png,
    b"\xff\xd8": _lie_jpeg,
    b"BM": _lie_bmp,
    b"GIF8": _lie_gif,
    b"II": _lie_tiff,
    b"MM": _lie_tiff,
    b"RIFF": _lie_webp,
}
