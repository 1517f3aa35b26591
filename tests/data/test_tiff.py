"""TIFF files: the page that is the photo, samples of every kind and layout, and files that are cut off."""

import io
import itertools
import struct
import sys

import numpy as np
import pytest
import tifffile
from handmade_images import P3
from PIL import Image

from sgdbd_jax.data.photos import decode_mask, decode_photo, load_photo
from sgdbd_jax.errors import UserError

SIZE = 37, 53  # of no tile, and odd


def photo(height=SIZE[0], width=SIZE[1]):
    return np.random.default_rng(0).integers(0, 256, (height, width, 3), np.uint8)


def tiff(pixels, **options):
    file = io.BytesIO()
    tifffile.imwrite(file, pixels, **options)
    return file.getvalue()


def deep(levels, kind):
    """8-bit levels as samples of another kind; truth values stay."""
    if levels.dtype == bool:
        return levels
    if np.dtype(kind).kind == "f":
        return (levels / 255).astype(kind)
    return np.rint(levels.astype(np.longdouble) * np.iinfo(kind).max / 255).astype(kind)


def load(tmp_path, data, **options):
    """The photo, and the notes."""
    notes: list[str] = []
    (tmp_path / "a.tif").write_bytes(data)
    return load_photo(tmp_path / "a.tif", note=notes.append, **options), notes


def levels_of(colours):
    """What is stored for `photo`, and how it is named."""
    a, one = photo(), photo()[..., :1]
    return {
        "minisblack": (one, one.repeat(3, -1)),
        "miniswhite": (255 - one, one.repeat(3, -1)),
        "rgb": (a, a),
        "separated": (np.concatenate([255 - a, np.zeros_like(one)], -1), a),
    }[colours]


KINDS = ["u1", "u2", "u4", "i1", "i2", "i4", "f2", "f4", "f8"]
LAYOUTS = list(itertools.product("<>", ["contig", "separate"], [None, (16, 32)]))
COLOURS = ["minisblack", "miniswhite", "rgb", "separated"]


@pytest.mark.parametrize(("packing", "predictor"), [(None, False), ("zlib", False), ("lzw", True)])
@pytest.mark.parametrize("colours", COLOURS)
@pytest.mark.parametrize("kind", KINDS)
def test_samples_of_every_kind_are_read_in_every_layout(kind, colours, packing, predictor):
    if packing in {"lzw", "zstd"} or predictor:
        pytest.importorskip("imagecodecs")
    stored, expected = levels_of(colours)
    samples = deep(stored, kind)
    for order, planes, tile in LAYOUTS:
        if colours.startswith("mini"):
            if planes == "separate":
                continue
            image, layout = samples[..., 0], {}
        else:
            image = samples if planes == "contig" else np.moveaxis(samples, -1, 0)
            layout = {"planarconfig": planes}
        strips = {"tile": tile} if tile else {"rowsperstrip": 10}
        data = tiff(
            image, photometric=colours, byteorder=order, compression=packing, predictor=predictor, **layout, **strips
        )
        found = decode_photo(data, name="a").astype(int)
        np.testing.assert_allclose(found, expected, atol=1, err_msg=f"{order} {planes} {tile}")


@pytest.mark.parametrize("kind", ["u1", "u2", "u4", "f4"])
@pytest.mark.parametrize("planes", ["contig", "separate"])
@pytest.mark.parametrize("colours", ["rgb", "separated"])
def test_what_is_transparent_is_white(kind, planes, colours):
    stored, expected = levels_of(colours)
    opacity = np.full_like(stored[..., :1], 255)
    opacity[:10] = 0
    samples = deep(np.concatenate([stored, opacity], -1), kind)
    samples = samples if planes == "contig" else np.moveaxis(samples, -1, 0)
    data = tiff(samples, photometric=colours, planarconfig=planes, extrasamples=["unassalpha"])
    expected = expected.copy()
    expected[:10] = 255
    np.testing.assert_allclose(decode_photo(data, name="a").astype(int), expected, atol=1)


