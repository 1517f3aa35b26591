"""A photo on a worker, without a cluster: what its row says, and what is left where."""

import errno
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from sgdbd_jax.cluster import places, work
from sgdbd_jax.detection.detector import Seen
from sgdbd_jax.detection.devices import Detectors
from sgdbd_jax.errors import UserError
from sgdbd_jax.folders.outputs import Results

pytest.importorskip("fsspec")


class Masks:
    """A detector in whose masks all is in focus."""

    def working_size(self, height, width):
        return height, width

    def see(self, photo):
        return Seen(photo, np.ones(photo.shape[:2], np.float32))

    def finish(self, photo, seen, size):
        return seen.mask


class Near:
    """An actor's methods, in this process."""

    def __init__(self, actor):
        self._actor = actor

    def __getattr__(self, name):
        return SimpleNamespace(remote=getattr(self._actor, name))


@pytest.fixture
def batch(tmp_path):
    (tmp_path / "at_work").mkdir()
    task = work.Task(str(tmp_path / "out"), Results(overlay=True), "settings", max_pixels=6000)
    worker = SimpleNamespace(
        _folder=tmp_path / "at_work",
        _detectors=Detectors(Masks()),
        _task=task,
        _out=places.Folder(task.out),
        _ledger=Near(work.Ledger()),
        _get=lambda value: value,
    )
    return work._Batch(worker)


@pytest.fixture
def photo(tmp_path):
    def save(name, height=60):
        pixels = np.random.default_rng(0).integers(0, 256, (height, 90, 3), np.uint8)
        Image.fromarray(pixels).save(tmp_path / name)
        return {"path": str(tmp_path / name), "name": f"trip/{name[:-4]}", "identity": ""}

    return save


def test_a_row_tells_the_photo_and_its_results_which_alone_stay(batch, photo, tmp_path):
    told = photo("a.png")
    row = batch.row((0, told))
    assert (row["path"], row["name"], row["status"], row["settings"]) == (told["path"], "trip/a", "done", "settings")
    assert row["identity"] == places.identity_of(told["path"])
    assert row["notes"] == [] and not row["fatal"]
    written = {path.name: path.stat().st_size for path in (tmp_path / "out" / "trip").iterdir()}
    assert written == {f"a{ending}": size for ending, size in row["files"]} and len(written) == 2
    assert [path for path in (tmp_path / "at_work").iterdir() if path.is_file()] == []


def test_a_photo_without_an_extension_leaves_nothing_at_work(batch, photo, tmp_path):
    told = photo("a.png")
    (tmp_path / "a.png").rename(tmp_path / "IMG")
    assert batch.row((0, told | {"path": str(tmp_path / "IMG")}))["status"] == "done"
    assert [path for path in (tmp_path / "at_work").iterdir() if path.is_file()] == []


def test_a_photo_that_cannot_be_done_is_named_with_its_reason(batch, photo, tmp_path):
    large, gone, cut = photo("large.png", height=70), photo("gone.png"), photo("cut.png")
    (tmp_path / "gone.png").unlink()
    (tmp_path / "cut.png").write_bytes((tmp_path / "cut.png").read_bytes()[:9000])
    rows = [batch.row(each) for each in enumerate((large, gone, cut))]
    assert [row["status"] for row in rows] == ["failed", "failed", "done"]
    assert rows[0]["error"].startswith("too many pixels (90 x 70")
    assert rows[1]["error"] == "no such file"
    for row in rows[:2]:
        assert row["notes"] == [f"error: {row['path']}: {row['error']}"]
    (note,) = rows[2]["notes"]
    assert note.startswith(f"note: {tmp_path}/cut.png: damaged: the last ")


def test_a_photo_that_three_workers_died_on_is_not_tried_again(batch, photo):
    told = photo("a.png")
    for _ in range(3):
        batch._ledger.enter.remote(told["path"])
    row = batch.row((0, told))
    assert (row["status"], row["error"]) == ("failed", "3 workers died on it, perhaps for lack of memory")
    assert batch.row((0, told))["status"] == "done"  # another run begins anew


def test_a_full_disk_ends_the_run_and_the_rest_is_left(batch, photo, monkeypatch):
    def full(path, data):
        raise UserError(f"{path}: cannot be written (No space left)") from OSError(errno.ENOSPC, "No space left")

    monkeypatch.setattr(places, "write_atomically", full)
    row = batch.row((0, photo("a.png")))
    assert row["fatal"] and row["error"].endswith("a.mask.png: cannot be written (No space left)")
    assert batch.row((1, photo("b.png"))) is None


def test_a_full_disk_of_a_worker_ends_the_run_too(batch, photo, monkeypatch):
    def full(url):
        yield b"begin"
        raise OSError(errno.ENOSPC, "No space left")  # as if from the file that this goes into

    monkeypatch.setattr(places, "read", full)
    row = batch.row((0, photo("a.png")))
    assert row["fatal"] and row["error"].endswith("0.png: cannot be written (No space left)")


def test_an_error_of_a_store_ends_the_run_of_one_photo_alone(batch, photo, monkeypatch):
    """S3 has `EIO` for a name that it refuses as for all else that is of no other kind."""
    batch._out = places.Folder("memory://out")

    def refuse(path, data):
        raise OSError(errno.EIO, "Your key is too long")

    monkeypatch.setattr(batch._out._files, "pipe_file", refuse)
    row = batch.row((0, photo("a.png")))
    assert (row["status"], row["fatal"]) == ("failed", False)
    assert row["error"] == "memory://out/trip/a.mask.png: cannot be written (Your key is too long)"


def test_workers_that_die_as_they_start_end_the_run(tmp_path, monkeypatch):
    pytest.importorskip("pyarrow")
    context = SimpleNamespace(get_actor_id=lambda: "worker")
    ray = SimpleNamespace(get=lambda value: value, get_runtime_context=lambda: context)
    monkeypatch.setattr(work, "needed", lambda name, purpose: ray if name == "ray" else __import__(name))
    ledger = Near(work.Ledger())
    arguments = (Masks(), work.Task(str(tmp_path), Results(), "", 1), ledger)
    for _ in range(5):
        work.ClusterWorker(*arguments)  # of its own accord
    for _ in range(3):
        ledger.enter.remote("worker")
    with pytest.raises(UserError, match="^a worker died 3 times as it started"):
        work.ClusterWorker(*arguments)


def test_at_a_stop_photos_are_left(batch, photo):
    batch._ledger.stop.remote()
    assert batch.row((0, photo("a.png"))) is None
