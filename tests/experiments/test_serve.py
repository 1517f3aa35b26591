"""The page as a person uses it: the real command, and a real browser where one is installed."""

import base64
import contextlib
import functools
import http.server
import io
import os
import shutil
import signal
import socket
import struct
import subprocess
import sys
import threading
import urllib.request
import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageFilter
from PIL.PngImagePlugin import PngInfo
from tiny_generators import CONFIG, random_variables
from tiny_runs import QUICK

from experiments import serve
from sgdbd_jax.cli import command
from sgdbd_jax.data.photos import load_photo
from sgdbd_jax.data.resizing import resize_mask, resize_photo
from sgdbd_jax.detection.detector import Detector
from sgdbd_jax.detection.focus import measure
from sgdbd_jax.detection.refine import Refinement
from sgdbd_jax.errors import Unavailable, UserError
from sgdbd_jax.fields import to_dict
from sgdbd_jax.folders.outputs import eight_bits, overlay
from sgdbd_jax.folders.record import focus_row
from sgdbd_jax.page import runtime
from sgdbd_jax.page.static import FOCUS
from sgdbd_jax.weights import save_weights

ROOT = Path(__file__).parents[2]
REFINEMENT = Refinement(filter_side=48, radius=0.1, middle=0.5, iterations=0)
CHROMIUM = [shutil.which(name) for name in ("chromium", "chromedriver")]
OTHERS = [
    "upside_down.webp",
    "sideways.webp",
    "gamma.png",
    "huge.png",
]  # photos that browsers read otherwise, or slowly
SECONDS = 120  # that a browser may take, on a machine that does other things


