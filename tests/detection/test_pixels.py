"""What holds a photo: files, open and not, bytes, arrays; and what is said of what holds none."""

import array
import gzip
import io
import mmap
import tempfile
import zipfile

import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

from sgdbd_jax.detection.pixels import as_pixels, check_photo
from sgdbd_jax.errors import UserError

PHOTO = np.random.default_rng(0).integers(0, 256, (6, 5, 3), np.uint8)


def png(photo: np.ndarray = PHOTO, **options) -> bytes:
    file = io.BytesIO()
    Image.fromarray(photo).save(file, "png", **options)
    return file.getvalue()


def test_bytes_are_those_of_a_file_of_any_kind_of_bytes():
    for data in png(), bytearray(png()), memoryview(png()), memoryview(png() * 2)[: len(png())]:
        np.testing.assert_array_equal(as_pixels(data), PHOTO)


def test_bytes_are_turned_upright_as_a_file_is():
    exif = Image.Exif()
    exif[0x0112] = 6
    np.testing.assert_array_equal(as_pixels(png(exif=exif)), np.rot90(PHOTO, -1))


class Stream(io.RawIOBase):
    """A connection: no name, no way back, a few bytes at a time."""

    def __init__(self, data: bytes) -> None:
        self._rest = data

    def readable(self) -> bool:
        return True

    def readinto(self, buffer) -> int:
        part, self._rest = self._rest[: min(7, len(buffer))], self._rest[7:]
        buffer[: len(part)] = part
        return len(part)


class Response:
    """Of another library: `read`, and nothing else."""

    def read(self) -> bytes:
        return png()


def test_an_open_file_of_any_kind_is_read(tmp_path):
    path = tmp_path / "a.png"
    path.write_bytes(png())
    (tmp_path / "a.png.gz").write_bytes(gzip.compress(png()))
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr("in/a.png", png())
    with (
        path.open("rb") as buffered,
        path.open("rb", buffering=0) as raw,
        path.open("r+b") as mapped,
        mmap.mmap(mapped.fileno(), 0) as mapping,
        gzip.open(tmp_path / "a.png.gz") as zipped,
        zipfile.ZipFile(tmp_path / "a.zip") as archive,
        archive.open("in/a.png") as member,
        tempfile.SpooledTemporaryFile() as spooled,
        tempfile.NamedTemporaryFile() as named,
    ):
        spooled.write(png())
        named.write(png())  # and not rewound, either of them
        inside = zipfile.Path(archive, "in/a.png")
        for file in buffered, raw, mapping, zipped, member, spooled, named, inside, Stream(png()), Response():
            np.testing.assert_array_equal(as_pixels(file), PHOTO)
        for file in buffered, mapping, member, spooled:  # they are as open as before, and can be read again
            np.testing.assert_array_equal(as_pixels(file), PHOTO)


class HoldsAnArray:
    """As tensors of other libraries, and data sets of HDF5."""

    def __array__(self, dtype=None, copy=None):
        return PHOTO


def test_an_array_is_whatever_numpy_makes_one_of():
    for photo in jnp.asarray(PHOTO), HoldsAnArray(), PHOTO.data, PHOTO.view(np.recarray):
        pixels = as_pixels(photo)
        assert isinstance(pixels, np.ndarray)
        np.testing.assert_array_equal(pixels, PHOTO)
    assert as_pixels(PHOTO) is PHOTO
    torch = pytest.importorskip("torch")
    np.testing.assert_array_equal(as_pixels(torch.from_numpy(PHOTO)), PHOTO)


@pytest.mark.parametrize("data", [b"", b"text", png()[:50]])
def test_bytes_of_no_photo_are_refused(data):
    for given in data, io.BytesIO(data):
        with pytest.raises(UserError, match=f"image of {len(data)} bytes: |open file: "):
            as_pixels(given)


def test_an_open_file_that_is_no_photo_is_named(tmp_path):
    (tmp_path / "a.txt").write_text("text")
    with (tmp_path / "a.txt").open("rb") as file, pytest.raises(UserError, match=r"a\.txt: "):
        as_pixels(file)


