"""JPEG files, and how much of them is there: libjpeg fills what is missing with grey, and tells Pillow nothing of it.

A file is suspected where its data ends without the marker of its end, stops at a marker that has no place there, or
holds a long run of zeros. How many rows are there is then measured: they are those that come out the same whatever
data is put in the place of what is missing.
"""

import dataclasses
import io
import math
import re
import struct
from typing import BinaryIO

import numpy as np
from PIL import Image, ImageChops
from PIL.JpegImagePlugin import JpegImageFile

from sgdbd_jax.data.opened import LEAST, Hearer, Opened, describe, open_with_pillow, unpack, whole

_END = b"\xff\xd9"
_NO_ZERO = re.compile(rb"[^\0]")
_RESTART = re.compile(rb"\xff[\xd0-\xd7]")
_MARKER = re.compile(rb"\xff[^\0]", re.DOTALL)  # in coded data, where a byte FF is followed by 0
_EOI, _SOS, _DHT, _DRI, _DNL = 0xD9, 0xDA, 0xC4, 0xDD, 0xDC
_FRAMES = {0xC0, 0xC1, 0xC2}  # Huffman-coded: sequential, extended, progressive
_BETWEEN_SCANS = {_SOS, _DHT, _DRI, _DNL, _EOI, 0xDB, 0xFE, *range(0xE0, 0xF0)}
_HOLE = 128  # zeros in a row that no encoder writes, but for areas of one colour
_HOLE_IN_PASSES = 512  # ... but for progressive passes of detail, or of single bits, which may have more of them
_EDGE = 64  # bytes in which such a pass begins or ends otherwise
_FILLER = np.random.default_rng(0).integers(0, 255, 4096, np.uint8).tobytes()  # without a byte FF


def read_jpeg(file: BinaryIO) -> Opened:
    """The first image of a JPEG file; it is damaged if coded data is missing, not if only the marker of its end is."""
    data = whole(file)

    def read(least: tuple[int, int] | None = None) -> JpegImageFile:
        image = JpegImageFile(io.BytesIO(data))
        if least is not None:
            image.draft(None, least)
        return image

    opened = open_with_pillow(read)
    stream = _parse(data)
    if stream.least_bytes > len(data):
        raise OSError(f"damaged: {len(data):,} bytes cannot hold {stream.width} x {stream.height} pixels")

    def load(hearer: Hearer, least: tuple[int, int] | None = None) -> Image.Image:
        if stream.doubt is None:
            image = open_with_pillow(lambda: read(least)).load(hearer)
            if not _ends_in_grey(image, opened.size[0]) or stream.progressive or not stream.scans:
                return image
            image, lost = _measure(data, stream.scans[-1].end, stream.scans)
        else:
            image, lost = _measure(data, stream.doubt, stream.scans)
        if lost.any() or stream.passes_missing:
            hearer.damaged(_describe(lost, stream))
        return image

    def smaller(least: tuple[int, int]) -> Opened:
        return Opened(read(least).size, lambda hearer: load(hearer, least))

    return Opened(opened.size, load, smaller=smaller)


def _describe(lost: np.ndarray, stream: "_Stream") -> str:
    count, rows = int(lost.sum()), len(lost)
    if not count or (stream.coarse and rows - count < LEAST * rows):
        where = f"all {rows} rows" if stream.passes_missing or count == rows else f"{count} of {rows} rows"
        return f"damaged: data of its detail is missing, in {where}"
    return describe(lost) + "; in the others, data of detail is missing" * stream.passes_missing


@dataclasses.dataclass
class _Scan:
    start: int  # of its coded data
    end: int
    tables: dict[int, tuple[int, int]]  # class and number of a Huffman table -> its first value, and the code's length
    header: bytes
    restarts: int  # blocks, or groups of them, between markers of a restart; 0 without these

    @property
    def names(self) -> bytes:
        """The numbers of its components."""
        return self.header[1 : 1 + 2 * self.header[0] : 2]

    @property
    def levels(self) -> tuple[int, int, int, int]:
        """First and last coefficient; how many low bits were to come before, 0 in a first pass, and are after it."""
        first, last, bits = self.header[-3:]
        return first, last, bits >> 4, bits & 15


