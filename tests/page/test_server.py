"""What the page's server answers, and what it refuses."""

import asyncio
import io
import json
import threading

import numpy as np
import pytest
from PIL import Image
from tiny_generators import CONFIG, constant_variables

from sgdbd_jax.data.photos import decode_photo
from sgdbd_jax.detection.detector import Detector, Seen
from sgdbd_jax.detection.devices import Detectors
from sgdbd_jax.detection.focus import measure
from sgdbd_jax.folders.record import focus_row

pytest.importorskip("starlette", reason="starlette is not installed: pip install -e '.[serve]'")
pytest.importorskip("httpx2", reason="httpx2 is not installed: pip install -e '.[test]'")
from starlette.testclient import TestClient  # noqa: E402  (after the question whether it can be)

from sgdbd_jax.page import server  # noqa: E402
from sgdbd_jax.page.server import Limits, make_app  # noqa: E402

BYTES = {"Content-Type": "application/octet-stream"}
AS_JSON = {"Accept": "application/json"}
PHOTO = np.random.default_rng(0).integers(0, 256, (24, 40, 3), np.uint8)
LIMITS = Limits(bytes=20_000, pixels=2000)


def encoded(photo=PHOTO, kind="PNG", **options):
    file = io.BytesIO()
    Image.fromarray(photo).save(file, kind, **options)
    return file.getvalue()


@pytest.fixture(scope="module")
def detector():
    return Detector(CONFIG, constant_variables(0.8), work_size=32)


@pytest.fixture
def client(detector):
    return TestClient(make_app(detector, LIMITS), base_url="http://127.0.0.1:8000", raise_server_exceptions=False)


def ask(client, data, address="/api/mask", **headers):
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return client.post(address, content=data, headers=BYTES | named)


def pixels(answer):
    return np.asarray(Image.open(io.BytesIO(answer.content)))


def test_a_photo_gets_the_detectors_mask_and_the_reports_numbers(client, detector):
    answer = ask(client, encoded())
    assert (answer.status_code, answer.headers["Content-Type"]) == (200, "image/png")
    mask = detector(PHOTO)
    np.testing.assert_array_equal(pixels(answer), np.rint(255 * mask))
    assert mask.mean() == pytest.approx(0.8)
    numbers = {"width": 40, "height": 24, **focus_row(measure(PHOTO, mask, detector.see(PHOTO).mask)), "notes": []}
    assert json.loads(answer.headers["Focus"]) == json.loads(json.dumps(numbers))
    assert ask(client, encoded(), Accept="application/json").json() == json.loads(answer.headers["Focus"])


@pytest.mark.parametrize(
    ("accept", "kind"),
    [
        ("*/*", "image/png"),
        ("image/*", "image/png"),
        ("application/json, */*;q=0.5", "application/json"),
        ("application/json;q=0.5, image/png", "image/png"),
        ("image/png;q=0, */*", "application/json"),
        ("Application/*", "application/json"),
    ],
)
def test_accept_chooses_between_mask_and_numbers(client, accept, kind):
    assert ask(client, encoded(), Accept=accept).headers["Content-Type"] == kind


def test_photos_are_turned_upright_and_shown_so(client):
    exif = Image.Exif()
    exif[0x0112] = 6
    turned = encoded(exif=exif, kind="JPEG", quality=95)
    assert ask(client, turned, Accept="application/json").json()["width"] == 24
    answer = ask(client, turned, "/api/photo")
    assert answer.headers["Content-Type"] == "image/png"
    np.testing.assert_array_equal(pixels(answer), decode_photo(turned, name="photo"))


