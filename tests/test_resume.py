"""A run that is killed or stopped, and started again with the same command, ends as an undisturbed one does.

The real command in processes of its own, which share what JAX has compiled.
"""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from sgdbd_jax.training.log import read_log

STEPS = {"classifier": 12, "warm": 4, "game": 24}
COMMAND = (
    "-m experiments.train --scenes 8 --photo_size 16 --crop 16 --batch 4 --classifier_batch 4"
    " --generator.width 0.05 --discriminator.width 0.05 --classifier.width 0.05"
    " --classifier_steps 12 --warm_steps 4 --steps 24 --log_every 1"
    " --checkpoint_every 4 --validate_every 8 --grid_every 12"
).split()
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
    compiled = {
        "JAX_COMPILATION_CACHE_DIR": str(tmp_path_factory.mktemp("compiled")),
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
        "JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES": "0",
    }
    started = []

    def start(workdir):
        workdir.mkdir(exist_ok=True)
        with (workdir / "stderr.txt").open("w") as errors:
            process = subprocess.Popen(
                [sys.executable, *COMMAND, "--workdir", str(workdir)],
                cwd=Path(__file__).parents[1],
                env=os.environ | compiled,
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
    for name in RESULTS:
        assert (workdir / name).read_bytes() == (undisturbed / name).read_bytes(), name
    assert rows(workdir) == rows(undisturbed)


def test_every_step_is_logged_once(undisturbed):
    steps = [(row["stage"], row["step"]) for row in read_log(undisturbed)]
    assert steps == [(stage, step) for stage, count in STEPS.items() for step in range(1, count + 1)]


def test_a_run_killed_again_and_again_ends_bit_for_bit_where_an_undisturbed_one_does(undisturbed, start, tmp_path):
    moments = [
        reached(tmp_path, "classifier", 6),  # its last checkpoint is of step 4
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
    assert last == max(steps) < 24
    line = (tmp_path / "stderr.txt").read_text().splitlines()[-1]
    assert line == f"stopped at step {last} of 24 of stage game, checkpoint saved; the same command goes on"
    assert "Traceback" not in (tmp_path / "stderr.txt").read_text()
    assert_ends_like(undisturbed, start, tmp_path)
