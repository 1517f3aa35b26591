"""The report in parts, how many workers a cluster gets, and the count of workers that died."""

import dataclasses

import pytest

from sgdbd_jax.cluster import report, run
from sgdbd_jax.cluster.places import Folder
from sgdbd_jax.cluster.work import Ledger
from sgdbd_jax.detection.focus import Focus
from sgdbd_jax.errors import UserError
from sgdbd_jax.folders.record import Record, failure

FOCUS = Focus(0.25, 0.123456, (1, 2, 30, 40), (10.04, 20.0), 0.5, ("all_sharp", "low_confidence"), 0.75)
DONE = Record("s3://b/a.jpg", "a", 60, 80, "done", "", 1.5, FOCUS, "weights w", None, {".mask.png": 7}, "2026-05-04")


@pytest.fixture
def folder(tmp_path):
    pytest.importorskip("fsspec")
    pytest.importorskip("pyarrow.parquet")
    return Folder(str(tmp_path))


def rows(*records):
    return [report.table([report.row(record, "5 tag") for record in records])]


def test_a_row_says_what_the_table_of_a_folder_does_and_what_resume_goes_by(folder):
    report.write(folder, rows(DONE, failure("s3://b/b.jpg", "b", "no such file")))
    pq = pytest.importorskip("pyarrow.parquet")
    done, failed = pq.read_table(f"{folder.path}/report.parquet").to_pylist()
    assert done == {
        "path": "s3://b/a.jpg", "name": "a", "status": "done", "error": "", "width": 60, "height": 80,
        "score": 0.1235, "share": 0.25, "unknown": 0.5, "left": 1, "top": 2, "right": 30, "bottom": 40,
        "centre_x": 10.0, "centre_y": 20.0, "flags": "all_sharp low_confidence", "sharpness": 0.75, "seconds": 1.5,
        "taken": "2026-05-04", "settings": "weights w", "identity": "5 tag", "files": [(".mask.png", 7)],
    }  # fmt: skip
    assert failed["error"] == "no such file" and failed["width"] is None and failed["score"] is None
    assert report.read(folder) == {
        "s3://b/a.jpg": report.Done("a", True, "weights w", "5 tag", {".mask.png": 7}),
        "s3://b/b.jpg": report.Done("b", False, "", "5 tag", {}),
    }


def test_rows_are_taken_out_of_the_parts_that_have_them_and_no_part_is_left_empty(folder, tmp_path):
    other = dataclasses.replace(DONE, path="s3://b/c.jpg")
    report.write(folder, rows(DONE, other))
    report.write(folder, rows(failure("s3://b/b.jpg", "b", "damaged")))
    report.take_out(folder, {"s3://b/a.jpg", "s3://b/b.jpg", "s3://b/z.jpg"})
    assert list(report.read(folder)) == ["s3://b/c.jpg"]
    assert len(list((tmp_path / "report.parquet").iterdir())) == 1


def test_a_part_that_is_damaged_is_named(folder, tmp_path):
    report.write(folder, rows(DONE))
    (part,) = (tmp_path / "report.parquet").iterdir()
    part.write_bytes(part.read_bytes()[:-5])
    with pytest.raises(UserError, match=f"report.parquet/{part.name}: is no part of a report; move it away"):
        report.read(folder)


def test_files_of_others_beside_the_parts_are_left_alone(folder, tmp_path):
    report.write(folder, rows(DONE))
    (tmp_path / "report.parquet" / "_SUCCESS").touch()
    (tmp_path / "report.parquet" / ".writing-abcdefgh").write_bytes(b"half")
    assert list(report.read(folder)) == ["s3://b/a.jpg"]


@pytest.mark.parametrize(
    ("nodes", "asked", "workers", "each"),
    [
        ([{"CPU": 2.0}], None, 1, {"num_cpus": 2}),  # a network takes all cores
        ([{"CPU": 2.0}], 2, 2, {"num_cpus": 1}),
        ([{"CPU": 8.0}, {"CPU": 16.0}, {"memory": 1.0}], None, 3, {"num_cpus": 8}),
        ([{"CPU": 8.0}, {"CPU": 8.0}], 3, 3, {"num_cpus": 4}),
        ([{"CPU": 8.0}, {"CPU": 2.0}], 1, 1, {"num_cpus": 8}),
        ([{"CPU": 8.0, "GPU": 2.0}, {"CPU": 64.0}], None, 2, {"num_gpus": 1, "num_cpus": 0}),
        ([{"CPU": 8.0, "GPU": 2.0}], 1, 1, {"num_gpus": 1, "num_cpus": 0}),
    ],
)
def test_a_worker_gets_a_gpu_or_a_machine_or_what_is_asked_for(nodes, asked, workers, each):
    assert run.shares(nodes, asked) == (workers, each)


def test_more_workers_than_there_is_room_for_are_refused():
    with pytest.raises(UserError, match="^--ray_workers 3: the cluster has 2 CPUs; ask for less$"):
        run.shares([{"CPU": 2.0}], 3)
    with pytest.raises(UserError, match="^--ray_workers 2: the cluster has 1 GPU; ask for less$"):
        run.shares([{"CPU": 2.0, "GPU": 1.0}], 2)
    with pytest.raises(UserError, match="no machine of the cluster has a CPU"):
        run.shares([{"memory": 1.0}], None)


def test_what_ends_the_work_of_all_is_told_in_a_workers_own_words_if_it_has_some():
    class Broken:
        def __init__(self, cause=None, last="ray.Died: of hunger"):
            self.cause, self.last = cause, last

        def iter_batches(self, **options):
            yield "rows"
            error = RuntimeError(f"Traceback ...\n  of many lines\n{self.last}")
            error.cause = self.cause
            raise error

    batches = run._arriving(Broken())
    assert next(batches) == "rows"
    with pytest.raises(UserError, match=r"^--ray: the cluster failed \(ray.Died: of hunger\)$"):
        list(batches)
    with pytest.raises(UserError, match="^--ray: JAX cannot start$"):
        list(run._arriving(Broken(UserError("JAX cannot start"))))
    with pytest.raises(UserError, match="^--ray: JAX cannot start$"):
        list(run._arriving(Broken(last="sgdbd_jax.errors.UserError: JAX cannot start\n")))


def test_only_photos_that_were_at_work_when_a_worker_died_are_suspected():
    ledger = Ledger()
    assert ledger.enter("a") == ledger.enter("b") == 0
    ledger.leave("a")
    assert not ledger.suspects(["a"]) and ledger.suspects(["a", "b"])
    assert ledger.enter("b") == 1 and ledger.enter("b") == 2
    ledger.leave("b")
    assert ledger.enter("b") == 0
    assert not ledger.stop()
    assert ledger.enter("c") is None
    assert ledger.enter("b") is None and ledger.stop()  # given out again, for its worker died: it is at work no more
