"""`metrics.jsonl` and the event files: what a run leaves to be read, and what a resumed one drops."""

import json
import struct
import sys
import time

import pytest

from sgdbd_jax.errors import UserError
from sgdbd_jax.training.log import MetricsLog, read_log


def write(workdir, stage, steps, *, after=0, **options):
    log = MetricsLog(workdir, stage, step=after, **options)
    for step in steps:
        log.write(step, {"loss": step / 2})
    log.close()


def steps(workdir, stage=None):
    return [(row["stage"], row["step"]) for row in read_log(workdir, stage)]


def test_a_row_is_an_object_on_a_line_of_its_own(tmp_path):
    log = MetricsLog(tmp_path, "game", step=0)
    log.write(10, {"loss": 0.5, "coverage": 0.25})
    log.write(20, {"loss": 1e-9})
    assert (tmp_path / "metrics.jsonl").read_text().splitlines() == [
        '{"stage": "game", "step": 10, "loss": 0.5, "coverage": 0.25}',
        '{"stage": "game", "step": 20, "loss": 1e-09}',
    ]


def test_a_row_can_be_read_as_soon_as_it_is_written(tmp_path):
    log = MetricsLog(tmp_path, "game", step=0)
    log.write(1, {"loss": 0.5})
    assert read_log(tmp_path) == [{"stage": "game", "step": 1, "loss": 0.5}]


def test_rows_are_read_of_one_stage_or_of_all(tmp_path):
    write(tmp_path, "classifier", [1, 2])
    write(tmp_path, "game", [1])
    assert steps(tmp_path) == [("classifier", 1), ("classifier", 2), ("game", 1)]
    assert steps(tmp_path, "game") == [("game", 1)]
    assert steps(tmp_path, "warm") == []


def test_without_a_file_there_are_no_rows(tmp_path):
    assert read_log(tmp_path) == []


def test_a_resumed_log_drops_the_later_rows_of_its_stage_alone(tmp_path):
    write(tmp_path, "classifier", [1, 2, 3, 4])
    write(tmp_path, "game", [1, 2, 3])
    write(tmp_path, "game", [3, 4], after=2)  # the last checkpoint was of step 2
    assert steps(tmp_path) == [("classifier", i) for i in (1, 2, 3, 4)] + [("game", i) for i in (1, 2, 3, 4)]


@pytest.mark.parametrize("cut", [1, 2, 12, 30])
def test_a_last_line_cut_short_is_left_out_and_written_anew(tmp_path, cut):
    write(tmp_path, "game", [1, 2])
    path = tmp_path / "metrics.jsonl"
    path.write_text(path.read_text() + '{"stage": "game", "step": 3, "loss": 1.5}'[:-cut])
    assert steps(tmp_path) == [("game", 1), ("game", 2)]
    write(tmp_path, "game", [3], after=2)
    assert [json.loads(line)["step"] for line in path.read_text().splitlines()] == [1, 2, 3]


def test_a_log_that_cannot_be_written_is_named(tmp_path):
    log = MetricsLog(tmp_path, "game", step=0)
    log.path.unlink()
    log.path.mkdir()
    with pytest.raises(UserError, match=r"metrics\.jsonl: cannot be written \(Is a directory\)"):
        log.write(1, {"loss": 0.5})


def events(folder):
    """Every event of a folder, oldest file first: TensorBoard's records, read without TensorBoard."""
    from tensorboardX.proto.event_pb2 import Event

    for path in sorted(folder.iterdir()):
        data = path.read_bytes()
        while data:
            length = struct.unpack("<Q", data[:8])[0]  # then its checksum, the event, the event's checksum
            yield Event.FromString(data[12 : 12 + length])
            data = data[16 + length :]


def scalars(folder):
    return [(event.step, value.tag, value.simple_value) for event in events(folder) for value in event.summary.value]


def test_event_files_hold_the_same_values_in_a_folder_a_stage(tmp_path):
    pytest.importorskip("tensorboardX")
    write(tmp_path, "classifier", [1], tensorboard=True)
    write(tmp_path, "game", [1, 2], tensorboard=True)
    assert scalars(tmp_path / "events" / "classifier") == [(1, "loss", 0.5)]
    assert scalars(tmp_path / "events" / "game") == [(1, "loss", 0.5), (2, "loss", 1.0)]


def test_a_resumed_stage_tells_tensorboard_from_which_step_on_to_forget(tmp_path, monkeypatch):
    pytest.importorskip("tensorboardX")
    write(tmp_path, "game", [1, 2, 3], tensorboard=True)
    later = time.time() + 100
    monkeypatch.setattr(time, "time", lambda: later)  # which names the event file
    write(tmp_path, "game", [3], after=2, tensorboard=True)
    folder = tmp_path / "events" / "game"
    restarts = [event.step for event in events(folder) if event.session_log.status == event.session_log.START]
    assert restarts == [1, 3]


def test_event_files_without_their_library_are_refused_with_the_way_to_get_it(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorboardX", None)
    with pytest.raises(UserError, match=r"pip install 'sgdbd_jax\[tensorboard\]'"):
        MetricsLog(tmp_path, "game", step=0, tensorboard=True)
