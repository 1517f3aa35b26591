"""When photos were taken, by EXIF blocks in every format, with fractions of a second; and XMP packets in files."""

import struct
import sys
import zlib
from datetime import datetime
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest
import tifffile
from PIL import Image, PngImagePlugin

from sgdbd_jax.data import metadata
from sgdbd_jax.data.metadata import embedded_xmp, when_taken

TIME = datetime(2026, 5, 4, 12, 34, 56, 250000)


def block(time=b"2026:05:04 12:34:56\0", fraction=b"25\0", *, order="<", mark=None, tag=0x9291):
    """An EXIF block written by hand: a directory that leads to another, which has a time and perhaps a fraction."""
    entries = [(0x9003, 2, len(time), struct.pack(order + "I", 100))]
    if fraction:
        entries.append((tag, 2, len(fraction), fraction.ljust(4, b"\0")))
    start = (b"II" if order == "<" else b"MM") + (mark or struct.pack(order + "H", 42)) + struct.pack(order + "I", 8)
    first = struct.pack(order + "HHHII", 1, 0x8769, 4, 1, 26) + bytes(4)
    second = struct.pack(order + "H", len(entries))
    second += b"".join(struct.pack(order + "HHI4s", *entry) for entry in sorted(entries)) + bytes(4)
    return (start + first + second).ljust(100, b"\0") + time


def photo(path, exif):
    Image.fromarray(np.full((8, 8, 3), 90, np.uint8)).save(path, exif=b"Exif\0\0" + exif if exif else b"")
    return path


@pytest.mark.parametrize("ending", ["jpg", "png", "webp", "avif", "tif"])
def test_photos_tell_their_time_with_its_fraction(tmp_path, ending):
    assert when_taken(photo(tmp_path / f"a.{ending}", block())) == TIME
    assert when_taken(photo(tmp_path / f"b.{ending}", block(order=">"))) == TIME
    assert when_taken(photo(tmp_path / f"c.{ending}", b"")) is None


def test_heic_tells_its_time(tmp_path):
    pillow_heif = pytest.importorskip("pillow_heif")
    image = pillow_heif.from_pillow(Image.fromarray(np.full((64, 64, 3), 90, np.uint8)))
    image.save(tmp_path / "a.heic", exif=b"Exif\0\0" + block())
    assert when_taken(tmp_path / "a.heic") == TIME


@pytest.mark.parametrize("mark", [b"*\0", b"RO", b"U\0"])  # most makers', Olympus', Panasonic's
def test_raw_files_that_are_a_kind_of_tiff_tell_their_time(tmp_path, mark):
    (tmp_path / "a.raw").write_bytes(block(mark=mark))
    assert when_taken(tmp_path / "a.raw") == TIME


@pytest.mark.parametrize(
    ("exif", "microseconds"),
    [
        (block(fraction=b""), 0),
        (block(fraction=b"007\0"), 7000),
        (block(fraction=b"1234567890\0"), 0),  # told to lie elsewhere, where nothing is
        (block(fraction=b"9\0", tag=0x9290), 900000),  # of the other time, as some phones have it
        (block(fraction=b"x\0"), 0),
        (block(time=b"2026-05-04T12:34:56\0"), 250000),
    ],
)
def test_odd_fractions_and_marks_cost_no_time(tmp_path, exif, microseconds):
    assert when_taken(photo(tmp_path / "a.jpg", exif)) == TIME.replace(microsecond=microseconds)


@pytest.mark.parametrize(
    "exif",
    [
        block(time=b"0000:00:00 00:00:00\0"),
        block(time=b"    :  :     :  :  \0"),
        block(time=b"2026:05:04\0"),
        block()[:20],
        block()[:60],
        b"II*\0\xff\xff\xff\xff",
        b"II*\0\0\0\0\0",
        b"??",
    ],
)
def test_what_tells_no_time_costs_nothing(tmp_path, exif):
    (tmp_path / "a.cr2").write_bytes(exif)
    assert when_taken(tmp_path / "a.cr2") is None
    assert when_taken(tmp_path / "none.jpg") is None
    assert when_taken(photo(tmp_path / "a.jpg", exif)) is None


