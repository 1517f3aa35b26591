"""PNG files: metadata costs no photo, transparent pixels are told at every depth, and damage is said or refused."""

import io
import struct
import zlib

import numpy as np
import pytest
from handmade_images import P3, png
from PIL import Image, PngImagePlugin

from sgdbd_jax.data.photos import decode_mask, decode_photo, load_photo, photo_from_image
from sgdbd_jax.errors import UserError

WHITE = [255, 255, 255]
PIXELS = np.random.default_rng(0).integers(0, 256, (24, 32, 3), np.uint8)
SIGNATURE = 8


def saved(pixels=PIXELS, **options):
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG", **options)
    return file.getvalue()


def chunk(kind, data, damage=0):
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data) ^ damage)


def with_chunk(kind, data, damage=0, image=None):
    """A chunk behind the header."""
    image = image or saved()
    place = SIGNATURE + 25
    return image[:place] + chunk(kind, data, damage) + image[place:]


def load(tmp_path, data):
    """The photo, and the notes."""
    notes: list[str] = []
    (tmp_path / "a.png").write_bytes(data)
    return load_photo(tmp_path / "a.png", note=notes.append), notes


TEXT = b"Comment\0"
LARGE = 2_000_000
METADATA = {
    "text": (b"tEXt", TEXT + LARGE * b"x"),
    "packed text": (b"zTXt", TEXT + b"\0" + zlib.compress(LARGE * b"x")),
    "text of all scripts": (b"iTXt", TEXT + b"\0\0\0\0" + LARGE * b"x"),
    "packed text of all scripts": (b"iTXt", TEXT + b"\1\0\0\0" + zlib.compress(LARGE * b"x")),
    "large XMP": (b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0" + LARGE * b"x"),
    "packed by an unknown method": (b"zTXt", TEXT + b"\7x"),
    "short resolution": (b"pHYs", b"\0"),
    "short gamma": (b"gAMA", b"\0"),
    "short primaries": (b"cHRM", b"\0"),
    "no intent": (b"sRGB", b""),
    "private": (b"prVt", LARGE * b"\0"),
}


@pytest.mark.parametrize("name", METADATA)
def test_metadata_of_any_size_costs_no_photo(tmp_path, name):
    pixels, notes = load(tmp_path, with_chunk(*METADATA[name]))
    np.testing.assert_array_equal(pixels, PIXELS)
    assert not notes


@pytest.mark.parametrize(
    "kind", [b"pHYs", b"gAMA", b"cHRM", b"sRGB", b"tEXt", b"iTXt", b"zTXt", b"tIME", b"sBIT", b"bKGD"]
)
def test_a_wrong_check_sum_in_metadata_costs_no_photo(tmp_path, kind):
    pixels, notes = load(tmp_path, with_chunk(kind, 9 * b"\1", damage=1))
    np.testing.assert_array_equal(pixels, PIXELS)
    assert not notes


def test_metadata_behind_the_pixels_costs_no_photo(tmp_path):
    data = saved()
    for damage in (0, 1):
        pixels, notes = load(tmp_path, data[:-12] + chunk(b"tEXt", TEXT + LARGE * b"x", damage) + data[-12:])
        np.testing.assert_array_equal(pixels, PIXELS)
        assert not notes


@pytest.mark.parametrize(
    ("kind", "data", "note"),
    [
        (b"iCCP", b"P3\0\0" + zlib.compress(P3), "colour profile ignored (it is damaged)"),
        (b"tRNS", struct.pack(">3H", *PIXELS[0, 0]), "transparency ignored (its check sum is wrong)"),
        (b"eXIf", b"MM\0*\0\0\0\x08\0\1\1\x12\0\3\0\0\0\1\0\6\0\0\0\0\0\0", "EXIF ignored (its check sum is wrong)"),
    ],
)
def test_what_would_show_is_ignored_with_a_note_if_it_is_damaged(tmp_path, kind, data, note):
    pixels, notes = load(tmp_path, with_chunk(kind, data, damage=1))
    np.testing.assert_array_equal(pixels, PIXELS)
    assert notes == [note]
    shown, notes = load(tmp_path, with_chunk(kind, data))
    assert not notes and (shown.shape != pixels.shape or (shown != pixels).any())


@pytest.mark.parametrize("packed", [b"nonsense", zlib.compress(P3)[:-9], b""])
def test_a_profile_that_cannot_be_unpacked_is_ignored_with_a_note(tmp_path, packed):
    pixels, notes = load(tmp_path, with_chunk(b"iCCP", b"P3\0\0" + packed))
    np.testing.assert_array_equal(pixels, PIXELS)
    assert notes == ["colour profile ignored (it is damaged)"]


def test_a_profile_of_more_than_a_million_bytes_is_applied(tmp_path):
    large = struct.pack(">I", 1_500_000) + P3[4:] + bytes(1_500_000 - len(P3))
    red = np.full((2, 2, 3), (234, 51, 35), np.uint8)
    pixels, notes = load(tmp_path, with_chunk(b"iCCP", b"P3\0\0" + zlib.compress(large), image=saved(red)))
    np.testing.assert_allclose(pixels, np.broadcast_to((255, 0, 0), (2, 2, 3)), atol=1)
    assert not notes


@pytest.mark.parametrize(("kind", "what"), [(b"IHDR", "header"), (b"PLTE", "palette")])
def test_a_wrong_check_sum_in_what_is_shown_is_refused(kind, what):
    file = io.BytesIO()
    Image.fromarray(PIXELS).quantize(16).save(file, "PNG")
    data = bytearray(file.getvalue())
    place = data.index(kind)
    data[place + 4 + int.from_bytes(data[place - 4 : place])] ^= 1
    with pytest.raises(UserError, match=rf"a.png: cannot be decoded \(damaged: the check sum of its {what} is wrong\)"):
        decode_photo(bytes(data), name="a.png")


def test_pixels_that_are_right_are_read_though_a_check_sum_around_them_is_wrong(tmp_path):
    data = saved()
    place = data.index(b"IDAT")
    end = place + 4 + int.from_bytes(data[place - 4 : place])
    wrong = data[:end] + bytes([data[end] ^ 1]) + data[end + 1 :]
    pixels, notes = load(tmp_path, wrong)
    np.testing.assert_array_equal(pixels, PIXELS)
    assert notes == ["a wrong check sum in its data"]
    np.testing.assert_array_equal(decode_photo(wrong, name="a"), PIXELS)
    for changed in (place + 200, end - 1):  # a pixel's, and their own check sum
        damaged = wrong[:changed] + bytes([wrong[changed] ^ 1]) + wrong[changed + 1 :]
        with pytest.raises(UserError, match=r"damaged: the check sum of its pixels is wrong\)"):
            load(tmp_path, damaged)


@pytest.mark.parametrize("packed", [False, True])
def test_orientation_in_the_text_of_older_programs_is_kept(packed):
    exif = Image.Exif()
    exif[0x0112] = 6
    block = exif.tobytes()
    info = PngImagePlugin.PngInfo()
    info.add_text("Raw profile type exif", f"\nexif\n{len(block):8d}\n{block.hex()}\n", zip=packed)
    turned = decode_photo(saved(pnginfo=info), name="a")
    np.testing.assert_array_equal(turned, np.rot90(PIXELS, -1))


@pytest.mark.parametrize("bits", [1, 2, 4, 8, 16])
def test_the_transparent_grey_is_white_at_every_depth(bits):
    """The two darkest greys of which the first, then the second, is transparent."""
    row = struct.pack(">2H", 0, 1) if bits == 16 else bytes([0, 1]) if bits == 8 else bytes([1 << (8 - 2 * bits)])
    step = 255 // (2**bits - 1) if bits < 16 else 0
    for key, expected in {0: [WHITE, [step] * 3], 1: [[0] * 3, WHITE]}.items():
        data = png(2, 1, bits, 0, row, (b"tRNS", struct.pack(">H", key)))
        np.testing.assert_array_equal(decode_photo(data, name="a"), [expected])
        with Image.open(io.BytesIO(data)) as image:
            np.testing.assert_array_equal(photo_from_image(image), [expected])
            if bits not in {2, 4}:  # loaded by now
                np.testing.assert_array_equal(photo_from_image(image), [expected])
        np.testing.assert_array_equal(decode_mask(data, name="a", white="focused"), [[0, step]])


@pytest.mark.parametrize("bits", [8, 16])
def test_the_transparent_colour_is_white_and_one_beside_it_is_not(bits):
    """In 16 bits, two colours that are the same in 8."""
    form = ">6H" if bits == 16 else ">6B"
    values = (2560, 5120, 7680, 2560, 5120, 7681) if bits == 16 else (10, 20, 30, 10, 20, 31)
    data = png(2, 1, bits, 2, struct.pack(form, *values), (b"tRNS", struct.pack(">3H", *values[:3])))
    np.testing.assert_array_equal(decode_photo(data, name="a"), [[WHITE, [10, 20, 30 if bits == 16 else 31]]])
    other = struct.pack(form, *values[:5], 7936 if bits == 16 else 31)  # in its upper byte
    data = png(2, 1, bits, 2, other, (b"tRNS", struct.pack(">3H", *values[:3])))
    with Image.open(io.BytesIO(data)) as image:
        before = dict(image.info)
        for _ in range(2):
            np.testing.assert_array_equal(photo_from_image(image), [[WHITE, [10, 20, 31]]])
        assert image.info == before


@pytest.mark.parametrize("bits", [1, 2, 4, 8])
@pytest.mark.parametrize("opacity", [b"\0", b"\0\xff", b"\xff\0"], ids=["first", "first of two", "second"])
def test_transparent_colours_of_a_palette_are_white_at_every_depth(bits, opacity):
    row = bytes([0, 1]) if bits == 8 else bytes([1 << (8 - 2 * bits)])
    data = png(2, 1, bits, 3, row, (b"PLTE", bytes([200, 10, 20, 30, 150, 60])), (b"tRNS", opacity))
    expected = [[200, 10, 20], [30, 150, 60]]
    expected[opacity.index(0)] = WHITE
    np.testing.assert_array_equal(decode_photo(data, name="a"), [expected])


@pytest.mark.parametrize(("colours", "samples"), [(0, 1), (2, 3), (4, 2), (6, 4)])
def test_twelve_bits_in_sixteen_stay_dark_with_a_note(tmp_path, colours, samples):
    values = [0xFFFF if index in {1, 3} and colours > 2 else 4095 for index in range(samples)]  # alpha
    if colours == 6:
        values = [4095, 4095, 4095, 0xFFFF]
    pixels, notes = load(tmp_path, png(1, 1, 16, colours, struct.pack(f">{samples}H", *values)))
    assert pixels.max() <= 16
    assert notes == ["nearly black: its samples use 12 of 16 bits; if that is all they have, scale them up"]


def test_rows_that_are_cut_off_are_counted_and_the_others_are_read(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (64, 48, 3), np.uint8)
    data = saved(pixels)
    read, notes = load(tmp_path, data[: len(data) // 2])
    assert (
        len(notes) == 1 and notes[0].startswith("damaged: the last 3") and notes[0].endswith("of 64 rows are missing")
    )
    there = 64 - int(notes[0].split()[3])
    np.testing.assert_array_equal(read[:there], pixels[:there])
    np.testing.assert_array_equal(read[there:], 128)
    with pytest.raises(UserError, match="damaged: the last 3. of 64 rows are missing"):
        decode_photo(data[: len(data) // 2], name="a")
    with pytest.raises(UserError, match="damaged: the last 3. of 64 rows are missing"):
        decode_mask(data[: len(data) // 2], name="a", white="focused")


def test_a_cut_file_whose_rows_come_in_passes_is_refused(tmp_path):
    """Each pass goes over all rows."""
    rows = bytes([0, 1, 0, 2, 0, 3, 0, 4])  # passes 1 to 4 of 8 x 8 pixels, of one byte each; three are missing
    header = struct.pack(">IIBBBBB", 8, 8, 8, 0, 0, 0, 1)
    data = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows))
    with pytest.raises(UserError, match=r"a.png: cannot be decoded \("):
        load(tmp_path, data)


def test_a_file_that_lacks_no_more_than_its_end_is_whole(tmp_path):
    data = saved()
    for cut in (data[:-4], data[:-12], data[:-12] + bytes(12), data + bytes(100)):
        pixels, notes = load(tmp_path, cut)
        np.testing.assert_array_equal(pixels, PIXELS)
        assert not notes