def half_sharp(height, width):
    """A photo of noise, in colour, whose right part is blurred."""
    sharp = Image.fromarray(np.random.default_rng(0).integers(0, 256, (height, width, 3), np.uint8))
    photo = np.array(sharp.filter(ImageFilter.GaussianBlur(6)))
    photo[:, : width // 3] = np.asarray(sharp)[:, : width // 3]
    return photo


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    """In files that keep their pixels: one smaller than the working size, one larger, and this in other ways."""
    folder = tmp_path_factory.mktemp("photos")
    for name, size in {"small": (40, 56), "large": (96, 150)}.items():
        Image.fromarray(half_sharp(*size)).save(folder / f"{name}.png")
    large, gamma, exif = half_sharp(*size), PngInfo(), Image.Exif()
    Image.fromarray(large).save(folder / "tiff.tif")
    Image.fromarray(large.repeat(18, 0).repeat(18, 1)).save(folder / "huge.png", compress_level=1)
    gamma.add(b"gAMA", struct.pack(">I", 100_000))  # which browsers apply
    Image.fromarray(large).save(folder / "gamma.png", pnginfo=gamma)
    for name, orientation, turns in (("upside_down", 3, 2), ("sideways", 6, 1)):  # which some browsers do not heed
        exif[0x0112] = orientation
        Image.fromarray(np.rot90(large, turns)).save(folder / f"{name}.webp", lossless=True, exif=exif)
    (folder / "notes.txt").write_text("no photo")
    return folder


@pytest.fixture(scope="module")
def weights(tmp_path_factory, photos):
    """A tiny network at random, of whose mask of the larger photo half is in focus."""
    folder, variables = tmp_path_factory.mktemp("weights"), random_variables()
    seen = Detector(CONFIG, variables, work_size="max:64").see(pixels((photos / "large.png").read_bytes())).mask
    asked = {"work_size": "max:64", "refinement": to_dict(replace(REFINEMENT, middle=float(np.median(seen))))}
    metadata = {"kind": "generator", "config": to_dict(CONFIG), "prediction": asked}
    return save_weights(folder / "tiny.safetensors", variables, metadata)


@pytest.fixture(scope="module")
def served(weights):
    """The address of the page, by the real command; it is ended as a person ends it."""
    for module in ("starlette", "uvicorn"):
        pytest.importorskip(module, reason=f"{module} is not installed: pip install -e '.[serve]'")
    asked = [sys.executable, "-m", "experiments.serve", "--port", "0", "--no_open", "--weights", str(weights)]
    process = subprocess.Popen(
        asked, cwd=ROOT, env=os.environ | QUICK, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    try:
        assert process.stdout is not None
        yield process.stdout.readline().partition(" ")[0]
        process.send_signal(signal.SIGINT)
        said = process.communicate(timeout=SECONDS)
        assert (process.returncode, *said) == (0, "", "")
    finally:
        process.kill()


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    """Chromium without a window, that saves into `browser.downloads`."""
    webdriver = pytest.importorskip("selenium.webdriver", reason="selenium is not installed: pip install selenium")
    if not all(CHROMIUM):
        pytest.skip("needs chromium and chromedriver")
    folder = tmp_path_factory.mktemp("browser")
    options = webdriver.ChromeOptions()
    options.binary_location = CHROMIUM[0]
    for option in (
        "--headless=new",
        "--no-sandbox",
        "--disable-dev-shm-usage",
        f"--user-data-dir={folder / 'profile'}",
    ):
        options.add_argument(option)
    options.add_experimental_option("prefs", {"download.default_directory": str(folder)})
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    driver = webdriver.Chrome(options=options, service=webdriver.ChromeService(CHROMIUM[1]))
    driver.set_script_timeout(SECONDS)
    driver.downloads = folder
    yield driver
    driver.quit()


def visit(driver, address):
    """Opens the page, and waits until it listens; what it complained of before is forgotten."""
    driver.get(address)
    wait(driver, "")
    driver.get_log("browser")


def wait(driver, text):
    from selenium.common.exceptions import TimeoutException
    from selenium.webdriver.support.ui import WebDriverWait

    status = driver.find_element("id", "status")
    with contextlib.suppress(TimeoutException):
        WebDriverWait(driver, SECONDS).until(lambda _: status.text == text)
    assert status.text == text, driver.find_element("tag name", "main").text


def wait_until(driver, holds, what):
    from selenium.webdriver.support.ui import WebDriverWait

    WebDriverWait(driver, SECONDS).until(lambda _: holds(), message=what)


def drop(driver, photo):
    """What dropping a file does to the page."""
    data = base64.b64encode(photo.read_bytes()).decode()
    script = """
const bytes = Uint8Array.from(atob(arguments[0]), c => c.charCodeAt(0)), dataTransfer = new DataTransfer();
dataTransfer.items.add(new File([bytes], arguments[1]));
document.body.dispatchEvent(new DragEvent("drop", { dataTransfer, bubbles: true, cancelable: true }));"""
    driver.execute_script(script, data, photo.name)


@contextlib.contextmanager
def web_host(folder):
    """The address of a folder's files, and a list that fills with what is asked there."""
    asked = []

    class Host(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *_):
            asked.append(f"{self.command} {self.path}")

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Host, directory=folder)) as host:
        threading.Thread(target=host.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{host.server_port}/", asked
        host.shutdown()


def saved(driver, name):
    from selenium.webdriver.support.ui import WebDriverWait

    path = driver.downloads / name
    WebDriverWait(driver, SECONDS).until(lambda _: path.exists() and path.stat().st_size, message=name)
    data = path.read_bytes()
    path.unlink()
    return data


def pixels(data):
    return np.asarray(Image.open(io.BytesIO(data)))


def complaints(driver):
    return [entry["message"] for entry in driver.get_log("browser") if entry["level"] == "SEVERE"]


def check_numbers(found, photo, mask, seen):
    """A browser's numbers against ours; its copy of a photo is another to a grey level."""
    expected = focus_row(measure(photo, mask, seen))
    for key in ("share", "score", "unknown"):
        assert found[key] == pytest.approx(expected[key], abs=0.005)
    np.testing.assert_allclose(found["box"], expected["box"], atol=2)
    np.testing.assert_allclose(found["centre"], expected["centre"], atol=0.5)
    assert tuple(found["flags"]) == expected["flags"]


def test_the_command_serves_the_detectors_masks(served, photos, weights):
    data = (photos / "large.png").read_bytes()
    request = urllib.request.Request(f"{served}api/mask", data, {"Content-Type": "image/png"})
    with urllib.request.urlopen(request, timeout=SECONDS) as answer:
        np.testing.assert_allclose(pixels(answer.read()), 255 * Detector.load(weights)(data), atol=1)


def test_a_photo_dropped_on_the_served_page_gets_the_detectors_mask(served, browser, photos, weights):
    visit(browser, served)
    drop(browser, photos / "large.png")
    names = ["notes.txt", "small.png", *OTHERS, "tiff.tif"]
    browser.find_element("id", "files").send_keys("\n".join(str(photos / name) for name in names))
    wait(browser, "7 photos done, 1 failed")
    cards = browser.find_elements("css selector", "article")
    assert [card.find_element("tag name", "h2").text for card in cards] == ["large.png", *names]
    assert "not an image in a format that can be read" in cards[1].text
    assert browser.find_element("id", "failures").get_attribute("textContent").startswith("notes.txt: not an image")
    assert [text for text in complaints(browser) if "api/mask" not in text] == []  # it says so of every refusal

    browser.find_element("id", "everything").click()
    with zipfile.ZipFile(io.BytesIO(saved(browser, "focus.zip"))) as packed:
        assert packed.testzip() is None
        files = {name: packed.read(name) for name in packed.namelist()}
    paths = [photos / name for name in ("large.png", *names[1:])]
    results = {f"{path.stem}.{kind}.png" for path in paths for kind in ("mask", "overlay", "cutout")}
    assert files.keys() == {"report.csv", *results}
    assert files["report.csv"].decode().splitlines()[2].startswith("notes.txt,notes,failed,not an image")
    detector = Detector.load(weights)
    for path in paths:
        name, photo = path.stem, load_photo(path)
        mask = eight_bits(detector(photo))
        assert name == "small" or 0.2 < mask.mean() / 255 < 0.8
        np.testing.assert_array_equal(pixels(files[f"{name}.mask.png"]), mask)
        np.testing.assert_allclose(pixels(files[f"{name}.overlay.png"]), overlay(photo, mask), atol=1)
        np.testing.assert_array_equal(pixels(files[f"{name}.cutout.png"]), np.dstack([photo, mask]))


def test_the_page_is_worked_by_keyboard_and_says_what_it_does(served, browser, photos, weights):
    from selenium.webdriver import ActionChains, Keys

    visit(browser, served)
    browser.find_element("id", "files").send_keys(f"{photos / 'small.png'}\n{photos / 'large.png'}")
    wait(browser, "2 photos done")
    browser.find_element("id", "order").send_keys("by n")
    assert [each.text for each in browser.find_elements("tag name", "h2")] == ["large.png", "small.png"]
    level = browser.find_element("id", "level")
    level.send_keys(Keys.END)
    assert browser.find_element("id", "level-shown").text == "1.00"
    keys, focused = ActionChains(browser), lambda: browser.switch_to.active_element.accessible_name
    for _ in range(20):
        if focused() == "Mask of large.png":
            break
        keys.send_keys(Keys.TAB).perform()
    keys.send_keys(Keys.SPACE).perform()
    mask = eight_bits(Detector.load(weights)(photos / "large.png"))
    np.testing.assert_array_equal(pixels(saved(browser, "large.mask.png")), np.where(mask == 255, 255, 0))
    assert f"{np.mean(mask == 255):.0%} at threshold 1.00" in browser.find_element("tag name", "article").text
    browser.find_element("css selector", "article [value=remove]").send_keys(Keys.ENTER)
    wait(browser, "1 photo done")
    assert focused() == "Remove of small.png"
    assert browser.find_element("id", "status").aria_role == "status"
    unnamed = [each.tag_name for each in browser.find_elements("css selector", "button,input,select,canvas")
               if not each.accessible_name]  # fmt: skip
    assert unnamed == []


def test_a_photos_pictures_can_be_made_larger_and_leaving_the_page_asks(served, browser, photos):
    visit(browser, served)
    browser.find_element("id", "files").send_keys(str(photos / "large.png"))
    wait(browser, "1 photo done")
    width = "return document.querySelector('article canvas').clientWidth"
    before, larger = browser.execute_script(width), browser.find_element("css selector", "[value=larger]")
    larger.click()
    assert browser.execute_script(width) > 1.8 * before and larger.get_attribute("aria-pressed") == "true"
    larger.click()
    assert browser.execute_script(width) == before and larger.get_attribute("aria-pressed") == "false"
    asks = "return !dispatchEvent(new Event('beforeunload', { cancelable: true }))"
    assert browser.execute_script(asks)
    browser.find_element("css selector", "[value=remove]").click()
    assert not browser.execute_script(asks)


def test_on_a_phones_width_nothing_is_wider_than_the_screen(served, browser, photos):
    visit(browser, served)
    browser.find_element("id", "files").send_keys(str(photos / "large.png"))
    wait(browser, "1 photo done")
    with narrow(browser):
        assert browser.execute_script("return [innerWidth, document.documentElement.scrollWidth]") == [360, 360]


def test_pictures_out_of_sight_are_empty_and_keep_their_place(served, browser, photos):
    from selenium.webdriver import Keys

    visit(browser, served)
    browser.find_element("id", "files").send_keys(str(photos / "large.png"))
    wait(browser, "1 photo done")
    card = browser.find_element("tag name", "article")
    place = "return document.querySelector('article canvas').getBoundingClientRect().height"

    def wait_for_widths(*expected):
        script = "return [...document.querySelectorAll('article canvas')].map(each => each.width)"
        wait_until(browser, lambda: browser.execute_script(script) == list(expected), "the pictures' widths")

    wait_for_widths(150, 150, 150, 150)
    height = browser.execute_script(place)
    browser.execute_script("document.getElementById('drop').style.paddingBottom = '9000px'")
    wait_for_widths(0, 0, 0, 0)
    browser.find_element("id", "level").send_keys(Keys.END)
    wait_until(browser, lambda: "at threshold 1.00" in card.text, "the threshold")
    assert browser.execute_script(place) == pytest.approx(height, abs=1) and height > 50
    wait_for_widths(0, 0, 0, 0)
    browser.execute_script("document.getElementById('drop').style.paddingBottom = ''")
    wait_for_widths(150, 150, 150, 150)


@contextlib.contextmanager
def narrow(driver):
    size = {"width": 360, "height": 740, "deviceScaleFactor": 1, "mobile": True}
    driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    yield
    driver.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})


