"""A run that is killed or stopped, and started again with the same command, ends as an undisturbed one does.

The real command, in processes of its own.
"""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from tiny_runs import QUICK, STEPS, arguments

from sgdbd_jax.training.log import read_log

RESULTS = (
    "generator.safetensors",
    "classifier.safetensors",
    "result.json",
    "config.json",
    "samples.png",
    "learning_curve.png",
    "grids/game_000012.png",
    "grids/game_000024.png",
)


@pytest.fixture(scope="module")
def start(tmp_path_factory):
    """Starts the command on a work folder, with its standard error in `stderr.txt` there."""
    environment = os.environ | QUICK
    started = []

    def start(workdir):
        with (workdir / "stderr.txt").open("w") as errors:
            process = subprocess.Popen(
                [sys.executable, "-m", "experiments.train", *arguments(workdir, disc_warm_steps=6)],
                cwd=Path(__file__).parents[2],
                env=environment,
                stdout=subprocess.DEVNULL,
                stderr=errors,
            )
        started.append(process)
        return process

    yield start
    for process in started:
        process.kill()
        process.wait()


@pytest.fixture(scope="module")
def undisturbed(start, tmp_path_factory):
    workdir = tmp_path_factory.mktemp("undisturbed")
    assert start(workdir).wait() == 0, (workdir / "stderr.txt").read_text()
    return workdir


def interrupt(process, number, workdir, moment):
    """Sends a signal as soon as `moment` has come; gives the exit code."""
    while process.poll() is None and not moment():
        time.sleep(0.003)
    assert process.poll() is None, (workdir / "stderr.txt").read_text()
    process.send_signal(number)
    return process.wait()


def rows(workdir):
    """The log, without what no two runs share."""
    return [{name: value for name, value in row.items() if name != "seconds_per_step"} for row in read_log(workdir)]


def reached(workdir, stage, step):
    return lambda: any(row["step"] >= step for row in read_log(workdir, stage))


def assert_ends_like(undisturbed, start, workdir):
    assert start(workdir).wait() == 0, (workdir / "stderr.txt").read_text()
    assert rows(workdir) == rows(undisturbed)
    for name in RESULTS:
        assert (workdir / name).read_bytes() == (undisturbed / name).read_bytes(), name


def test_every_step_is_logged_once(undisturbed):
    steps = [(row["stage"], row["step"]) for row in read_log(undisturbed)]
    wanted = {"warm": STEPS["warm"], "classifier": STEPS["classifier"], "discriminators": 6, "game": STEPS["game"]}
    assert steps == [(stage, step) for stage, count in wanted.items() for step in range(1, count + 1)]


def test_a_run_killed_again_and_again_ends_bit_for_bit_where_an_undisturbed_one_does(undisturbed, start, tmp_path):
    moments = [
        reached(tmp_path, "classifier", 6),  # its last checkpoint is of step 4
        reached(tmp_path, "discriminators", 5),  # likewise
        (tmp_path / "checkpoints" / "game" / "8").exists,  # and no time for anything more
        reached(tmp_path, "game", 15),
    ]
    for moment in moments:
        assert interrupt(start(tmp_path), signal.SIGKILL, tmp_path, moment) == -signal.SIGKILL
    assert_ends_like(undisturbed, start, tmp_path)


def test_sigterm_saves_first_and_the_run_goes_on_from_there(undisturbed, start, tmp_path):
    assert interrupt(start(tmp_path), signal.SIGTERM, tmp_path, reached(tmp_path, "game", 9)) == 143
    last = read_log(tmp_path, "game")[-1]["step"]
    steps = [int(path.name) for path in (tmp_path / "checkpoints" / "game").iterdir() if path.name.isdecimal()]
    assert last == max(steps) < STEPS["game"]
    told = (tmp_path / "stderr.txt").read_text()
    line = f"stopped at step {last} of 24 of stage game, checkpoint saved; the same command goes on"
    assert told.splitlines()[-1] == line
    assert "Traceback" not in told and "WARNING" not in told
    assert_ends_like(undisturbed, start, tmp_path)