def test_files_that_cannot_be_read_are_named(tmp_path):
    path = tmp_path / "a.png"
    path.write_bytes(png())
    with path.open("rb") as closed:
        pass
    with pytest.raises(UserError, match=r"a\.png: cannot be read \(.*closed"):
        as_pixels(closed)
    with path.open("ab") as written, pytest.raises(UserError, match=r"a\.png: cannot be read \(read"):
        as_pixels(written)
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr("a.png", png())
    (tmp_path / "a.zip").write_bytes((tmp_path / "a.zip").read_bytes().replace(png()[20:40], bytes(20)))
    refused = pytest.raises(UserError, match=r"a\.png: cannot be read \(Bad CRC")
    with zipfile.ZipFile(tmp_path / "a.zip") as archive, archive.open("a.png") as damaged, refused:
        as_pixels(damaged)


def test_files_opened_as_text_are_refused(tmp_path):
    path = tmp_path / "a.png"
    path.write_bytes(png())
    with path.open() as text, tempfile.NamedTemporaryFile("w+") as wrapped:
        wrapped.write("text")
        for file in text, io.StringIO("text"), wrapped:
            with pytest.raises(TypeError, match="was opened as text; open it in binary mode"):
                as_pixels(file)


@pytest.mark.parametrize("thing", [None, 3, {"a.jpg": 1}, {"a.jpg"}, iter(["a.jpg"]), object(), array.array("b")])
def test_what_is_no_photo_at_all_is_refused(thing):
    with pytest.raises(TypeError, match=f"a photo is a path, .* list or tuple of these; here {type(thing).__name__}"):
        as_pixels(thing)


@pytest.mark.parametrize(
    ("photo", "remedy"),
    [
        (PHOTO / 255, r"float64 \(6, 5, 3\); of values in \[0, 1\] multiply by 255"),
        (PHOTO.astype(np.float32), "multiply by 255"),
        (PHOTO.astype(np.uint16) * 257, "scale 16 bits to 8"),
        (PHOTO.astype(np.int64), "of values from 0 to 255"),
        (PHOTO[..., 0], r"uint8 \(6, 5\); of grey make three channels"),
        (PHOTO[..., :1], "of grey make three channels"),
        (np.dstack([PHOTO, PHOTO[..., 0]]), "with its alpha channel"),
        (PHOTO.transpose(2, 0, 1), r"channels come last: array\.transpose\(1, 2, 0\)"),
        (np.frombuffer(png(), np.uint8), r"array\.tobytes\(\)"),
        (PHOTO[:0], r"uint8 \(0, 5, 3\); it has no pixels"),
        (PHOTO[:, :0], "it has no pixels"),
        (PHOTO[..., :0], "it has no pixels"),
        (np.array(["a.jpg"]), r"<U5 \(1,\)$"),
        (np.uint8(3), r"uint8 \(\)$"),
        (PHOTO[None], r"uint8 \(1, 6, 5, 3\)$"),
        (PHOTO > 9, r"bool \(6, 5, 3\)$"),
    ],
)
def test_an_array_that_is_no_photo_is_refused_and_how_it_becomes_one_is_said(photo, remedy):
    with pytest.raises(ValueError, match=r"a photo must be uint8 \[H, W, 3\], here .*" + remedy):
        check_photo(as_pixels(photo))


@pytest.mark.parametrize(
    "photo",
    [PHOTO / 255, PHOTO.astype(np.uint16) * 257, PHOTO.astype(np.int64), PHOTO.transpose(2, 0, 1), PHOTO[..., 0]],
)
def test_what_is_said_to_do_makes_a_photo(photo):
    with pytest.raises(ValueError) as refusal:
        check_photo(photo)
    mended = eval(str(refusal.value).rpartition(": ")[2], {"np": np, "array": photo})
    check_photo(mended)
    np.testing.assert_array_equal(mended, np.dstack([photo] * 3) if photo.ndim == 2 else PHOTO)
