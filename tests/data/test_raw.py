"""Camera raw: the preview as the camera shows it, or the photo developed, never the thumbnail."""

import io
import sys

import numpy as np
import pytest
import tifffile
from PIL import Image

from sgdbd_jax.data.photos import load_photo
from sgdbd_jax.errors import UserError

THUMBNAIL = np.zeros((12, 16, 3), np.uint8)
UPRIGHT = {1: lambda a: a, 3: lambda a: a[::-1, ::-1], 6: lambda a: np.rot90(a, -1), 8: np.rot90}


def gradient(height=48, width=64):
    y, x = np.mgrid[:height, :width]
    return np.stack([x * 255 // width, y * 255 // height, (x + y) * 255 // (width + height)], -1).astype(np.uint8)


def jpeg(pixels, orientation=None):
    file, exif = io.BytesIO(), Image.Exif()
    if orientation:
        exif[0x0112] = orientation
    Image.fromarray(pixels).save(file, "JPEG", quality=95, exif=exif)
    return file.getvalue()


def dng(path, *, preview=None, orientation=1, shape=(48, 64)):
    """A DNG: a thumbnail, a sensor's values that are dark to the left and bright to the right, perhaps a preview."""
    sensor = np.full(shape, 4000, np.uint16)
    sensor[:, shape[1] // 2 :] = 40000
    camera = [
        (50706, 1, 4, (1, 4, 0, 0), True),  # version
        (271, 2, 0, "Maker", True),
        (272, 2, 0, "Model", True),
        (50708, 2, 0, "Maker Model", True),
        (50721, 10, 9, (1, 1, 0, 1, 0, 1, 0, 1, 1, 1, 0, 1, 0, 1, 0, 1, 1, 1), True),  # colours
        (50728, 5, 3, (1, 1, 1, 1, 1, 1), True),  # white balance
        (274, 3, 1, orientation, True),
    ]
    mosaic = [(33421, 3, 2, (2, 2), True), (33422, 1, 4, (0, 1, 1, 2), True), (50717, 4, 1, 65535, True)]
    with tifffile.TiffWriter(path) as file:
        file.write(
            THUMBNAIL,
            photometric="rgb",
            subfiletype=1,
            subifds=1 + (preview is not None),
            extratags=camera,
            metadata=None,
        )
        file.write(sensor, photometric=32803, subfiletype=0, extratags=mosaic)
        if preview is not None:
            with Image.open(io.BytesIO(preview)) as image:
                width, height = image.size
            layout = {"photometric": "ycbcr", "subsampling": (2, 2), "compression": "jpeg", "rowsperstrip": height}
            file.write(iter([preview]), shape=(height, width, 3), dtype=np.uint8, subfiletype=1, **layout)
    return path


def load(path):
    """The photo, and the notes."""
    notes: list[str] = []
    return load_photo(path, note=notes.append), notes


@pytest.mark.parametrize("orientation", UPRIGHT)
def test_the_preview_is_set_upright_by_what_the_raw_file_says(tmp_path, orientation):
    pytest.importorskip("rawpy")
    pixels, notes = load(dng(tmp_path / "a.dng", preview=jpeg(gradient()), orientation=orientation))
    np.testing.assert_allclose(pixels, UPRIGHT[orientation](gradient()).astype(int), atol=6)
    assert not notes


@pytest.mark.parametrize("orientation", [6, 8])
def test_the_preview_is_set_upright_once(tmp_path, orientation):
    """By its own EXIF, which may say the same; and not at all if its pixels stand upright already."""
    pytest.importorskip("rawpy")
    shown = UPRIGHT[orientation](gradient()).astype(int)
    tagged = dng(tmp_path / "tagged.dng", preview=jpeg(gradient(), orientation), orientation=orientation)
    np.testing.assert_allclose(load(tagged)[0], shown, atol=6)
    turned = np.ascontiguousarray(UPRIGHT[orientation](gradient()))
    upright = dng(tmp_path / "upright.dng", preview=jpeg(turned), orientation=orientation)
    np.testing.assert_allclose(load(upright)[0], shown, atol=6)


@pytest.mark.parametrize("size", [(46, 62), (50, 66)])
def test_a_preview_that_lacks_the_edges_is_full_size(tmp_path, size):
    pytest.importorskip("rawpy")
    pixels, notes = load(dng(tmp_path / "a.dng", preview=jpeg(gradient(*size))))
    assert pixels.shape == (*size, 3) and not notes


@pytest.mark.parametrize("orientation", [1, 6])
@pytest.mark.parametrize("preview", [None, jpeg(gradient(24, 32))], ids=["thumbnail", "small"])
def test_a_photo_whose_preview_is_small_is_developed_upright_and_that_is_said(tmp_path, preview, orientation):
    pytest.importorskip("rawpy")
    pixels, notes = load(dng(tmp_path / "a.dng", preview=preview, orientation=orientation))
    found = "32 x 24" if preview else "16 x 12"
    assert notes == [f"developed from raw, as its preview has only {found} pixels"]
    assert pixels.shape == ((48, 64, 3) if orientation == 1 else (64, 48, 3))
    lying = pixels if orientation == 1 else np.rot90(pixels)
    assert lying[8:-8, 4:24].max() + 50 < lying[8:-8, 40:60].min()
    assert np.ptp(lying[8:-8, 4:24]) < 5


def test_a_mosaic_without_a_camera_is_never_its_thumbnail(tmp_path):
    """Refused in one line, or developed, as LibRaw has it."""
    path = tmp_path / "a.dng"
    with tifffile.TiffWriter(path) as file:
        file.write(THUMBNAIL, photometric="rgb", subfiletype=1, subifds=1)
        file.write(np.zeros((480, 640), np.uint16), photometric=32803, subfiletype=0)
    try:
        assert load(path)[0].shape == (480, 640, 3)
    except UserError as error:
        assert "a.dng: c" in str(error) and len(str(error).splitlines()) == 1


RAW_STARTS = {
    "a.cr2": b"II*\0\x10\0\0\0CR\2\0" + bytes(4) + b"\1\0\0\1\3\0\1\0\0\0\x10\0\0\0" + bytes(4),
    "a.cr3": b"\0\0\0\x18ftypcrx \0\0\0\1crx isom",
    "a.crw": b"II\x1a\0\0\0HEAPCCDR\2\0\1\0",
    "a.raf": b"FUJIFILMCCD-RAW 0201FF383501",
    "a.orf": b"IIRO\x08\0\0\0",
    "b.orf": b"IIRS\x08\0\0\0",
    "c.orf": b"MMOR\0\0\0\x08",
    "a.rw2": b"IIU\0\x18\0\0\0",
    "a.mrw": b"\0MRM\0\0\0\x10",
    "a.x3f": b"FOVb\0\0\2\0",
    "a.jpg": b"FUJIFILMCCD-RAW 0201FF383501",  # the content tells, not the name
}


@pytest.mark.parametrize("name", RAW_STARTS)
def test_raw_files_of_all_makers_are_known_and_what_reads_them_is_named(tmp_path, monkeypatch, name):
    (tmp_path / name).write_bytes(RAW_STARTS[name] + bytes(200))
    monkeypatch.setitem(sys.modules, "rawpy", None)
    with pytest.raises(UserError, match=rf"{name}: camera raw.*\(the extra raw\): pip install rawpy.*'\.\[raw\]'"):
        load_photo(tmp_path / name)


@pytest.mark.parametrize("name", RAW_STARTS)
def test_a_damaged_raw_file_is_refused_in_a_line(tmp_path, name):
    pytest.importorskip("rawpy")
    (tmp_path / name).write_bytes(RAW_STARTS[name] + bytes(200))
    with pytest.raises(UserError, match=f"{name}: cannot be decoded .*LibRaw cannot read") as caught:
        load_photo(tmp_path / name)
    assert len(str(caught.value).splitlines()) == 1


def linear(file):
    file.write(np.zeros((48, 64, 3), np.uint16), photometric=34892, planarconfig="contig")


def mosaic_behind(file):
    file.write(THUMBNAIL, photometric="rgb")
    file.write(np.zeros((48, 64), np.uint16), photometric=32803)


def version(file):
    file.write(gradient(), photometric="rgb", extratags=[(50706, 1, 4, (1, 4, 0, 0), True)])


@pytest.mark.parametrize("write", [linear, mosaic_behind, version])
@pytest.mark.parametrize("name", ["a.nef", "a.arw", "a.tif"])
def test_a_tiff_is_raw_by_what_it_holds(tmp_path, monkeypatch, write, name):
    monkeypatch.setitem(sys.modules, "rawpy", None)
    with tifffile.TiffWriter(tmp_path / name) as file:
        write(file)
    with pytest.raises(UserError, match=f"{name}: camera raw"):
        load_photo(tmp_path / name)
    dng(tmp_path / "b.dng")
    with pytest.raises(UserError, match="b.dng: camera raw"):
        load_photo(tmp_path / "b.dng")