@pytest.mark.parametrize("kind", ["u1", "u2", "f4"])
@pytest.mark.parametrize("colours", ["rgb", "minisblack"])
def test_colours_that_come_multiplied_by_their_opacity_are_laid_on_white(kind, colours):
    """Half of level 200, and half of white."""
    pixels = np.full((4, 4, 3 if colours == "rgb" else 1), 100, np.uint8)
    samples = deep(np.concatenate([pixels, np.full_like(pixels[..., :1], 128)], -1), kind)
    data = tiff(samples, photometric=colours, planarconfig="contig", extrasamples=["assocalpha"])
    np.testing.assert_allclose(decode_photo(data, name="a"), 100 + 127, atol=2)


def test_other_samples_beside_the_colours_are_left_out():
    more = np.concatenate([photo(), photo()[..., :2]], -1)
    for kind in ("u1", "u2"):
        data = tiff(deep(more, kind), photometric="rgb", planarconfig="contig", extrasamples=["unspecified"] * 2)
        np.testing.assert_array_equal(decode_photo(data, name="a"), photo())


def test_a_palette_is_looked_up():
    table = np.random.default_rng(0).integers(0, 256, (3, 256), np.uint16)
    indices = np.arange(256, dtype=np.uint8).reshape(16, 16)
    expected = table.astype(np.uint8).T[indices]
    data = tiff(indices, photometric="palette", colormap=table * 257)
    np.testing.assert_array_equal(decode_photo(data, name="a"), expected)


def test_lab_is_read_at_8_and_16_bits():
    """The red of sRGB is (54, 81, 70), here with a and b as signed numbers, and as ICC has them."""
    for photometric, offset in (("cielab", 0), ("icclab", 128)):
        stored = np.array([[[138, (81 + offset) % 256, (70 + offset) % 256]]], np.uint8)
        for samples in (stored, stored.astype(np.uint16) << 8):
            found = decode_photo(tiff(samples, photometric=photometric, planarconfig="contig"), name="a")
            np.testing.assert_allclose(found, [[[255, 0, 0]]], atol=5)


@pytest.mark.parametrize("bigtiff", [False, True])
@pytest.mark.parametrize("kind", ["u1", "u2"])
def test_files_of_more_than_4_gigabytes_are_of_a_kind_that_is_read(bigtiff, kind):
    data = tiff(deep(photo(), kind), photometric="rgb", bigtiff=bigtiff)
    np.testing.assert_array_equal(decode_photo(data, name="a"), photo())


@pytest.mark.parametrize("start", [b"CR\2\0", b"CR12", b"IIII", b"MMMM"])
def test_pixels_that_read_like_a_camera_makers_mark_are_pixels(start):
    """Where a raw file has its mark, Pillow and others begin with the pixels."""
    stored = photo()
    stored.reshape(-1)[: len(start)] = list(start)
    count = stored.size
    entries = {256: 53, 257: 37, 258: 8, 259: 1, 262: 2, 273: 8, 277: 3, 278: 37, 279: count}
    table = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in entries.items())
    place = 8 + count + count % 2
    data = struct.pack("<2sHI", b"II", 42, place) + stored.tobytes().ljust(place - 8, b"\0")
    data += struct.pack("<H", len(entries)) + table + bytes(4)
    np.testing.assert_array_equal(decode_photo(data, name="a"), stored)


@pytest.mark.parametrize("packing", [None, "zlib"])
def test_planes_of_8_bits_with_opacity_are_read(packing):
    stored = np.concatenate([photo(), np.full((*SIZE, 1), 255, np.uint8)], -1)
    for kind in ("unassalpha", "assocalpha", "unspecified"):
        planes = np.moveaxis(stored, -1, 0)
        data = tiff(planes, photometric="rgb", planarconfig="separate", extrasamples=[kind], compression=packing)
        np.testing.assert_array_equal(decode_photo(data, name="a"), photo())


