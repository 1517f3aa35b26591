"""Two processes that share a run, as two hosts would: they end where one process does, and stop together.

The real command, over loopback.
"""

import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file
from tiny_runs import QUICK, arguments

from experiments import train
from sgdbd_jax.errors import UserError
from sgdbd_jax.training.log import read_log

PATIENCE = 240  # seconds; the processes of a dead one wait forever
SGD = {  # Adam's first step turns rounding into a full step
    f"{name}_optimiser__{field}": value
    for name in ("generator", "disc", "classifier")
    for field, value in (("name", "sgd"), ("learning_rate", 0.01))
}
CHANGES = SGD | {"classifier_steps": 2, "warm_steps": 0, "checkpoint_every": 2, "validate_every": 1000}


class Command(subprocess.Popen):
    """The command on a work folder, with its standard error in a file."""

    def __init__(self, errors, environment, options):
        self.written = errors
        with errors.open("w") as file:
            super().__init__(
                [sys.executable, "-m", "experiments.train", *options],
                cwd=Path(__file__).parents[2],
                env=environment,
                stdout=subprocess.DEVNULL,
                stderr=file,
            )

    def told(self):
        return self.written.read_text()


@pytest.fixture(scope="module")
def start(tmp_path_factory):
    """Starts the command on a work folder."""
    environment = os.environ | QUICK
    started = []

    def start(workdir, *options, **changes):
        errors = tmp_path_factory.mktemp("errors") / "stderr.txt"
        started.append(Command(errors, environment, [*arguments(workdir, **(CHANGES | changes)), *options]))
        return started[-1]

    yield start
    for process in started:
        process.kill()
        process.wait()


def start_two(start, workdir, **changes):
    with socket.socket() as probe:  # a port that nobody has
        probe.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{probe.getsockname()[1]}"
    return [
        start(workdir, "--coordinator", address, "--num_processes", "2", "--process_id", str(number), **changes)
        for number in range(2)
    ]


def end(*processes):
    """Their exit codes."""
    return [process.wait(PATIENCE) for process in processes]


def wait_for(condition, *processes):
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline and all(process.poll() is None for process in processes), [
            process.told()[-2000:] for process in processes
        ]
        time.sleep(0.05)


@pytest.fixture(scope="module")
def runs(start, tmp_path_factory):
    """The work folders of two processes, of which the second is told to stop, and that go on; and of one alone."""
    two, one = tmp_path_factory.mktemp("two"), tmp_path_factory.mktemp("one")
    pair = start_two(start, two, steps=100_000)
    wait_for(lambda: any(row["step"] >= 2 for row in read_log(two, "game")), *pair)
    pair[1].send_signal(signal.SIGTERM)
    assert end(*pair) == [143, 143], [process.told()[-2000:] for process in pair]
    stopped = read_log(two, "game")[-1]["step"]
    for process in pair:
        assert f"stopped at step {stopped} of 100000 of stage game, checkpoint saved" in process.told()

    everyone = [*start_two(start, two, steps=stopped + 3), start(one, steps=stopped + 3)]
    assert end(*everyone) == [0, 0, 0], [process.told()[-2000:] for process in everyone]
    assert not any("WARNING" in process.told() or "Traceback" in process.told() for process in everyone)
    return two, one


@pytest.mark.parametrize("name", ["classifier.safetensors", "generator.safetensors"])
def test_two_processes_end_where_one_does(runs, name):
    two, one = (load_file(workdir / name) for workdir in runs)
    assert two.keys() == one.keys()
    for key in one:
        np.testing.assert_allclose(two[key], one[key], rtol=1e-3, atol=1e-5, err_msg=key)


def test_two_processes_write_what_one_does_once(runs):
    names = [{path.name for path in workdir.iterdir()} for workdir in runs]
    assert names[0] == names[1] >= {"metrics.jsonl", "generator.safetensors", "result.json", "samples.png"}
    rows = [[(row["stage"], row["step"]) for row in read_log(workdir)] for workdir in runs]
    assert rows[0] == rows[1]
    assert len(set(rows[0])) == len(rows[0])


def test_two_processes_log_what_one_does(runs):
    two, one = (read_log(workdir, "game")[-1] for workdir in runs)
    for name in ("coverage", "g_loss", "d_loss_clear", "bilateral", "generator_grad_norm"):
        assert two[name] == pytest.approx(one[name], rel=1e-3, abs=1e-5)


def test_a_batch_that_two_processes_cannot_share_is_refused_by_both(start, tmp_path):
    pair = start_two(start, tmp_path, batch=5)
    assert end(*pair) == [2, 2]
    for process in pair:
        line = process.told().splitlines()[-1]
        assert line == "error: batch: 5 does not divide into 2 devices; choose a multiple of 2"
        assert "Traceback" not in process.told()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ("--coordinator h:1", "coordinator, num_processes, process_id: give all three, or none"),
        ("--num_processes 2 --process_id 0", "coordinator, num_processes, process_id: give all three, or none"),
        ("--coordinator host --num_processes 2 --process_id 0", "coordinator: 'host' is not HOST:PORT"),
        ("--coordinator h:x1 --num_processes 2 --process_id 0", "coordinator: 'h:x1' is not HOST:PORT"),
        ("--coordinator h:65536 --num_processes 2 --process_id 0", "coordinator: 'h:65536' is not HOST:PORT"),
        ("--coordinator h:1 --num_processes 2 --process_id 2", "process_id: 2 is not from 0 to num_processes - 1"),
        ("--coordinator h:1 --num_processes 0 --process_id 0", "process_id: 0 is not from 0 to num_processes - 1"),
    ],
)
def test_processes_that_cannot_find_each_other_are_told_why(options, message):
    with pytest.raises(UserError, match=message):
        train.parse(options.split())
