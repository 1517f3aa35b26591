"""Damaged image files: an answer or a `UserError` each, within bounds on time and memory, and never a crash."""

import io
import struct
import zlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from sgdbd_jax.data.photos import load_mask, load_photo

from . import batches
from .cases import Case, Family, Lost
from .mutations import mutate
from .samples import MASKS, PHOTOS, sample


def _zeros(width: int, height: int, bits: int, colours: int, *chunks: tuple[bytes, bytes]) -> bytes:
    """A PNG of zeros, whole: small as a file, large in memory."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, bits, colours, 0, 0, 0)
    row = bytes(1 + (width * bits * {0: 1, 2: 3, 3: 1}[colours] + 7) // 8)
    packer = zlib.compressobj()
    data = b"".join([packer.compress(row) for _ in range(height)]) + packer.flush()
    parts = [(b"IHDR", header), *chunks, (b"IDAT", data), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunk(*part) for part in parts)


def _gif(width: int, height: int) -> bytes:
    start = struct.pack("<6sHHBBB", b"GIF89a", width, height, 0x80, 0, 0) + bytes(6)
    return start + struct.pack("<BHHHHB", 44, 0, 0, width, height, 0) + b"\2\2\x4c\1\0;"


def _tiff(width: int, height: int) -> bytes:
    file = io.BytesIO()
    Image.new("1", (width, height)).save(file, "TIFF", compression="tiff_adobe_deflate")
    return file.getvalue()


TEXT = zlib.compress(bytes(300_000_000), 1)  # 1.3 MB
BOMBS: dict[str, Callable[[], bytes]] = {
    "png of 400 megapixels": lambda: _zeros(20_000, 20_000, 1, 0),
    "png of 100 megapixels": lambda: _zeros(10_000, 10_000, 1, 0),
    "png of 1 row of 80 megapixels": lambda: _zeros(80_000_000, 1, 1, 0),
    "png with a text of 300 MB": lambda: _zeros(8, 8, 8, 2, (b"zTXt", b"Comment\0\0" + TEXT)),
    "png with an international text of 300 MB": lambda: _zeros(8, 8, 8, 2, (b"iTXt", b"a\0\1\0\0\0" + TEXT)),
    "png with a profile of 300 MB": lambda: _zeros(8, 8, 8, 2, (b"iCCP", b"a\0\0" + TEXT)),
    "gif of 4,295 megapixels": lambda: _gif(65535, 65535),
    "gif of 100 megapixels": lambda: _gif(10_000, 10_000),
    "tiff of 400 megapixels": lambda: _tiff(20_000, 20_000),
    "tiff of 100 megapixels": lambda: _tiff(10_000, 10_000),
    "ppm of 10,000 megapixels": lambda: b"P6 100000 100000 255\n" + bytes(100),
    "pbm of 299 megapixels without data": lambda: b"P4 17300 17300\n",
}


def photo(seed: int, folder: Path) -> tuple[str, Callable[[], str]]:
    """A damaged photo, for `batches.run`; the first seeds are the `BOMBS`."""
    if seed < len(BOMBS):
        name = list(BOMBS)[seed]
        data, damage = BOMBS[name](), "as it is"
    else:
        name, data, damage = _damaged(seed, list(PHOTOS))
    path = _write(folder / f"photo-{seed}.bin", data)

    def trial() -> str:
        notes: list[str] = []
        array = load_photo(path, note=notes.append)
        if array.dtype != np.uint8 or array.ndim != 3 or array.shape[2] != 3 or array.size == 0:
            raise Lost(f"an answer of {array.dtype} {array.shape}")
        return f"{array.shape[1]} x {array.shape[0]}" + "".join(f"; {note}" for note in notes)

    return f"{name}: {damage}", _and_removes(path, trial)


def mask(seed: int, folder: Path) -> tuple[str, Callable[[], str]]:
    """A damaged mask, for `batches.run`."""
    name, data, damage = _damaged(seed, MASKS)
    path = _write(folder / f"mask-{seed}.bin", data)

    def trial() -> str:
        array = load_mask(path, white="blurred")
        if array.dtype != np.uint8 or array.ndim != 2 or array.size == 0:
            raise Lost(f"an answer of {array.dtype} {array.shape}")
        return f"{array.shape[1]} x {array.shape[0]}"

    return f"{name}: {damage}", _and_removes(path, trial)


def _damaged(seed: int, names: Sequence[str]) -> tuple[str, bytes, str]:
    """Which file, its damaged bytes, and the damage."""
    rng = np.random.default_rng(seed)
    name = names[rng.integers(len(names))]
    data, damage = mutate(sample(name), rng, lambda: sample(str(rng.choice([*names[:20]]))))
    return name, data, damage


def _write(path: Path, data: bytes) -> Path:
    path.write_bytes(data)
    return path


def _and_removes(path: Path, trial: Callable[[], str]) -> Callable[[], str]:
    """The trial, after which the file stays only if it is one to look into."""

    def run() -> str:
        from sgdbd_jax.errors import UserError

        try:
            answer = trial()
        except UserError:
            path.unlink()
            raise
        path.unlink()
        return answer

    return run


def _photos(seeds: Sequence[int], folder: Path) -> Iterator[Case]:
    return batches.run("campaign.decoding:photo", seeds, folder)


def _masks(seeds: Sequence[int], folder: Path) -> Iterator[Case]:
    return batches.run("campaign.decoding:mask", seeds, folder)


FAMILIES = [
    Family("decoding", "photos damaged", 2000, 200, _photos),
    Family("masks", "masks damaged", 200, 20, _masks),
]