@pytest.mark.parametrize(
    "start", [b"FUJIFILMCCD-RAW 0201", b"\0\0\0\x18ftypcrx \0\0\0\1", b"II\x1a\0\0\0HEAPCCDR", b"FOVb", b"\0MRM"]
)
def test_of_other_raw_files_libraw_tells_the_time(tmp_path, monkeypatch, start):
    class Raw(SimpleNamespace):
        def __enter__(self):
            return self

        def __exit__(self, *_):
            pass

    module = ModuleType("rawpy")
    module.imread = lambda path: Raw(other=SimpleNamespace(timestamp=times.pop()))
    monkeypatch.setitem(sys.modules, "rawpy", module)
    (tmp_path / "a.raf").write_bytes(start + bytes(100))
    times = [datetime(1970, 1, 1), TIME]
    assert when_taken(tmp_path / "a.raf") == TIME
    assert when_taken(tmp_path / "a.raf") is None  # what LibRaw says where it knows no time
    monkeypatch.setitem(sys.modules, "rawpy", None)
    assert when_taken(tmp_path / "a.raf") is None


def test_libraw_tells_what_the_camera_s_clock_showed(tmp_path, monkeypatch):
    """By a DNG in place of what is no kind of TIFF. Versions of rawpy before 0.27 know no time."""
    pytest.importorskip("rawpy")
    maker = [(271, 2, 0, "Maker", True), (272, 2, 0, "Model", True), (306, 2, 0, "2026:05:04 12:34:56", True)]
    mosaic = [(33421, 3, 2, (2, 2), True), (33422, 1, 4, (0, 1, 1, 2), True), (50706, 1, 4, (1, 4, 0, 0), True)]
    sensor = np.zeros((48, 64), np.uint16)
    tifffile.imwrite(tmp_path / "a.dng", sensor, photometric=32803, extratags=maker + mosaic, metadata=None)
    monkeypatch.setattr(metadata, "_by_exif", lambda path: None)
    monkeypatch.setattr(metadata, "_RAW", rb"II")
    assert when_taken(tmp_path / "a.dng") == TIME.replace(microsecond=0)


# Packets.

PACKET = b"<x/>" + bytes(3000)


@pytest.mark.parametrize("ending", ["jpg", "png", "webp", "avif", "tif"])
def test_a_packet_in_a_file_is_found(tmp_path, ending):
    image = Image.fromarray(np.full((8, 8, 3), 90, np.uint8))
    if ending == "png":
        text = PngImagePlugin.PngInfo()
        text.add_itxt("XML:com.adobe.xmp", "<x/>")
        image.save(tmp_path / "a.png", pnginfo=text)
    elif ending == "tif":
        image.save(tmp_path / "a.tif", tiffinfo={700: PACKET})
    else:
        image.save(tmp_path / f"a.{ending}", xmp=PACKET)
    assert embedded_xmp(tmp_path / f"a.{ending}").rstrip(b"\0") == b"<x/>"
    assert embedded_xmp(photo(tmp_path / f"b.{ending}", b"")) is None


@pytest.mark.parametrize("compressed", [False, True])
def test_a_packet_after_a_png_s_pixels_is_found(tmp_path, compressed):
    data = photo(tmp_path / "a.png", b"").read_bytes()
    text = zlib.compress(b"<x/>") if compressed else b"<x/>"
    content = b"iTXtXML:com.adobe.xmp\0" + bytes([compressed, 0]) + b"en\0XMP\0" + text
    chunk = struct.pack(">I", len(content) - 4) + content + struct.pack(">I", zlib.crc32(content))
    (tmp_path / "a.png").write_bytes(data[:-12] + chunk + data[-12:])  # the last chunk marks the end
    assert embedded_xmp(tmp_path / "a.png") == b"<x/>"


def test_where_nothing_is_there_is_no_packet(tmp_path):
    (tmp_path / "a.jpg").write_bytes(b"\xff\xd8\xff")
    (tmp_path / "a.raf").write_bytes(b"FUJIFILMCCD-RAW")
    assert [embedded_xmp(tmp_path / name) for name in ("a.jpg", "a.raf", "none.jpg")] == [None] * 3