@dataclasses.dataclass
class _Stream:
    """What a walk from marker to marker found.

    Attributes:
        components: number -> (horizontal, vertical) sampling.
        doubt: where the data ends that can be trusted; `None` if nothing is suspicious.
        passes_missing: whether some coefficients did not come in full, before `doubt`.
    """

    width: int = 0
    height: int = 0
    progressive: bool = False
    components: dict[int, tuple[int, int]] = dataclasses.field(default_factory=dict)
    scans: list[_Scan] = dataclasses.field(default_factory=list)
    doubt: int | None = None
    passes_missing: bool = True

    @property
    def coarse(self) -> bool:
        """Whether passes are whole that have the mean colour of each block."""
        whole_passes = (scan for scan in self.scans if self.doubt is None or scan.end < self.doubt)
        found = {name for scan in whole_passes if scan.levels[0] == 0 for name in scan.names}
        return self.progressive and found >= set(self.components)

    @property
    def least_bytes(self) -> int:
        """A block of 8 x 8 takes at least a bit; 0 of kinds that are not known here."""
        if not self.components:
            return 0
        most = [max(sampling[axis] for sampling in self.components.values()) for axis in (0, 1)]
        blocks = sum(h * v for h, v in self.components.values()) / max(1, most[0] * most[1])
        return int(self.width * self.height / 64 * blocks / 8)