def test_a_palette_that_takes_no_indices_is_refused_by_name():
    data = bytearray(tiff(deep(photo()[..., 0], "f4"), photometric="minisblack"))
    place = data.index(struct.pack("<HHI", 262, 3, 1)) + 8
    data[place : place + 2] = struct.pack("<H", 3)
    with pytest.raises(UserError, match=r"a.tif: cannot be decoded \(a TIFF of a palette .* of type float32\)"):
        decode_photo(bytes(data), name="a.tif")
    with pytest.raises(UserError, match=r"a.tif: cannot be decoded \(damaged: it has no image\)"):
        decode_photo(b"II*\0" + bytes(12), name="a.tif")


@pytest.mark.parametrize("kind", ["u1", "u2"])
def test_orientation_and_colour_profile_count_at_every_depth(kind):
    stored = np.zeros((2, 3, 3), np.uint8)
    stored[0, 0] = 234, 51, 35  # the red of sRGB, in the numbers of Display P3
    data = tiff(deep(stored, kind), photometric="rgb", iccprofile=P3, extratags=[(274, 3, 1, 6, True)])
    expected = np.zeros((3, 2, 3))
    expected[0, 1] = 255, 0, 0
    np.testing.assert_allclose(decode_photo(data, name="a"), expected, atol=1)


def test_what_the_file_says_of_white_is_believed(tmp_path):
    """12 bits in 16, in colours and grey."""
    samples = deep(photo(), "u2") >> 4
    said = [(281, 3, 1, 4095, True)]
    for image, photometric in ((samples, "rgb"), (samples[..., 0], "minisblack")):
        expected = photo() if photometric == "rgb" else photo()[..., :1].repeat(3, -1)
        found, notes = load(tmp_path, tiff(image, photometric=photometric, extratags=said))
        np.testing.assert_allclose(found.astype(int), expected, atol=1)
        assert not notes
        found, notes = load(tmp_path, tiff(image, photometric=photometric))
        np.testing.assert_allclose(found, expected / 16, atol=1)
        assert notes == ["nearly black: its samples use 12 of 16 bits; if that is all they have, scale them up"]
    statistic = tiff(samples, photometric="rgb", extratags=[(281, 3, 1, 4000, True)])
    assert decode_photo(statistic, name="a").max() <= 16


@pytest.mark.parametrize(
    ("samples", "found"),
    [
        (np.full((4, 4), -5, np.int8), "below 0"),
        (np.full((4, 4, 3), -5, np.int16), "below 0"),
        (np.full((4, 4, 3), 2.5, np.float16), "outside"),
        (np.full((4, 4), 70000, np.uint32), "deeper than 16 bits"),
        (np.full((4, 4), 1j, np.complex64), "complex"),
    ],
)
def test_samples_whose_white_is_not_known_are_refused_by_name(samples, found):
    data = tiff(samples, photometric="rgb" if samples.ndim == 3 else "minisblack")
    with pytest.raises(UserError, match=rf"a.tif: cannot be decoded \(.*{found}"):
        decode_photo(data, name="a.tif")


def test_without_imagecodecs_packed_samples_of_16_bits_are_read_and_what_others_take_is_named(monkeypatch):
    pytest.importorskip("imagecodecs")
    packed = {"compression": "lzw", "photometric": "rgb"}
    sixteen = tiff(deep(photo(), "u2"), **packed)
    planes = tiff(np.moveaxis(deep(photo(), "u2"), -1, 0), planarconfig="separate", **packed)
    floats = tiff(deep(photo(), "f4"), **packed)
    zipped = tiff(deep(photo(), "f4"), byteorder=">", compression="zlib", photometric="rgb")
    differences = [
        tiff(deep(photo(), "u2"), byteorder=order, compression="zlib", predictor=True, photometric="rgb", tile=(16, 32))
        for order in "<>"
    ]
    cut = tiff(deep(photo(), "u2"), compression="zlib", photometric="rgb", rowsperstrip=8)[:-500]
    monkeypatch.setitem(sys.modules, "imagecodecs", None)
    for data in (sixteen, planes, zipped, *differences):
        np.testing.assert_allclose(decode_photo(data, name="a").astype(int), photo(), atol=1)
    with pytest.raises(UserError, match=r"damaged: the last 5 of 37 rows are missing"):
        decode_photo(cut, name="a.tif")
    with pytest.raises(UserError, match=r"a.tif: .*pip install imagecodecs.*'\.\[tiff\]'"):
        decode_photo(floats, name="a.tif")