def test_a_damaged_photo_is_answered_with_a_note_on_what_is_missing(client):
    whole = encoded(np.random.default_rng(0).integers(0, 256, (40, 40, 3), np.uint8), "JPEG")
    numbers = ask(client, whole[: len(whole) * 3 // 4], **AS_JSON).json()
    assert numbers["height"] == 40 and "rows" in " ".join(numbers["notes"])


@pytest.mark.parametrize(
    ("status", "told", "data", "headers"),
    [
        (400, "nothing was sent", b"", {}),
        (400, "not an image in a format that can be read", b"hello", {}),
        (400, "cannot be decoded", encoded()[:60], {}),
        (406, "which Accept leaves out", encoded(), {"Accept": "text/html"}),
        (413, "a photo's file may have 20,000 bytes", b"x" * 20_001, {}),
        (413, "too many pixels", encoded(np.zeros((41, 50, 3), np.uint8)), {}),
        (415, "Content-Type is multipart/form-data;", encoded(), {"Content-Type": "multipart/form-data; boundary=x"}),
        (415, "Content-Type is application/x-www-form", b"x=1", {"Content-Type": "application/x-www-form-urlencoded"}),
        (415, "Content-Type is missing", encoded(), {"Content-Type": ""}),
        (415, "Content-Encoding gzip", encoded(), {"Content-Encoding": "gzip"}),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
@pytest.mark.parametrize("address", ["/api/mask", "/api/photo"])
def test_bad_input_is_told_in_one_line(client, address, status, told, data, headers):
    answer = client.post(address, content=data, headers=BYTES | headers)
    error = answer.json()["error"]
    assert answer.status_code == status
    assert told in error and "\n" not in error


def test_a_body_of_unknown_length_is_refused_as_soon_as_it_is_too_long(detector):
    received, answers = [], []

    async def receive():
        received.append(1000)
        return {"type": "http.request", "body": b"x" * 1000, "more_body": True}

    async def send(message):
        answers.append(message)

    headers = [(b"host", b"localhost"), (b"content-type", b"image/jpeg")]
    asked = {"type": "http", "method": "POST", "path": "/api/mask", "query_string": b"", "headers": headers}
    asyncio.run(make_app(detector, LIMITS)(asked, receive, send))
    assert (answers[0]["status"], sum(received)) == (413, 21_000)


def answers_of(app, *bodies):
    """The statuses of requests at once, each of which sends what a function of its own gives."""
    headers = [(b"host", b"localhost"), (b"content-type", b"image/png")]
    asked = {"type": "http", "method": "POST", "path": "/api/mask", "query_string": b"", "headers": headers}
    answers = [[] for _ in bodies]

    async def ask(body, answer):
        async def send(message):
            answer.append(message.get("status"))

        await app(dict(asked), body, send)

    async def ask_all():
        await asyncio.wait_for(asyncio.gather(*map(ask, bodies, answers)), 60)

    asyncio.run(ask_all())
    return [answer[0] for answer in answers]


def test_few_photos_are_in_memory_and_few_wait(detector, monkeypatch):
    monkeypatch.setattr(server, "WAITING", 5)
    open_bodies, most = 0, 0

    def body():
        parts = iter((b"no ", b"photo"))

        async def receive():
            nonlocal open_bodies, most
            part = next(parts)
            open_bodies += 1 if part == b"no " else -1
            most = max(most, open_bodies)
            await asyncio.sleep(0.02)
            return {"type": "http.request", "body": part, "more_body": part == b"no "}

        return receive

    statuses = answers_of(make_app(detector, LIMITS), *(body() for _ in range(7)))
    assert sorted(statuses) == [400] * 5 + [503] * 2
    assert most == server.HELD == 4


class Waiting:
    """A detector whose network waits until those of all devices are at work."""

    def __init__(self, at_work):
        self._at_work = at_work

    def on(self, device):
        return Waiting(self._at_work)

    def see(self, photo):
        self._at_work.wait()
        return Seen(photo, np.ones(photo.shape[:2], np.float32))

    def finish(self, photo, seen):
        return seen.mask


def test_every_device_takes_photos(monkeypatch):
    async def body():
        return {"type": "http.request", "body": encoded(), "more_body": False}

    detectors = Detectors(Waiting(threading.Barrier(3, timeout=10)), [None] * 3)
    monkeypatch.setattr(server, "Detectors", lambda detector: detectors)
    assert answers_of(make_app(None, LIMITS), *[body] * 6) == [200] * 6


def test_a_photo_that_does_not_come_keeps_no_place(detector, monkeypatch):
    monkeypatch.setattr(server, "SECONDS", 0.05)
    monkeypatch.setattr(server, "HELD", 1)

    async def silent():
        await asyncio.sleep(60)

    async def sent():
        return {"type": "http.request", "body": b"no photo", "more_body": False}

    assert answers_of(make_app(detector, LIMITS), silent, sent) == [408, 400]


@pytest.mark.parametrize(
    ("status", "headers"),
    [
        (200, {}),
        (200, {"Origin": "http://127.0.0.1:8000"}),
        (200, {"Host": "localhost:8000", "Origin": "http://localhost:8000"}),
        (200, {"Host": "[::1]:8000"}),
        (403, {"Origin": "https://example.org"}),
        (403, {"Origin": "http://127.0.0.1:9000"}),
        (403, {"Origin": "null"}),
        (403, {"Origin": "http://[x"}),
        (421, {"Host": "example.org:8000", "Origin": "http://example.org:8000"}),
        (421, {"Host": "127.0.0.1.example.org"}),
        (421, {"Host": "[8000"}),
    ],
)
def test_pages_of_other_sites_and_foreign_names_are_refused(client, status, headers):
    answer = ask(client, encoded(), **headers)
    assert answer.status_code == status
    assert status == 200 or answer.json()["error"]
    assert not [name for name in answer.headers if name.startswith("access-control")]


def test_it_answers_to_the_name_that_it_was_given(detector):
    client = TestClient(make_app(detector, LIMITS, host="Photos.example.org"), base_url="http://photos.example.org")
    assert client.get("/").status_code == 200


def test_a_defect_costs_one_answer(client, detector, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(Detector, "see", lambda *_: 1 / 0)
        answer = ask(client, encoded())
        assert (answer.status_code, "ZeroDivisionError" in answer.json()["error"]) == (500, True)
        assert all(answer.headers[name] == value for name, value in server.HEADERS.items())
    assert ask(client, encoded()).status_code == 200


def test_other_addresses_and_methods_are_refused_in_json(client):
    assert (client.get("/api/mask").status_code, client.get("/api/mask").headers["Allow"]) == (405, "POST")
    assert client.get("/nowhere").json() == {"error": "Not Found"}


def test_the_page_and_its_two_files_are_there_and_ask_no_other_site(client):
    page = client.get("/")
    assert page.headers["Content-Type"].startswith("text/html")
    assert '"mode": "server", "bytes": 20000' in page.text and ",.kdc," in page.text
    assert "default-src 'none'" in page.text and "frame-ancestors 'none'" in page.headers["Content-Security-Policy"]
    assert client.get("/style.css").headers["Content-Type"].startswith("text/css")
    assert client.get("/page.js").headers["Content-Type"].startswith("text/javascript")
    for text in (page.text, client.get("/style.css").text, client.get("/page.js").text):
        assert "http:" not in text.replace("http-equiv", "") and "https:" not in text
