"""Damaged JPEG files are read as far as they go, and what is missing is said; good ones are left alone."""

import io
import re
import struct

import numpy as np
import pytest
from PIL import Image

from sgdbd_jax.data.photos import decode_mask, decode_photo, load_photo, load_smaller
from sgdbd_jax.errors import UserError

KINDS = [{}, {"subsampling": 0}, {"optimize": True}, {"restart_marker_rows": 1}, {"progressive": True}]


def photo(height=240, width=320):
    """A gradient under fine noise, which JPEG keeps some of."""
    y, x = np.mgrid[:height, :width]
    smooth = np.stack([x * 200 // width, y * 200 // height, (x + y) // 4], -1)
    return (smooth + np.random.default_rng(0).integers(0, 20, smooth.shape)).astype(np.uint8)


def jpeg(pixels, **options):
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "JPEG", **options)
    return file.getvalue()


def load(tmp_path, data):
    """The photo, and the notes."""
    notes: list[str] = []
    (tmp_path / "a.jpg").write_bytes(data)
    return load_photo(tmp_path / "a.jpg", note=notes.append), notes


def lost_rows(notes):
    (note,) = notes
    found = re.fullmatch(
        r"damaged: the last (\d+) of 240 rows are missing(; in the others, data of detail is missing)?", note
    )
    assert found, note
    return int(found[1])


def zeroed(data, kept):
    return data[:kept] + bytes(len(data) - kept)


TAILS = {
    "zeroed": zeroed,
    "erased": lambda data, kept: data[:kept] + b"\xff" * (len(data) - kept),
    "cut": lambda data, kept: data[:kept],
    "zeroed but for its end": lambda data, kept: zeroed(data, kept)[:-2] + data[-2:],
    "a hole": lambda data, kept: data[:kept] + bytes(600) + data[kept + 600 :],
}


@pytest.mark.parametrize("kind", KINDS, ids=str)
@pytest.mark.parametrize("tail", TAILS)
def test_the_rows_that_are_missing_are_counted_and_the_others_are_read(tmp_path, kind, tail):
    data = jpeg(photo(), **kind)
    whole = decode_photo(data, name="a")
    counts = []
    for kept in (0.6, 0.9):
        pixels, notes = load(tmp_path, TAILS[tail](data, int(kept * len(data))))
        assert pixels.shape == whole.shape
        counts.append(lost_rows(notes))
        there = 240 - counts[-1]
        np.testing.assert_array_equal(pixels[:there], whole[:there])
        assert (pixels[there:] != whole[there:]).any()
    assert 0 < counts[1] < counts[0] < 240
    if "progressive" not in kind:  # whose passes each go over all rows
        assert 0.4 * 240 - 32 < counts[0] < 0.4 * 240 + 32


@pytest.mark.parametrize("kind", KINDS, ids=str)
@pytest.mark.parametrize("pixels", [photo(), photo(233, 319), np.full((48, 64, 3), 200, np.uint8)], ids=len)
def test_a_file_that_lacks_no_more_than_its_end_is_whole(tmp_path, kind, pixels):
    data = jpeg(pixels, **kind)
    for changed in (data[:-1], data[:-2], data[:-2] + bytes(2), data[:-2] + bytes(5000 * (len(pixels) != 48))):
        read, notes = load(tmp_path, changed)
        np.testing.assert_array_equal(read, decode_photo(data, name="a"))
        assert not notes
        np.testing.assert_array_equal(decode_photo(changed, name="a"), read)


def test_where_something_else_follows_the_rows_before_it_are_read(tmp_path):
    """Bits that are no longer the photo's go on as if they were, until a marker comes that has no place there."""
    data = jpeg(photo())
    kept = int(0.6 * len(data))
    other = np.random.default_rng(0).bytes(len(data) - kept)
    pixels, notes = load(tmp_path, data[:kept] + other)
    assert 0.4 * 240 - 48 < lost_rows(notes) < 0.4 * 240 + 32
    np.testing.assert_array_equal(pixels[:112], decode_photo(data, name="a")[:112])


def test_an_end_put_behind_half_of_the_data_deceives_nobody(tmp_path):
    data = jpeg(photo())
    assert 80 < lost_rows(load(tmp_path, data[: len(data) // 2] + b"\xff\xd9")[1]) < 150


@pytest.mark.parametrize("part", [1, 2, 4, 8])
def test_a_few_bytes_that_are_missing_are_noticed_at_any_part_of_a_photo_s_size(tmp_path, part):
    """What comes behind them moves up, and only the last blocks are left grey: at an eighth, a pixel each."""
    data = jpeg(photo())
    half = len(data) // 2
    (tmp_path / "a.jpg").write_bytes(data[:half] + data[half + 40 :])
    notes: list[str] = []
    path, least = tmp_path / "a.jpg", lambda height, width: (height // part, width // part)
    assert load_smaller(path, least, note=notes.append)[1] == (240, 320)
    assert lost_rows(notes) == 17


def test_a_progressive_photo_without_its_last_passes_is_said_to_lack_detail(tmp_path):
    data = jpeg(photo(), progressive=True)
    pixels, notes = load(tmp_path, data[: passes(data)[-3]])
    assert notes == ["damaged: data of its detail is missing, in all 240 rows"]
    assert np.abs(pixels - decode_photo(data, name="a").astype(int)).mean() < 10


def passes(data):
    """Where the passes of a progressive file begin."""
    return [found.start() for found in re.finditer(b"\xff\xda", data)]


def test_rows_that_are_missing_and_detail_that_the_others_lack_are_said_together(tmp_path):
    data = jpeg(photo(), progressive=True)
    starts = passes(data)
    (note,) = load(tmp_path, data[: starts[1] + 100])[1]
    assert re.fullmatch(
        r"damaged: the last \d+ of 240 rows are missing; in the others, data of detail is missing", note
    )
    (note,) = load(tmp_path, data[: (3 * starts[-1] + len(data)) // 4])[1]
    assert re.fullmatch(r"damaged: the last \d+ of 240 rows are missing", note)


def test_rows_that_are_all_there_coarsely_are_read(tmp_path):
    data = jpeg(photo(), progressive=True)
    starts = passes(data)
    pixels, notes = load(tmp_path, data[: starts[-1] + 100])
    assert len(notes) == 1
    assert re.fullmatch(r"damaged: data of its detail is missing, in (2[23]\d of 240|all 240) rows", notes[0])
    assert np.abs(pixels - decode_photo(data, name="a").astype(int)).mean() < 10
    pixels, notes = load(tmp_path, data[: starts[1] + 30])
    assert notes == ["damaged: data of its detail is missing, in all 240 rows"]
    assert np.abs(pixels - decode_photo(data, name="a").astype(int)).mean() < 20
    with pytest.raises(UserError, match=r"a.jpg: cannot be decoded \(damaged: data of its detail is missing"):
        decode_photo(data[: starts[1] + 30], name="a.jpg")


@pytest.mark.parametrize("size", [200, 600, 4096])
def test_a_hole_in_the_coarse_pass_or_where_a_pass_begins_is_seen(tmp_path, size):
    data = jpeg(photo(1000, 1200), progressive=True, quality=90)
    starts = passes(data)
    length = starts[1] - starts[0]
    behind = (starts[1] + 20, starts[4] + 20, starts[-1] + 20) if size > 512 else ()
    for kept in (starts[0] + length // 2, *behind):
        pixels, notes = load(tmp_path, data[:kept] + bytes(size) + data[kept + size :])
        assert len(notes) == 1 and notes[0].startswith("damaged: "), kept
        assert pixels.shape == (1000, 1200, 3)


@pytest.mark.parametrize("kind", [{"restart_marker_rows": 1}, {"restart_marker_blocks": 1}], ids=str)
def test_what_is_missing_behind_a_complete_interval_is_counted(tmp_path, kind):
    """The data may end anywhere in an interval: within its blocks, or in what fills it up."""
    data = jpeg(photo(), **kind)
    marks = [found.start() for found in re.finditer(rb"\xff[\xd0-\xd7]", data)]
    end = marks[len(marks) * 2 // 3]
    for kept in range(end - 6, end + 3):
        for tail in ("cut", "zeroed"):
            assert 0.33 * 240 - 20 < lost_rows(load(tmp_path, TAILS[tail](data, kept))[1]) < 0.33 * 240 + 20


@pytest.mark.parametrize("damage", ["cut", "short", "zeroed"])
def test_damage_between_passes_costs_what_is_behind_it(tmp_path, damage):
    data = jpeg(photo(), progressive=True)
    place = data.rindex(b"\xff\xc4")  # the tables of the last pass
    damaged = {
        "cut": data[: place + 12],
        "short": data[: place + 2] + b"\0\1" + data[place + 4 :],
        "zeroed": zeroed(data, place + 12),
    }
    pixels, notes = load(tmp_path, damaged[damage])
    assert notes == ["damaged: data of its detail is missing, in all 240 rows"]
    np.testing.assert_array_equal(pixels, load(tmp_path, data[:place])[0])


@pytest.mark.parametrize("count", [4, 8, 15])
def test_a_few_bytes_of_the_tail_that_are_zeroed_are_missed(tmp_path, count):
    data = jpeg(photo())
    pixels, notes = load(tmp_path, zeroed(data, len(data) - count))
    assert 0 < lost_rows(notes) <= 24
    np.testing.assert_array_equal(pixels[:216], decode_photo(data, name="a")[:216])


def test_zeros_that_are_data_before_a_zeroed_end_are_kept(tmp_path):
    for pixels in (np.full((480, 640, 3), 128, np.uint8), np.full((240, 320, 3), 200, np.uint8)):
        for optimize in (False, True):
            data = jpeg(pixels, optimize=optimize)
            read, notes = load(tmp_path, data[:-2] + bytes(2))
            assert not notes
            np.testing.assert_array_equal(read, decode_photo(data, name="a"))


@pytest.mark.parametrize("tail", TAILS)
def test_nobody_gets_a_damaged_photo_unawares_nor_a_mask(tail):
    data = jpeg(photo())
    damaged = TAILS[tail](data, int(0.6 * len(data)))
    with pytest.raises(UserError, match=r"a.jpg: cannot be decoded \(damaged: the last \d+ of 240 rows are missing\)"):
        decode_photo(damaged, name="a.jpg")
    with pytest.raises(UserError, match=r"m.jpg: cannot be decoded \(damaged: the last \d+ of 240 rows are missing\)"):
        decode_mask(damaged, name="m.jpg", white="focused")


def test_of_less_than_a_tenth_nothing_is_read(tmp_path):
    data = jpeg(photo())
    with pytest.raises(UserError, match=r"a.jpg: cannot be decoded \(damaged: \d+ of its 240 rows are missing\)"):
        load(tmp_path, zeroed(data, 1200))


def mid_grey_below():
    pixels = photo()
    pixels[100:] = 128
    return pixels


def flat_below():
    pixels = photo(1200, 1600)
    pixels[100:] = 255
    return pixels


def with_thumbnail():
    exif = Image.Exif()
    exif[0x010E] = "\xff\xd8 cut" + 300 * "\0"
    return jpeg(photo(), exif=exif)


GOOD = {
    "mid-grey below": jpeg(mid_grey_below()),
    "of one colour below": jpeg(flat_below(), optimize=True),
    "black": jpeg(np.zeros((900, 1200, 3), np.uint8), optimize=True),
    "black, in passes": jpeg(np.zeros((900, 1200, 3), np.uint8), progressive=True),
    "pattern, in passes": jpeg(np.tile(photo(8, 8), (60, 80, 1)), progressive=True),
    "grey": jpeg(photo()[..., 0], optimize=True),
    "more behind it": jpeg(photo()) + bytes(4000) + jpeg(photo(16, 16))[:200],
    "an end within its metadata": with_thumbnail(),
    "filled up to markers": jpeg(photo(), restart_marker_rows=2).replace(b"\xff\xd1", b"\xff\xff\xff\xd1"),
}


@pytest.mark.parametrize("name", GOOD)
def test_nothing_is_said_of_good_files(tmp_path, name):
    pixels, notes = load(tmp_path, GOOD[name])
    assert not notes
    with Image.open(io.BytesIO(GOOD[name])) as image:
        np.testing.assert_array_equal(pixels, image.convert("RGB"))


def test_a_header_that_claims_more_than_the_file_can_hold_is_refused_at_once():
    data = jpeg(photo())
    lying = data.replace(struct.pack(">HH", 240, 320), struct.pack(">HH", 17000, 17000))
    with pytest.raises(UserError, match="damaged: its size cannot be 17000 x 17000|cannot hold 17000 x 17000"):
        decode_photo(lying, name="a")


@pytest.mark.parametrize("where", [b"Exif\0\0", b"ICC_PROFILE", b"http://ns.adobe.com", b"JFIF"])
def test_damaged_metadata_costs_no_photo(where):
    exif = Image.Exif()
    exif[0x010F] = "maker"
    pixels = photo(48, 64)
    data = jpeg(pixels, exif=exif, icc_profile=b"\0" * 300, xmp=b"<x:xmpmeta/>", dpi=(72, 72))
    place = data.index(where) + len(where)
    for seed in range(20):
        damaged = bytearray(data)
        damaged[place : place + 10] = np.random.default_rng(seed).bytes(10)
        np.testing.assert_array_equal(decode_photo(bytes(damaged), name="a"), decode_photo(data, name="a"))