@pytest.mark.parametrize(
    ("kind", "colours"), [("f4", "minisblack"), ("f4", "miniswhite"), ("i4", "minisblack"), ("u4", "minisblack")]
)
def test_without_imagecodecs_deep_grey_is_read(monkeypatch, kind, colours):
    pytest.importorskip("imagecodecs")
    stored, expected = levels_of(colours)
    data = tiff(deep(stored[..., 0], kind), photometric=colours, compression="lzw", predictor=True)
    unknown = [
        tiff(deep(stored[..., 0], "f4"), compression="packbits", predictor=True),
        tiff(deep(stored[..., 0], "u4"), photometric="miniswhite", compression="lzw"),
    ]
    monkeypatch.setitem(sys.modules, "imagecodecs", None)
    np.testing.assert_allclose(decode_photo(data, name="a").astype(int), expected, atol=1)
    for other in unknown:
        with pytest.raises(UserError, match="pip install imagecodecs"):
            decode_photo(other, name="a")


LARGE, SMALL = photo(96, 128), np.zeros((24, 32, 3), np.uint8)


def pages(*images):
    """A file of pages: pixels, and options."""
    file = io.BytesIO()
    with tifffile.TiffWriter(file) as writer:
        for pixels, options in images:
            writer.write(pixels, **{"photometric": "rgb", "metadata": None, **options})
    return file.getvalue()


REDUCED = {"subfiletype": 1}
MASK = {"subfiletype": 4, "photometric": 4}
LAID_OUT = {
    "a thumbnail before it": [(SMALL, REDUCED), (LARGE, {})],
    "a thumbnail of other proportions": [(SMALL[:20], REDUCED), (LARGE, {})],
    "a thumbnail that is not called so": [(SMALL, {}), (LARGE, {})],
    "under a thumbnail": [(SMALL, REDUCED | {"subifds": 1}), (LARGE, {})],
    "under something small": [(SMALL[:20], {"subifds": 1}), (LARGE, {})],
    "smallest first": [(SMALL, {}), (photo(48, 64), {}), (LARGE, {})],
    "a pyramid behind it": [(LARGE, {}), (photo(48, 64), REDUCED), (SMALL, REDUCED)],
    "a pyramid under it": [(LARGE, {"subifds": 2}), (photo(48, 64), REDUCED), (SMALL, REDUCED)],
    "a mask behind it": [(LARGE, {}), (LARGE[::-1, :, 0] > 128, MASK)],
    "a mask before it": [(LARGE[::-1, :, 0] > 128, MASK), (LARGE, {})],
}


@pytest.mark.parametrize("kind", ["u1", "u2"])
@pytest.mark.parametrize("layout", LAID_OUT)
def test_the_photo_is_found_among_its_versions(tmp_path, layout, kind):
    found, notes = load(tmp_path, pages(*((deep(pixels, kind), options) for pixels, options in LAID_OUT[layout])))
    np.testing.assert_array_equal(found, LARGE)
    assert not notes


def test_of_pages_that_show_different_things_the_first_is_read(tmp_path):
    for others in ([LARGE[::-1]], [photo(200, 128), photo(10, 10)], [LARGE[:50]] * 99):
        found, notes = load(tmp_path, pages((LARGE, {}), *((other, {}) for other in others)))
        np.testing.assert_array_equal(found, LARGE)
        assert notes == [f"first of {1 + len(others)} frames"]