def _parse(data: bytes) -> _Stream:
    stream, position, restarts = _Stream(), 2, 0
    tables: dict[int, tuple[int, int]] = {}
    left: dict[int, np.ndarray] = {}  # component -> [64], how many low bits of each coefficient are still to come
    segments: list[tuple[int, int]] = []
    known = False
    while True:
        position = data.find(b"\xff", position)
        while 0 <= position < len(data) - 1 and data[position + 1] == 0xFF:
            position += 1
        if not 0 <= position < len(data) - 1:
            stream.doubt = _trimmed(data, stream)
            break
        marker, start = data[position + 1], position + 2
        if stream.scans and not (stream.passes_missing and marker in _BETWEEN_SCANS or marker in {_EOI, _DNL}):
            stream.doubt = position
            break
        if marker == _EOI:
            break
        if marker in {0, 1} or 0xD0 <= marker <= 0xD8:
            position = start
            continue
        if start + 2 > len(data):
            stream.doubt = position
            break
        (length,) = struct.unpack_from(">H", data, start)
        if stream.scans and (length < 2 or start + length > len(data)):
            stream.doubt = position
            break
        segments.append((position, start + length))
        segment, position = data[start + 2 : start + length], start + length
        if marker in _FRAMES and len(segment) >= 6:
            known = True
            stream.progressive = marker == 0xC2
            stream.height, stream.width = struct.unpack_from(">HH", segment, 1)
            for index in range(min(segment[5], (len(segment) - 6) // 3)):
                name, sampling = segment[6 + 3 * index], segment[7 + 3 * index]
                stream.components[name] = sampling >> 4, sampling & 15
                left[name] = np.full(64, 14)
        elif marker == _DHT:
            tables |= _first_codes(segment)
        elif marker == _DRI and len(segment) >= 2:
            (restarts,) = struct.unpack_from(">H", segment)
        elif marker == _SOS and len(segment) >= 4:
            if not known:
                break  # arithmetic coding and other rare kinds: as libjpeg has it
            end = _coded_end(data, position, restarts)
            stream.scans.append(_Scan(position, end, dict(tables), segment, restarts))
            stream.passes_missing = _note_pass(left, stream.scans[-1])
            position = end
    if not known or not stream.scans:
        stream.doubt, stream.passes_missing = None, False
    if stream.doubt is not None:
        stream.doubt = next((start for start, end in segments if start < stream.doubt < end), stream.doubt)
    for scan in stream.scans:
        hole = _hole(data, scan, stream)
        if hole is not None and (stream.doubt is None or hole < stream.doubt):
            stream.doubt = hole
    if stream.doubt is None and stream.passes_missing:
        stream.doubt = stream.scans[-1].end
    elif stream.doubt is not None:
        left = {name: np.full(64, 14) for name in left}
        for scan in stream.scans:
            if scan.start <= stream.doubt:
                stream.passes_missing = _note_pass(left, scan)
    return stream


def _note_pass(left: dict[int, np.ndarray], scan: _Scan) -> bool:
    """Notes in `left` what a scan brings; whether some is still to come."""
    first, last, _, bits = scan.levels
    for name in scan.names:
        if name in left:
            left[name][first : last + 1] = bits
    return any(levels.any() for levels in left.values())


def _trimmed(data: bytes, stream: _Stream) -> int:
    """Where a file without an end stops to hold anything: three bytes of 0 may be its end and data, more are not."""
    kept = len(data.rstrip(b"\0"))
    kept += data[kept - 1 : kept + 1] == b"\xff\0"  # which stands for a byte FF
    flat = stream.scans and not stream.progressive and _flat_bits(stream.scans[-1], stream)
    end = kept if len(data) - kept >= 4 and not flat else len(data)
    while end and data[end - 1] == 0xFF:
        end -= 1
    return end


def _coded_end(data: bytes, start: int, restarts: int) -> int:
    """Where a scan's coded data ends: before the next marker that is not the restart which is due."""
    position, due = start, 0xD0
    while found := _MARKER.search(data, position):
        position = found.start() + 1
        while position < len(data) - 1 and data[position] == 0xFF:  # any number may fill up to a marker
            position += 1
        if not restarts or data[position] != due:
            return found.start()
        due = 0xD0 + (due - 0xCF) % 8
    return len(data)


def _first_codes(segment: bytes) -> dict[int, tuple[int, int]]:
    """Of each Huffman table, what a run of bits 0 means: the value of the first code, and its length."""
    tables, position = {}, 0
    while position + 17 < len(segment):
        counts = segment[position + 1 : position + 17]
        length = next((index + 1 for index, count in enumerate(counts) if count), 16)
        tables[segment[position]] = segment[position + 17], length
        position += 17 + sum(counts)
    return tables


def _flat_bits(scan: _Scan, stream: _Stream) -> int | None:
    """Bits of a block group that continues one colour, if these are all 0; else `None`. Not of passes of detail."""
    bits = 0
    for name, tables in zip(scan.names, scan.header[2::2]):
        if name in stream.components and len(scan.header) >= 4:
            codes = [scan.tables.get(tables >> 4)]
            if not stream.progressive:
                codes.append(scan.tables.get(0x10 | tables & 15))
            across, down = stream.components[name]
            for code in codes:
                if code is None or code[0]:
                    return None
                bits += code[1] * across * down
    return bits or None


def _hole(data: bytes, scan: _Scan, stream: _Stream) -> int | None:
    """Where a run of zeros begins that is no data."""
    first, _, before, _ = scan.levels
    run = _HOLE_IN_PASSES if stream.progressive and (first or before) else _HOLE
    hole = data.find(bytes(run), scan.start, scan.end)
    if hole < 0:
        return None
    after = _NO_ZERO.search(data, hole)
    end = after.start() if after else len(data)
    if stream.progressive and first:  # a pass of a pattern may be nothing but zeros
        return None if hole < scan.start + _EDGE and end > scan.end - _EDGE else hole
    if stream.progressive and before:
        return None  # a bit for each block, which may be 0 in all of them
    bits = _flat_bits(scan, stream)
    if bits is None:
        return hole
    across, down = (8 * max(sampling[axis] for sampling in stream.components.values()) for axis in (0, 1))
    groups = math.ceil(stream.width / across) * math.ceil(stream.height / down)
    return hole if (end - hole) * 8 > (groups + 1) * bits + 8 * len(_END) else None  # the end may be zeroed


def _ends_in_grey(image: Image.Image, full_width: int) -> bool:
    """Whether the last block's pixels, fewer in an image that is reduced, are what libjpeg makes of missing data."""
    block = max(1, 8 * image.width // full_width)
    corner = (max(0, image.width - block), image.height - 1, image.width, image.height)
    return image.mode in {"L", "RGB"} and bool((np.asarray(image.crop(corner)) == 128).all())


def _measure(data: bytes, end: int, scans: list[_Scan]) -> tuple[Image.Image, np.ndarray]:
    """The image of the data before `end`, and `[H]` bool, which of its rows are others with other data after it."""
    scan = max((each for each in scans if each.start <= end), key=lambda each: each.start, default=scans[0])
    there = data[:end].rstrip(b"\xff")
    filler = _FILLER
    if scan.restarts:  # what follows a complete interval is skipped up to the next one
        count = len(_RESTART.findall(there, scan.start))
        filler += b"\xff" + bytes([0xD0 + count % 8]) + _FILLER
    image, other = (JpegImageFile(io.BytesIO(there + added + _END)) for added in (b"", filler))
    unpack(image)
    unpack(other)
    differs = ImageChops.difference(image, other).getbbox(alpha_only=False)
    lost = np.zeros(image.height, bool)
    if differs:
        lost[differs[1] :] = True
    return image, lost
