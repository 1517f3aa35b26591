"""Photos in several threads: what overlaps, what does not, and how many are in memory."""

import threading
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from sgdbd_jax.data.threads import work_ahead
from sgdbd_jax.detection.detector import Seen
from sgdbd_jax.detection.devices import Detectors
from sgdbd_jax.errors import UserError
from sgdbd_jax.folders import worker as module
from sgdbd_jax.folders.inputs import Photo
from sgdbd_jax.folders.outputs import Results
from sgdbd_jax.folders.worker import Room, Worker

PATIENCE = 10  # seconds for what is to happen; it does at once
MOMENT = 0.1  # seconds for what is not to happen


def photo(height=2, width=5):
    return np.zeros((height, width, 3), np.uint8)


class Masks:
    """A detector whose network is a function, and which finishes its masks by another."""

    def __init__(self, see, finish=lambda photo, seen, size: seen.mask):
        self._see, self.finish = see, finish

    def working_size(self, height, width):
        return height, width

    def see(self, photo):
        return Seen(photo, self._see(photo))

    def on(self, device):
        return Masks(device, self.finish)


def worker(out, see=None, *, say=print, should_stop=lambda: False, results=None, devices=(None,), **options):
    detectors = Detectors(Masks(see or in_focus, **options), devices)
    return Worker(detectors, out, results or Results(), max_pixels=100, say=say, should_stop=should_stop)


def job(number):
    return Photo(Path(f"/photos/{number}.jpg"), str(number)), str(number)


def in_focus(pixels):
    return np.ones(pixels.shape[:2], np.float32)


# The room.


def read(height=2, width=5):
    """A photo that was read in full."""
    return photo(height, width), (height, width)


def enter(room, read, leave):
    """Holds a photo in a thread until `leave` is set."""

    def hold():
        with room.photo(read):
            assert leave.wait(PATIENCE)

    thread = threading.Thread(target=hold)
    thread.start()
    return thread


def test_a_photo_is_not_read_while_others_fill_the_room():
    room, leave, second_read = Room(pixels=9), threading.Event(), threading.Event()

    def read_second():
        second_read.set()
        return read()

    with room.photo(read):  # 10 pixels
        thread = enter(room, read_second, leave)
        assert not second_read.wait(MOMENT)
    assert second_read.wait(PATIENCE)
    leave.set()
    thread.join()


def test_photos_are_read_while_there_is_room_one_by_one():
    room = Room(pixels=20)
    with room.photo(read), room.photo(read), room.photo(lambda: read(1000, 1000)) as (large, size):  # 20 held: enough
        assert large.shape == (1000, 1000, 3) and size == (1000, 1000)
    reading = threading.Lock()

    def read_alone():
        with_nobody_else = reading.acquire(blocking=False)
        threading.Event().wait(MOMENT / 10)
        reading.release()
        assert with_nobody_else
        return read()

    leave = threading.Event()
    leave.set()
    for thread in [enter(room, read_alone, leave) for _ in range(5)]:
        thread.join()


def test_what_fails_leaves_the_room_free():
    room = Room(pixels=0)
    with pytest.raises(UserError), room.photo(lambda: (_ for _ in ()).throw(UserError("damaged"))):
        pass
    with pytest.raises(UserError), room.photo(read):
        raise UserError("no mask")
    with room.photo(read) as (held, _):
        assert held.size


def test_a_photo_read_at_a_part_of_its_size_takes_the_room_of_its_mask():
    room, leave, second_read = Room(pixels=39), threading.Event(), threading.Event()
    with room.photo(lambda: (photo(2, 5), (4, 10))):
        thread = enter(room, lambda: second_read.set() or read(), leave)
        assert not second_read.wait(MOMENT)
    leave.set()
    thread.join()


def test_a_room_of_two_doors_has_two_photos_read_at_a_time():
    room, both, left = Room(pixels=20, doors=2), threading.Barrier(2, timeout=PATIENCE), threading.Event()
    left.set()

    def read_with_another():
        both.wait()
        return read()

    for thread in [enter(room, read_with_another, left) for _ in range(2)]:
        thread.join()
    assert not both.broken


def test_a_photo_at_one_door_that_cannot_be_read_keeps_none_waiting_at_the_other():
    """Both wait for the same photo to leave, and whichever is woken first brings none to leave."""
    room, waiting = Room(pixels=9, doors=2), threading.Semaphore(0)
    ended, finished = [], threading.Barrier(3, timeout=PATIENCE)

    def enter_in_vain():
        waiting.release()
        try:
            with room.photo(lambda: (_ for _ in ()).throw(UserError("damaged"))):
                pass
        except UserError as error:
            ended.append(str(error))
        finished.wait()

    with room.photo(read):
        for _ in range(2):
            threading.Thread(target=enter_in_vain, daemon=True).start()
            assert waiting.acquire(timeout=PATIENCE)
        threading.Event().wait(MOMENT)
        assert not ended
    finished.wait()
    assert ended == ["damaged"] * 2


# The stages.


def test_decoding_the_network_refining_and_encoding_overlap(tmp_path, monkeypatch):
    """Photo 1 leaves the network once 2 is decoded, is refined once 2 is in there, and encoded once 3 is."""
    decoded, in_network = threading.Event(), {height: threading.Event() for height in (1, 2, 3)}

    def load(path, least, **options):
        if path.stem == "2":
            decoded.set()
        return read(height=int(path.stem))

    def see(pixels):
        in_network[len(pixels)].set()
        assert decoded.wait(PATIENCE)
        return in_focus(pixels)

    def finish(pixels, seen, size):
        if len(pixels) == 1:
            assert in_network[2].wait(PATIENCE)
        return seen.mask

    def write(path, data):
        if path.name == "1.mask.png":
            assert in_network[3].wait(PATIENCE)

    monkeypatch.setattr(module, "load_smaller", load)
    monkeypatch.setattr(module, "write_atomically", write)
    records = list(work_ahead(worker(tmp_path, see, finish=finish), map(job, (1, 2, 3)), workers=module.WORKERS))
    assert [(record.height, record.error) for record in records] == [(1, ""), (2, ""), (3, "")]


