"""A clip's files: rows, overlay, masks and sharpest frames; what a stop and a full disk leave; how much is held."""

import csv
import errno
import shutil
import threading
import weakref

import numpy as np
import pytest
from PIL import Image

pytest.importorskip("av")
import av
from tiny_clips import noise, write_clip

from sgdbd_jax.detection.detector import Seen
from sgdbd_jax.detection.devices import Detectors
from sgdbd_jax.folders import clips as module
from sgdbd_jax.folders.clips import ClipResults, ClipWorker
from sgdbd_jax.folders.inputs import Photo
from sgdbd_jax.folders.outputs import Results
from sgdbd_jax.folders.worker import DiskFailed


class Masks:
    """A detector whose masks are a function of the photo."""

    def __init__(self, see):
        self._see = see

    def see(self, photo):
        return Seen(photo, self._see(photo))

    def finish(self, photo, seen):
        return seen.mask

    def on(self, device):
        return Masks(device)


def left_half(photo):
    mask = np.zeros(photo.shape[:2], np.float32)
    mask[:, : photo.shape[1] // 2] = 1
    return mask


@pytest.fixture
def work(tmp_path):
    """Works on a clip, with its name and what was said in reach."""

    def call(path, *, see=left_half, results=None, should_stop=lambda: False, devices=(None,), **clips):
        call.said = []
        worker = ClipWorker(
            Detectors(Masks(see), devices),
            tmp_path / "out",
            results or Results(),
            ClipResults(**clips),
            max_pixels=10**6,
            say=call.said.append,
            should_stop=should_stop,
            watch=lambda text: None,
        )
        return worker((Photo(path, path.stem, clip=True), path.stem))

    return call


@pytest.fixture
def out(tmp_path):
    return tmp_path / "out"


def rows(out, name="a"):
    with (out / f"{name}.frames.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def all_bytes(folder):
    return sum(path.stat().st_size for path in folder.iterdir())


def blurred(photo, times):
    for _ in range(times):
        photo = (photo.astype(float) + np.roll(photo, 1, 0) + np.roll(photo, 1, 1) + np.roll(photo, 1, (0, 1))) / 4
    return photo.astype(np.uint8)


def of_sharpness(*levels):
    """A clip's frames, of which 0 is the sharpest."""
    return [blurred(noise(0, 48, 64), 4 * level) for level in levels]


def test_each_frame_has_a_row_and_a_picture(work, tmp_path, out):
    record = work(write_clip(tmp_path / "a.mkv", of_sharpness(1, 0, 2), rate=4))
    assert (record.status, record.error, record.width, record.height) == ("done", "", 64, 48)
    found = rows(out)
    assert [(row["frame"], row["time"]) for row in found] == [("1", "0.000"), ("2", "0.250"), ("3", "0.500")]
    assert {row["share"] for row in found} == {"0.5"}
    assert [row["right"] for row in found] == ["32"] * 3
    scores = [float(row["score"]) for row in found]
    assert max(scores) == scores[1] == round(record.focus.score, 4)  # the clip stands by its sharpest frame
    assert record.files == {name: (out / f"a{name}").stat().st_size for name in (".frames.csv", ".overlay.mp4")}
    assert names(out) == ["a.frames.csv", "a.overlay.mp4", "report_thumbnails"]
    with av.open(str(out / "a.overlay.mp4")) as film:
        pictures = [(frame.time, frame.to_ndarray(format="rgb24")) for frame in film.decode(video=0)]
    assert [time for time, _ in pictures] == [0, 0.25, 0.5]
    for (_, picture), photo in zip(pictures, of_sharpness(1, 0, 2)):
        left, right = np.hsplit(picture.astype(int) - photo, 2)
        assert abs(left.mean()) < 5 and right[..., 1].mean() < -40  # what is blurred is darkened


def test_columns_are_the_report_s(work, tmp_path, out):
    work(write_clip(tmp_path / "a.mkv", of_sharpness(0)))
    place = ("left", "top", "right", "bottom", "centre_x", "centre_y")
    assert tuple(rows(out)[0]) == ("frame", "time", "score", "share", "unknown", *place, "flags")


@pytest.mark.parametrize(("program", "ending"), [("colmap", ".jpg.png"), ("meshroom", ".png")])
def test_masks_bear_the_names_that_a_program_looks_for_beside_the_frames(work, tmp_path, out, program, ending):
    record = work(write_clip(tmp_path / "a.mkv", of_sharpness(0, 1, 2)), mask_names=program, sharpest=60)
    assert names(out / "a.frames") == ["a_000001.jpg"]
    assert names(out / "a.masks") == [f"a_00000{at}{ending}" for at in (1, 2, 3)]
    sizes = {ending: all_bytes(out / f"a{ending}") for ending in (".frames", ".masks")}
    assert sizes == {ending: record.files[ending] for ending in (".frames", ".masks")}
    with Image.open(out / "a.masks" / f"a_000002{ending}") as mask:
        assert (mask.format, mask.mode, mask.size) == ("PNG", "L", (64, 48))
        np.testing.assert_array_equal(np.asarray(mask), 255 * left_half(noise(0, 48, 64)))


def test_masks_have_no_greys_for_these_programs_take_black_alone_as_masked(work, tmp_path, out):
    def nearly(photo):
        return np.where(left_half(photo) > 0, 0.7, 0.3).astype(np.float32)

    path = write_clip(tmp_path / "a.mkv", of_sharpness(0))
    for results, white in ((Results(), 0.5), (Results("blurred"), 0.5), (Results(binary="conservative"), 0)):
        work(path, see=nearly, results=results, mask_names="meshroom")
        with Image.open(out / "a.masks" / "a_000001.png") as mask:
            level = np.asarray(mask)
        assert (level == 255).mean() == white and set(np.unique(level)) <= {0, 255}
        assert level[0, 0] == (255 if results == Results() else 0)


def test_the_sharpest_frame_of_each_window_is_kept(work, tmp_path, out):
    path = write_clip(tmp_path / "a.mkv", of_sharpness(2, 0, 1, 1, 2, 1, 2, 2, 0), rate=4)  # windows of 2 frames
    work(path, sharpest=0.5)
    assert names(out / "a.frames") == [f"a_{at:06}.jpg" for at in (2, 3, 6, 7, 9)]
    with Image.open(out / "a.frames" / "a_000002.jpg") as picture:
        assert picture.size == (64, 48)
        grey, true = (np.asarray(each.convert("L"), float) for each in (picture, Image.fromarray(noise(0, 48, 64))))
        assert np.abs(grey - true).mean() < 10
    work(path, sharpest=1.5)  # fewer: what an earlier run left is gone
    assert names(out / "a.frames") == ["a_000002.jpg", "a_000009.jpg"]


@pytest.mark.parametrize(("rate", "seconds"), [(10, 0.1), (25, 0.04), (10, 1e-320)])
def test_windows_as_long_as_a_frame_have_each_its_frame(work, tmp_path, out, rate, seconds):
    assert work(write_clip(tmp_path / "a.mkv", [noise()] * 30, rate=rate), sharpest=seconds).status == "done"
    assert len(names(out / "a.frames")) == 30


def test_files_of_the_user_s_in_a_clip_s_folders_are_let_be(work, tmp_path, out):
    """Those of other names stay; one that would be taken for a frame is refused, and nothing is lost."""
    path = write_clip(tmp_path / "a.mkv", of_sharpness(1, 0, 2))
    (out / "a.frames").mkdir(parents=True)
    theirs = [out / "a.frames" / name for name in ("frame_000000.jpg", "a_000002.jpg.bak", "b_000001.jpg")]
    for file in theirs:
        file.write_bytes(b"theirs")
    for _ in range(2):
        assert work(path, sharpest=60).status == "done"
    assert names(out / "a.frames") == sorted(["a_000002.jpg", *(file.name for file in theirs)])
    (out / "a.frames" / "a_000007.jpg").write_bytes(b"theirs")
    record = work(path, sharpest=60)
    assert (
        record.error
        == f"{out}/a.frames/a_000007.jpg: is in the way and was not written by this command; move it,"
        + (" or name another --out")
    )
    assert len(names(out / "a.frames")) == 5
    assert {file.read_bytes() for file in (*theirs, out / "a.frames" / "a_000007.jpg")} == {b"theirs"}


def test_a_run_that_fails_leaves_the_results_of_the_one_before(work, tmp_path, out):
    path = write_clip(tmp_path / "a.mkv", of_sharpness(1, 0, 2, 1, 1, 1))
    asked = []

    def fail(photo):
        asked.append(0)
        if len(asked) > 3:
            raise RuntimeError("Out of memory")
        return 1 - left_half(photo)

    def results():
        return {file.relative_to(out): file.read_bytes() for file in out.rglob("*.[pjm]*") if file.is_file()}

    work(path, mask_names="colmap", sharpest=60)
    before = results()
    assert len(before) > 7
    (out / "a.masks" / ".writing-new").mkdir()  # of a run that was killed
    shutil.copy(out / "a.masks" / "a_000001.jpg.png", out / "a.masks" / ".writing-new" / "a_000009.jpg.png")
    assert work(path, see=fail, mask_names="colmap", sharpest=0.1).status == "failed"
    assert results() == before


def test_masks_of_a_still_flicker_less_than_its_noise(work, tmp_path, out, monkeypatch):
    """The network's, of which each is another, flicker much more."""
    rng, scene = np.random.default_rng(3), noise(0, 48, 64)
    frames = [np.clip(scene + rng.normal(0, 8, scene.shape), 0, 255).astype(np.uint8) for _ in range(12)]
    own, written, whole = [], [], module.eight_bits

    def see(photo):
        own.append(rng.random(photo.shape[:2], np.float32))
        return own[-1]

    def note(mask):
        written.append(mask)
        return whole(mask)

    def change(pictures):
        return np.mean([np.abs(after - before).mean() for before, after in zip(pictures, pictures[1:])])

    monkeypatch.setattr(module, "eight_bits", note)
    work(write_clip(tmp_path / "a.mkv", frames), see=see)
    assert len(written) == 12
    flicker = change([frame / 255 for frame in frames])
    assert change(own) > 5 * flicker and change(written) < flicker


def test_masks_as_they_are_written_flicker_less_than_a_still_s_noise_and_follow_a_cut(work, tmp_path, out):
    """The network hesitates about what is in focus in the one scene, and hardly finds the other's."""
    rng, scene, another = np.random.default_rng(3), noise(0, 48, 64), noise(1, 48, 64) // 3
    frames = [np.clip(scene + rng.normal(0, 8, scene.shape), 0, 255).astype(np.uint8) for _ in range(12)]

    def see(photo):
        if photo.mean() < 80:
            return np.full(photo.shape[:2], 0.52, np.float32) - np.float32(0.04) * left_half(photo)
        return rng.uniform(0.4, 0.6, photo.shape[:2]).astype(np.float32)

    work(write_clip(tmp_path / "a.mkv", [*frames, another]), see=see, mask_names="colmap")
    masks = []
    for name in names(out / "a.masks"):
        with Image.open(out / "a.masks" / name) as mask:
            masks.append(np.asarray(mask) / 255)
    still = masks[:12]
    flicker = np.mean([np.abs(after / 255 - before / 255).mean() for before, after in zip(frames, frames[1:])])
    assert np.mean([np.abs(after - before).mean() for before, after in zip(still, still[1:])]) < flicker < 0.04
    np.testing.assert_array_equal(masks[12], 1 - left_half(another))


def test_a_stop_leaves_whole_files_of_what_was_done(work, tmp_path, out):
    path, asked = write_clip(tmp_path / "a.mkv", (noise(seed) for seed in range(40))), []

    def should_stop():
        asked.append(0)
        return len(asked) > 12

    record = work(path, should_stop=should_stop, sharpest=60, mask_names="colmap")
    count = len(rows(out))
    assert 5 < count < 15
    assert (record.status, record.error) == ("done", f"stopped after frame {count}; its results end there")
    assert work.said == [f"note: {path}: {record.error}"] and record.is_stopped
    with av.open(str(out / "a.overlay.mp4")) as film:
        assert sum(1 for _ in film.decode(video=0)) == count
    assert len(names(out / "a.masks")) == count and len(names(out / "a.frames")) == 1


def test_a_stop_before_the_first_frame_leaves_nothing(work, tmp_path, out):
    path, asked = write_clip(tmp_path / "a.mkv", [noise()]), []

    def should_stop():
        asked.append(0)
        return len(asked) > 1

    assert work(path, should_stop=should_stop) is None
    assert names(out) == []


def test_frames_are_streamed_however_many_there_are(work, tmp_path):
    """Not a tenth of a clip of a hundred frames is held at any time: photos, nor their masks."""
    photos, masks, most = [], [], [0, 0]

    def see(photo):
        mask = left_half(photo)
        photos.append(weakref.ref(photo)), masks.append(weakref.ref(mask))
        for place, held in enumerate((photos, masks)):
            most[place] = max(most[place], sum(each() is not None for each in held))
        return mask

    work(write_clip(tmp_path / "a.mkv", (noise(seed) for seed in range(100))), see=see, sharpest=1)
    assert len(photos) == 100 and max(most) < 10


def test_frames_of_several_devices_are_those_of_one(work, tmp_path, out):
    """In their order, and the masks averaged over time as ever."""
    at_once, devices = threading.Barrier(2, timeout=10), set()

    def on_device(name):
        def see(photo):
            devices.add(name)
            at_once.wait()
            return np.full(photo.shape[:2], photo.mean() / 255, np.float32)

        return see

    def see_alone(photo):
        return np.full(photo.shape[:2], photo.mean() / 255, np.float32)

    clip = write_clip(tmp_path / "a.mkv", (np.full((16, 16, 3), 5 * at, np.uint8) for at in range(40)))
    assert work(clip, see=see_alone).status == "done"
    alone = rows(out)
    assert work(clip, see=on_device("one"), devices=(None, on_device("other"))).error == ""
    assert devices == {"one", "other"} and not at_once.broken
    assert len(alone) == 40 and rows(out) == alone


def test_a_clip_that_is_none_fails_with_its_reason_and_leaves_no_files(work, tmp_path, out):
    path = tmp_path / "a.mp4"
    path.write_bytes(b"Dear diary, today I took no video.")
    record = work(path)
    assert record.status == "failed" and record.error.startswith("not a video that can be read")
    assert work.said == [f"error: {path}: {record.error}"]
    assert not out.exists()


def test_what_is_missing_of_a_damaged_clip_is_in_its_record(work, tmp_path):
    path = write_clip(tmp_path / "a.mkv", (noise(seed) for seed in range(10)))
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    record = work(path)
    assert record.status == "done" and not record.is_stopped
    assert record.error.startswith("damaged: ") and work.said == [f"note: {path}: {record.error}"]


def test_a_full_disk_ends_all_and_leaves_no_half_a_film(work, tmp_path, out, monkeypatch):
    class Full(module.Film):
        def add(self, picture, frame):
            if frame.number == 3:
                raise OSError(errno.ENOSPC, "No space left on device")
            super().add(picture, frame)

    monkeypatch.setattr(module, "Film", Full)
    with pytest.raises(DiskFailed, match=r"a\.overlay\.mp4: cannot be written \(No space left on device\)"):
        work(write_clip(tmp_path / "a.mkv", [noise(seed) for seed in range(6)]))
    assert names(out) == []


def test_a_defect_costs_that_clip_alone(work, tmp_path, out):
    def see(photo):
        raise RuntimeError("Out of memory")

    record = work(write_clip(tmp_path / "a.mkv", [noise()]), see=see)
    assert (record.status, record.error) == ("failed", "RuntimeError: Out of memory")
    assert names(out) == []


def test_a_clip_s_record_outlasts_the_report_s_lines(work, tmp_path):
    from sgdbd_jax.folders.record import from_line, to_line

    record = work(write_clip(tmp_path / "a.mkv", of_sharpness(0)), sharpest=1)
    again = from_line(to_line(record))
    assert (again.files, again.name, again.focus.flags) == (record.files, "a", record.focus.flags)
