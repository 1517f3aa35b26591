"""The page's script, what of it needs no browser: by node, where it is installed."""

import base64
import io
import json
import shutil
import struct
import subprocess

import numpy as np
import pytest
from PIL import Image, ImageOps
from PIL.PngImagePlugin import PngInfo

from sgdbd_jax.page.files import ASSETS

PHOTO = np.random.default_rng(0).integers(0, 256, (3, 5, 3), np.uint8)
BYTES = "each => Uint8Array.from(Buffer.from(each, 'base64'))"
BASE64 = "async blob => Buffer.from(await blob.arrayBuffer()).toString('base64')"


def by_node(script, given=None):
    """What a script returns that has the page's functions as `page`, and what it is given as `given`."""
    if shutil.which("node") is None:
        pytest.skip("needs node")
    page = base64.b64encode((ASSETS / "page.js").read_bytes()).decode()
    program = f"""
globalThis.addEventListener = () => {{}};
const given = {json.dumps(given)}, bytes = {BYTES}, base64 = {BASE64};
const page = await import("data:text/javascript;base64,{page}");
console.log(JSON.stringify(await (async () => {{ {script} }})()));"""
    done = subprocess.run(
        ["node", "--input-type=module"], input=program, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def encoded(kind, **options):
    file = io.BytesIO()
    Image.fromarray(PHOTO).save(file, kind, **options)
    return file.getvalue()


def plain(*files):
    """What a browser is given of them, and how they are to be turned."""
    script = """return Promise.all(given.map(async each => {
  const { blob, orientation } = await page.plain(new Blob([bytes(each)]));
  return [await base64(blob), orientation];
}));"""
    found = by_node(script, [base64.b64encode(data).decode() for data in files])
    return [(base64.b64decode(data), orientation) for data, orientation in found]


@pytest.mark.parametrize("order", [b"II", b"MM"])
def test_a_webps_orientation_is_taken_from_it_for_browsers_differ_in_it(order):
    files = []
    for orientation in range(1, 10):
        exif = Image.Exif()
        exif.endian = "<" if order == b"II" else ">"
        exif[0x010F], exif[0x0112] = "maker", orientation
        files.append(encoded("WEBP", lossless=True, exif=exif))
    found = plain(*files)
    assert [orientation for _, orientation in found] == [1, 2, 3, 4, 5, 6, 7, 8, 1]
    for data, _ in found[:8]:
        with Image.open(io.BytesIO(data)) as image:
            assert image.getexif()[0x0112] == 1
            np.testing.assert_array_equal(image, PHOTO)


def test_photos_are_turned_upright_as_by_the_detector():
    script = """return given[1].map(orientation => {
  const { data, width, height } = page.turned({ data: bytes(given[0]), width: 5, height: 3 }, orientation);
  return { data: [...data], width, height };
});"""
    found = by_node(script, [base64.b64encode(PHOTO.tobytes()).decode(), list(range(1, 9))])
    for orientation, picture in enumerate(found, 1):
        image = Image.fromarray(PHOTO)
        image.getexif()[0x0112] = orientation
        upright = ImageOps.exif_transpose(image)
        assert (picture["width"], picture["height"]) == upright.size
        np.testing.assert_array_equal(np.reshape(picture["data"], (*upright.size[::-1], 3)), upright)


def test_a_pngs_gamma_which_the_detector_leaves_alone_is_kept_from_the_browser():
    told = PngInfo()
    told.add(b"gAMA", struct.pack(">I", 100_000))
    told.add_text("Title", "stays")
    ((data, orientation),) = plain(encoded("PNG", pnginfo=told))
    with Image.open(io.BytesIO(data)) as image:
        assert (orientation, image.info) == (1, {"Title": "stays"})
        np.testing.assert_array_equal(image, PHOTO)


def test_other_files_and_damaged_ones_stay_as_they_are():
    exif = Image.Exif()
    exif[0x0112] = 6
    whole = encoded("WEBP", exif=exif)
    files = [b"", b"RIFF", encoded("PNG"), encoded("PNG")[:20], encoded("JPEG", exif=exif), whole[:-20]]
    assert plain(*files) == [(data, 1) for data in files]


def test_a_photo_of_too_many_pixels_is_refused_before_they_are_copied():
    script = """
globalThis.createImageBitmap = async () => ({ width: 20000, height: 10000, close() {} });
return page.decode(new Blob(), 100e6).catch(error => error.message);"""
    assert (
        by_node(script) == "the photo has 200,000,000 pixels, more than the 100,000,000 that are taken; scale it down"
    )


def test_every_photo_is_told_that_the_worker_does_not_start():
    script = """
globalThis.URL = { createObjectURL: blob => { started.push(blob); return "blob:here"; } };
const started = [], made = [], told = [];
let fails = true;
globalThis.Worker = class {
  constructor(address) { this.address = address; made.push(this); }
  postMessage({ id }) {
    if (fails) setTimeout(() => this.onerror({ preventDefault() {}, message: "blocked" }));
    else setTimeout(() => this.onmessage({ data: { id, mask: this.address } }));
  }
  terminate() {}
};
const ask = page.askWorker();
made[0].onerror({ preventDefault() {} }); // before any photo
for (let n = 0; n < 2; n++) await ask("detect").catch(error => told.push(error.message));
fails = false;
told.push((await ask("detect")).mask, await started[0].text());
return told;"""
    *told, imported = by_node(script)
    assert told == [*["the page's worker did not start (blocked)"] * 2, "blob:here"]  # bound by the page's policy
    assert imported.startswith('import "data:')