def test_low_confidence_goes_by_the_network_s_mask(tmp_path, monkeypatch):
    """Not by what was made of it."""

    def see(pixels):
        return np.full(pixels.shape[:2], 0.6, np.float32)

    texture = np.random.default_rng(0).integers(0, 256, (90, 90, 3), np.uint8)
    monkeypatch.setattr(module, "load_smaller", lambda path, least, **options: (texture, (90, 90)))

    def finish(photo, seen, size):
        return in_focus(photo)

    sure, unsure = (worker(tmp_path, network, finish=finish)(job(1)).focus for network in (None, see))
    assert ("low_confidence" in sure.flags, "low_confidence" in unsure.flags) == (False, True)
    assert sure.share == unsure.share == 1


def test_the_network_sees_one_photo_at_a_time(tmp_path, monkeypatch):
    inside = threading.Lock()

    def see(pixels):
        alone = inside.acquire(blocking=False)
        threading.Event().wait(MOMENT / 10)
        inside.release()
        assert alone
        return in_focus(pixels)

    monkeypatch.setattr(module, "load_smaller", lambda path, least, **options: read())
    records = list(work_ahead(worker(tmp_path, see), map(job, range(8)), workers=4))
    assert [record.error for record in records] == [""] * 8


def test_every_device_sees_a_photo_while_the_others_do_and_one_at_a_time(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "load_smaller", lambda path, least, **options: read())
    monkeypatch.setattr(module, "WORKERS", 1)
    all_at_once = threading.Barrier(3, timeout=PATIENCE)

    def device():
        inside = threading.Lock()

        def see(pixels):
            alone = inside.acquire(blocking=False)
            all_at_once.wait()
            inside.release()
            assert alone
            return in_focus(pixels)

        return see

    work = worker(tmp_path, device(), devices=(None, device(), device()))
    records = list(work_ahead(work, map(job, range(12)), workers=work.threads))
    assert [(record.name, record.error) for record in records] == [(str(number), "") for number in range(12)]


def test_each_further_device_brings_threads_a_door_and_room(tmp_path, monkeypatch):
    assert worker(tmp_path).threads == module.WORKERS
    rooms = []
    monkeypatch.setattr(module, "Room", lambda pixels, doors: rooms.append((pixels, doors)))
    monkeypatch.setattr(module, "WORKERS", 1)
    assert [worker(tmp_path, devices=[None] * count).threads for count in (1, 2, 8)] == [1, 4, 22]
    assert rooms == [(48_000_000, 1), (96_000_000, 2), (384_000_000, 8)]


def test_at_a_stop_what_has_not_reached_the_network_is_left(tmp_path, monkeypatch):
    stopped, loaded = threading.Event(), []

    def load(path, least, **options):
        loaded.append(path.stem)
        if path.stem == "2":
            stopped.set()
        return read()

    monkeypatch.setattr(module, "load_smaller", load)
    work = worker(tmp_path, should_stop=stopped.is_set)
    records = [work(job(number)) for number in (1, 2, 3)]
    assert [record and record.name for record in records] == ["1", None, None]
    assert loaded == ["1", "2"]
    assert [path.name for path in tmp_path.glob("*.png")] == ["1.mask.png"]
    assert len(list(tmp_path.rglob("*.jpg"))) == 2  # of 1, small


def test_what_readers_remark_is_said_with_the_photo_s_name(tmp_path, monkeypatch):
    def load(path, least, *, max_pixels, note):
        note("first of 3 frames")
        raise UserError(f"{path}: too many pixels, the limit is {max_pixels}")

    lines = []
    monkeypatch.setattr(module, "load_smaller", load)
    record = worker(tmp_path, say=lines.append)(job(1))
    assert (record.status, record.error) == ("failed", "too many pixels, the limit is 100")
    assert lines == [
        "note: /photos/1.jpg: first of 3 frames",
        "error: /photos/1.jpg: too many pixels, the limit is 100",
    ]


def test_a_mask_has_its_photo_s_size_whatever_was_read_of_it(tmp_path, monkeypatch):
    texture = np.random.default_rng(0).integers(0, 256, (50, 75, 3), np.uint8)
    monkeypatch.setattr(module, "load_smaller", lambda path, least, **options: (texture, (200, 300)))

    def finish(photo, seen, size):
        return np.pad(np.ones((100, 150), np.float32), ((0, size[0] - 100), (0, size[1] - 150)))

    record = worker(tmp_path, finish=finish)(job(1))
    assert (record.width, record.height) == (300, 200)
    assert record.focus.box == (0, 0, 150, 100)
    with Image.open(tmp_path / "1.mask.png") as mask:
        assert mask.size == (300, 200)
    for path in tmp_path.rglob("*.jpg"):
        with Image.open(path) as small:
            assert small.size == (256, 171)


@pytest.mark.parametrize("results", [Results(overlay=True), Results(cutout=True)])
def test_results_that_show_the_photo_have_it_read_in_full(tmp_path, monkeypatch, results):
    monkeypatch.setattr(module, "load_photo", lambda path, **options: photo(20, 30))
    monkeypatch.delattr(module, "load_smaller")
    assert worker(tmp_path, results=results)(job(1)).status == "done"