def test_what_the_script_does_in_a_browser_is_what_the_package_does(served, browser):
    """Its resizing to the last bit; its refinement and its numbers as close as sums in another order are."""
    rng = np.random.default_rng(0)
    visit(browser, served)

    def call(function, *arguments):
        script = """
const [name, given, done] = arguments, types = { u: Uint8Array, f: Float32Array };
const bytes = each => Uint8Array.from(atob(each.data), c => c.charCodeAt(0)).buffer;
const read = each => each?.kind ? { ...each, data: new types[each.kind](bytes(each)) } : each;
import(new URL("page.js", location)).then(page => page[name](...given.map(read)))
  .then(found => done(found.data ? { ...found, data: [...found.data] } : found), error => done(String(error)));"""
        return browser.execute_async_script(script, function, [js(each) for each in arguments])

    def js(value):
        if not isinstance(value, np.ndarray):
            return value
        data = base64.b64encode(value.astype(value.dtype.newbyteorder("<")).tobytes()).decode()
        kind = "u" if value.dtype == np.uint8 else "f"
        return {"data": data, "width": value.shape[1], "height": value.shape[0], "kind": kind}

    photo = rng.integers(0, 256, (37, 53, 3), np.uint8)
    for height, width in ((20, 31), (60, 80), (37, 20)):
        found = call("resizePhoto", photo, width, height)["data"]
        np.testing.assert_array_equal(np.reshape(found, (height, width, 3)), resize_photo(photo, (height, width)))

    for height, width in ((70, 90), (130, 600)):  # measured on a larger copy, and on a smaller one
        photo, small = half_sharp(height, width), (35, 45)
        seen = resize_mask(rng.random((4, 5), np.float32), small)
        mask = REFINEMENT(seen, resize_photo(photo, small))
        found = np.reshape(call("refine", seen, resize_photo(photo, small), to_dict(REFINEMENT))["data"], small)
        assert 0 < mask.mean() < 1
        assert np.mean(np.abs(found - mask) > 1e-4) < 0.002  # a pixel at the middle may fall on either side
        whole = resize_mask(mask, (height, width))
        check_numbers(call("measure", photo, whole, seen, FOCUS), photo, whole, seen)