@pytest.mark.parametrize("kind", ["u1", "u2"])
def test_orientation_of_the_thumbnail_is_that_of_the_photo_which_has_none(kind):
    turned = REDUCED | {"extratags": [(274, 3, 1, 6, True)], "subifds": 1}
    data = pages((deep(SMALL, kind), turned), (deep(LARGE, kind), {}))
    np.testing.assert_array_equal(decode_photo(data, name="a"), np.rot90(LARGE, -1))
    own = pages((deep(SMALL, kind), turned), (deep(LARGE, kind), {"extratags": [(274, 3, 1, 8, True)]}))
    np.testing.assert_array_equal(decode_photo(own, name="a"), np.rot90(LARGE))


def test_the_limit_counts_the_photo_not_its_thumbnail():
    data = pages((SMALL, REDUCED), (LARGE, {}))
    with pytest.raises(UserError, match=r"a: too many pixels \(128 x 96"):
        from sgdbd_jax.data.photos import _decode_photo

        _decode_photo(io.BytesIO(data), "a", 128 * 96 - 1, None)


@pytest.mark.parametrize("packing", [None, "zlib", "lzw"])
@pytest.mark.parametrize("kind", ["u1", "u2"])
@pytest.mark.parametrize("strips", [{"rowsperstrip": 8}, {"tile": (16, 16)}], ids=str)
def test_rows_that_are_cut_off_are_counted_and_the_others_are_read(tmp_path, packing, kind, strips):
    if packing == "lzw":
        pytest.importorskip("imagecodecs")
    data = tiff(deep(LARGE, kind), photometric="rgb", compression=packing, **strips)
    found, notes = load(tmp_path, data[: len(data) * 2 // 3])
    assert (
        len(notes) == 1 and notes[0].startswith("damaged: the last ") and notes[0].endswith(" of 96 rows are missing")
    )
    there = 96 - int(notes[0].split()[3])
    assert 40 <= there <= 64
    np.testing.assert_array_equal(found[:there], LARGE[:there])
    for refused in (decode_photo, lambda data, name: decode_mask(data, name=name, white="focused")):
        with pytest.raises(UserError, match=r"a.tif: cannot be decoded \(damaged: the last \d+ of 96 rows"):
            refused(data[: len(data) * 2 // 3], name="a.tif")


def test_a_header_that_claims_more_than_the_file_can_hold_is_refused_at_once():
    for kind in ("u1", "u2", "f8"):
        data = bytearray(tiff(deep(photo(), kind), photometric="rgb"))
        for tag in (256, 257):
            place = data.index(struct.pack("<HHI", tag, 4, 1)) if struct.pack("<HHI", tag, 4, 1) in data else None
            place = place if place is not None else data.index(struct.pack("<HHI", tag, 3, 1))
            data[place : place + 12] = struct.pack("<HHII", tag, 4, 1, 17000)
        with pytest.raises(UserError, match="a.tif: cannot be decoded"):
            decode_photo(bytes(data), name="a.tif")


def test_what_a_text_or_a_profile_holds_costs_no_photo():
    large = tiff(photo(), photometric="rgb", description="x" * 3_000_000, iccprofile=b"\0" * 2_000_000)
    np.testing.assert_array_equal(decode_photo(large, name="a"), photo())


def test_a_photo_that_pillow_writes_is_read_in_every_way_that_it_packs():
    pixels = Image.fromarray(np.kron(photo(4, 4), np.ones((16, 16, 1), np.uint8)))
    for packing in ("raw", "tiff_lzw", "tiff_deflate", "tiff_adobe_deflate", "packbits", "jpeg", "zstd"):
        file = io.BytesIO()
        pixels.save(file, "TIFF", compression=packing, **({"quality": 100} if packing == "jpeg" else {}))
        np.testing.assert_allclose(
            decode_photo(file.getvalue(), name="a").astype(int), pixels, atol=40 * (packing == "jpeg")
        )