def test_the_page_as_files_finds_the_detectors_masks_in_the_browser(browser, photos, weights, tmp_path, capsys):
    pytest.importorskip("onnx", reason="onnx is not installed: pip install -e '.[serve]'")
    if not runtime.archive(command.cache_folder()).is_file():
        pytest.skip("onnxruntime-web has not been fetched: python -m experiments.serve --static DIR does")
    assert serve.main(["--static", str(tmp_path / "site"), "--weights", str(weights)]) == 0
    assert "index.html" in capsys.readouterr().out
    with web_host(tmp_path / "site") as (address, asked), web_host(tmp_path) as (elsewhere, leaked):
        leak = f'if (typeof document === "undefined") fetch("{elsewhere}leak", {{ mode: "no-cors" }}).catch(() => 0);'
        script = tmp_path / "site" / "page.js"
        script.write_text(f"{script.read_text()}\n{leak}\n")  # as if what runs beside the photos were hostile
        visit(browser, address)
        drop(browser, photos / "large.png")
        names = ["small.png", *OTHERS]
        browser.find_element("id", "files").send_keys("\n".join(str(photos / name) for name in names))
        wait(browser, "6 photos done")
        browser.find_element("id", "masks").click()
        with zipfile.ZipFile(io.BytesIO(saved(browser, "masks.zip"))) as packed:
            files = {name: packed.read(name) for name in packed.namelist()}
    assert [text for text in complaints(browser) if "/leak" not in text] == []
    assert {line.partition(" ")[0] for line in asked} == {"GET"}  # nothing was sent to the page's own host
    assert leaked == []  # nor to another
    lines = {line.split(",")[1]: line.split(",") for line in files["report.csv"].decode().splitlines()[1:]}
    detector = Detector.load(weights)
    for path in [photos / name for name in ("large.png", *names)]:
        name, photo = path.stem, load_photo(path)
        mask, found = 255 * detector(photo), pixels(files[f"{name}.mask.png"])
        assert found.shape == mask.shape
        assert np.mean(np.abs(found - mask) > 1) < 0.002  # a pixel at the middle may fall on either side
        expected = measure(photo, detector(photo), detector.see(photo).mask)
        assert float(lines[name][7]) == pytest.approx(expected.share, abs=0.005)


def test_a_port_that_is_taken_is_told(weights):
    with (
        socket.create_server(("127.0.0.1", 0)) as taken,
        pytest.raises(UserError, match="cannot be listened on .*--port"),
    ):
        serve.main(["--port", str(taken.getsockname()[1]), "--weights", str(weights), "--no_open"])


@pytest.mark.parametrize("host", ["no.such.name.invalid", "x" * 80 + ".org", "192.0.2.1"])
def test_a_host_that_this_machine_is_not_is_told(host):
    with pytest.raises(UserError, match="cannot be listened on .*choose another by --host"):
        serve._listening(host, 0)


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (["--static", "site", "--port", "80", "--no_open"], "--port, --no_open: not used with --static"),
        (["--runtime", "dist"], "--runtime: used only with --static"),
    ],
)
def test_options_that_would_do_nothing_are_refused(options, told):
    with pytest.raises(UserError, match=told):
        serve.main(options)


def test_a_missing_package_is_named_with_its_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "uvicorn", None)
    with pytest.raises(Unavailable, match=r"the page: needs uvicorn; pip install 'sgdbd_jax\[serve\]'"):
        serve.main([])


def test_it_listens_to_this_machine_alone_unless_told_otherwise():
    with serve._listening(serve._parser().parse_args([]).host, 0) as listener:
        assert listener.getsockname()[0] == "127.0.0.1"


@pytest.mark.parametrize("options", [["--port", "70000"], ["--port", "x"], ["--max_bytes", "0"]])
def test_a_number_beyond_its_range_is_refused(options, capsys):
    with pytest.raises(SystemExit) as end:
        serve.main(options)
    assert (end.value.code, "invalid" in capsys.readouterr().err) == (2, True)


def test_a_folder_that_cannot_be_written_is_told_before_anything_is_fetched(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setattr(runtime, "fetched", lambda *_: pytest.fail("fetched"))
    with pytest.raises(UserError, match="cannot be written"):
        serve.main(["--static", str(tmp_path / "file" / "site")])
